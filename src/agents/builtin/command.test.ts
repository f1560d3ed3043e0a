import { Readable } from "node:stream";
import { expect, test } from "vitest";
import type { AttemptContext, CustodyExit } from "../../core/attempt.ts";
import type { NewEvent } from "../../core/event.ts";
import { silentLogger } from "../../core/log.ts";
import { ManualClock } from "../../core/manual-clock.ts";
import { runCommand } from "./command.ts";

const ENDED: CustodyExit = { code: 0, signal: null, timedOut: false, stopped: false };

test("output that a stalled worker reads only after the time for it is in the log all the same", async () => {
  const clock = new ManualClock();
  const events: NewEvent[] = [];
  const stdout = new Readable({ read: () => undefined });
  const context = {
    clock,
    signal: new AbortController().signal,
    log: silentLogger,
    limits: { outputBytesMax: 1_000_000 },
    recordActivity: () => undefined,
    emit: async (...told: NewEvent[]) => void events.push(...told),
    spawn: async () => ({
      ...{ pid: 1, stdin: null, stdout, stderr: Readable.from([]) },
      ...{ exited: Promise.resolve(ENDED), stop: () => Promise.resolve(ENDED) },
    }),
  } as unknown as AttemptContext;
  const request = { callId: "c", command: "echo late", timeoutMs: 1_000 };
  const running = runCommand(context, request);
  // Two rounds of the event loop, in which nothing was read of what lies in the pipe.
  for (let round = 0; round < 2; round++) await new Promise((resolve) => setImmediate(resolve));
  setImmediate(() => {
    stdout.push("late\n");
    stdout.push(null);
  });
  clock.advance(60_000);
  expect(await running).toMatchObject({ exit: ENDED, shown: "late\n" });
  expect(events).toMatchObject([{ type: "terminal", data: { output: "late\n" } }]);
});
