import { randomUUID } from "node:crypto";
import type { Clock } from "../src/core/clock.ts";

/** Real time, ids and chance, for tests against real servers and processes. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  newId: () => randomUUID(),
  random: () => Math.random(),
};
