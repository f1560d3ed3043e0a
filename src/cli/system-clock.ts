import { randomUUID } from "node:crypto";
import type { Clock } from "../core/clock.ts";

/** Real time, ids and chance. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(callback, delayMs) {
    const timer = setTimeout(callback, delayMs);
    return {
      cancel: () => {
        clearTimeout(timer);
      },
    };
  },
  newId: () => randomUUID(),
  random: () => Math.random(),
};
