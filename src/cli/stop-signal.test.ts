import { EventEmitter } from "node:events";
import { describe, expect, it } from "vitest";
import { listenForStop, type StopSignal } from "./stop-signal.ts";

describe("listenForStop", () => {
  it("aborts at the first signal and calls at the second", () => {
    const source = new EventEmitter();
    const second: StopSignal[] = [];
    let nowMs = 1_000;
    const stop = listenForStop(
      source,
      (signal) => second.push(signal),
      () => nowMs,
    );
    source.emit("SIGINT");
    expect(stop.signal.reason).toMatchObject({ signal: "SIGINT", exitCode: 130 });
    nowMs += 500;
    source.emit("SIGINT");
    expect(second, "the same Ctrl-C, handed on by npm").toEqual([]);
    nowMs += 1;
    source.emit("SIGTERM");
    expect(second).toEqual([expect.objectContaining({ exitCode: 143 })]);
    stop.dispose();
    expect(source.eventNames()).toEqual([]);
  });
});
