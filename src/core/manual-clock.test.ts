import { expect, it } from "vitest";
import { ManualClock } from "./manual-clock.ts";

it("stands still until it is moved", () => {
  const clock = new ManualClock({ nowMs: 1_000 });
  expect([clock.now(), clock.monotonic(), clock.now()]).toEqual([1_000, 1_000, 1_000]);
  clock.advance(5);
  expect([clock.now(), clock.monotonic()]).toEqual([1_005, 1_005]);
});

it("calls back in order of time, each at its own time, also what is set on the way", () => {
  const clock = new ManualClock({ nowMs: 0 });
  const calls: string[] = [];
  const note = (name: string): void => void calls.push(`${name}@${clock.now()}`);
  clock.setTimer(() => note("late"), 30);
  clock.setTimer(() => {
    note("early");
    clock.setTimer(() => note("second"), 5);
    clock.setTimer(() => note("beyond"), 100);
  }, 10);
  clock.advance(29);
  expect(calls).toEqual(["early@10", "second@15"]);
  clock.advance(1);
  expect(calls.at(-1)).toBe("late@30");
  expect(clock.timerCount).toBe(1);
  expect([clock.isSet(80), clock.isSet(79)]).toEqual([true, false]);
});

it("forgets a timer that is called off, twice too", () => {
  const clock = new ManualClock();
  const timer = clock.setTimer(() => expect.unreachable(), 1);
  timer.cancel();
  timer.cancel();
  clock.advance(10);
  expect(clock.timerCount).toBe(0);
});

it("gives ids that are UUIDs, and never the same as a clock of another space", () => {
  const [a, b] = [new ManualClock(), new ManualClock({ idSpace: 1 })];
  const ids = [a.newId(), a.newId(), b.newId()];
  expect(new Set(ids).size).toBe(3);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

it("refuses to go on for ever with a timer that sets itself anew", () => {
  const clock = new ManualClock();
  const again = (): void => void clock.setTimer(again, 0);
  again();
  expect(() => clock.advance(1)).toThrow("a timer sets itself anew");
});
