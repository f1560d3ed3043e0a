import { PassThrough, Readable } from "node:stream";
import { expect, test } from "vitest";
import { ManualClock } from "../../core/manual-clock.ts";
import { MessageStream } from "./message-stream.ts";

const LINE = `${JSON.stringify({ jsonrpc: "2.0", method: "session/update", params: {} })}\n`;

test("an agent that floods is read no faster than a replay, then five thousand messages a second", async () => {
  const clock = new ManualClock();
  const pieces = Array.from({ length: 1_000 }, () => Buffer.from(LINE.repeat(100)));
  let seen = 0;
  const stream = new MessageStream({
    ...{ clock, stdout: Readable.from(pieces), stdin: new PassThrough() },
    onNotification: () => Promise.resolve(void (seen += 1)),
    onGarbage: () => undefined,
  });
  void stream.read();
  /** Lets all be read that may be, without the clock moving on. */
  const readAll = async (): Promise<number> => {
    for (let last = -1; last < seen;) {
      last = seen;
      for (let turn = 0; turn < 50; turn++) {
        await new Promise((resolve) => setImmediate(resolve));
        clock.advance(0);
      }
    }
    return seen;
  };
  expect(await readAll()).toBe(20_001);
  for (let tenth = 0; tenth < 10; tenth++) {
    clock.advance(100);
    await readAll();
  }
  expect(seen).toBeGreaterThan(22_500);
  expect(seen).toBeLessThanOrEqual(25_001);
});
