import { expect, test } from "vitest";
import { silentLogger } from "../core/log.ts";
import { ManualClock } from "../core/manual-clock.ts";
import { createPeriodicService } from "./service.ts";

/** Lets promises that are ready settle. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function createCounted(runOnce: () => Promise<unknown>) {
  const clock = new ManualClock();
  const service = createPeriodicService({
    name: "test",
    intervalMs: 1_000,
    clock,
    logger: silentLogger,
    runOnce,
  });
  return { clock, service };
}

test("a pass runs at once and then after each interval", async () => {
  let passes = 0;
  const { clock, service } = createCounted(() => Promise.resolve(passes++));
  service.start();
  clock.advance(0);
  await settle();
  expect(passes).toBe(1);
  clock.advance(999);
  await settle();
  expect(passes).toBe(1);
  clock.advance(1);
  await settle();
  expect(passes).toBe(2);
  await service.stop();
});

test("a wake during a pass leads to one more pass, never to two at a time", async () => {
  let running = 0;
  let most = 0;
  let passes = 0;
  const gates: (() => void)[] = [];
  const { clock, service } = createCounted(async () => {
    passes++;
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => gates.push(resolve));
    running--;
  });
  service.start();
  clock.advance(0);
  await settle();
  service.wake();
  service.wake();
  gates.shift()?.();
  await settle();
  clock.advance(0);
  await settle();
  expect({ passes, most }).toEqual({ passes: 2, most: 1 });
  gates.shift()?.();
  await service.stop();
});

test("a failing pass is followed by the next one", async () => {
  let passes = 0;
  const { clock, service } = createCounted(() => {
    passes++;
    return Promise.reject(new Error("the database is away"));
  });
  service.start();
  clock.advance(0);
  await settle();
  clock.advance(1_000);
  await settle();
  expect(passes).toBe(2);
  await service.stop();
});

test("stop waits for the pass under way and nothing runs after it", async () => {
  const gates: (() => void)[] = [];
  let passes = 0;
  const { clock, service } = createCounted(async () => {
    passes++;
    await new Promise<void>((resolve) => gates.push(resolve));
  });
  service.start();
  clock.advance(0);
  await settle();
  let isStopped = false;
  const stopped = service.stop().then(() => (isStopped = true));
  await settle();
  expect(isStopped).toBe(false);
  gates.shift()?.();
  await stopped;
  clock.advance(10_000);
  await settle();
  expect(passes).toBe(1);
  expect(clock.timerCount).toBe(0);
});
