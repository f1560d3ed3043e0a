import { EventEmitter } from "node:events";
import { describe, expect, it } from "vitest";
import { listenForStop, type StopSignal } from "./stop-signal.ts";

describe("listenForStop", () => {
  it("aborts at the first signal and calls at the second", () => {
    const source = new EventEmitter();
    const second: StopSignal[] = [];
    const stop = listenForStop(source, (signal) => second.push(signal));
    source.emit("SIGINT");
    expect(stop.signal.reason).toMatchObject({ signal: "SIGINT", exitCode: 130 });
    expect(second).toEqual([]);
    source.emit("SIGTERM");
    expect(second).toEqual([expect.objectContaining({ exitCode: 143 })]);
    stop.dispose();
    expect(source.eventNames()).toEqual([]);
  });
});
