import type { Clock, Timer } from "../../core/clock.ts";

interface PendingTimer {
  readonly dueAt: number;
  readonly callback: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #nowMs = 1_750_000_000_000;
  #ids = 0;
  readonly #timers = new Set<PendingTimer>();

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  newId(): string {
    return `00000000-0000-4000-8000-${String(++this.#ids).padStart(12, "0")}`;
  }

  random(): number {
    return 0.5;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = { callback, dueAt: this.#nowMs + delayMs };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Timers that wait. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** Moves on, and calls back what has become due. */
  advance(byMs: number): void {
    this.#nowMs += byMs;
    for (const timer of this.#timers) {
      if (timer.dueAt > this.#nowMs) continue;
      this.#timers.delete(timer);
      timer.callback();
    }
  }
}
