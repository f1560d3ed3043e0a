import { expect, it } from "vitest";
import { delay } from "./clock.ts";
import { ManualClock } from "./manual-clock.ts";

it("waits its time and no less", async () => {
  const clock = new ManualClock();
  const order: string[] = [];
  const waiting = delay(clock, 100).then(() => order.push("waited"));
  clock.advance(99);
  await Promise.resolve();
  expect(order).toEqual([]);
  clock.advance(1);
  await waiting;
  expect(order).toEqual(["waited"]);
});

it("rejects with the reason as soon as the signal aborts, and leaves no timer behind", async () => {
  const clock = new ManualClock();
  const controller = new AbortController();
  const reason = new Error("told to stop");
  const waiting = delay(clock, 100, controller.signal);
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  expect(clock.timerCount).toBe(0);
});

it("rejects at once, without a timer, when the signal has aborted already", async () => {
  const clock = new ManualClock();
  const reason = new Error("told before");
  await expect(delay(clock, 100, AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(clock.timerCount).toBe(0);
});

it("leaves no listener on a signal that lives longer", async () => {
  const clock = new ManualClock();
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  signal.addEventListener = ((...args: Parameters<typeof add>) => {
    listeners.add(args[1]);
    add(...args);
  }) as typeof signal.addEventListener;
  signal.removeEventListener = ((_: string, listener: unknown) => {
    listeners.delete(listener);
  }) as typeof signal.removeEventListener;
  const waiting = delay(clock, 1, signal);
  expect(listeners.size).toBe(1);
  clock.advance(1);
  await waiting;
  expect(listeners.size).toBe(0);
});
