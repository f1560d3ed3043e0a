import { delay, type Clock } from "../../core/clock.ts";

/** How fast something may be read on. */
export interface PaceOptions {
  readonly clock: Clock;
  /** What may come at once. */
  readonly burst: number;
  readonly perSecond: number;
}

/** Shortest wait: many short ones would cost more than what they hold back. */
const WAIT_MS_MIN = 50;

/**
 * A token bucket for what one session's agent makes its worker do. One that floods waits for its
 * pipe, instead of taking the worker's core and the flushes of the log from all other sessions.
 */
export class Pace {
  readonly #options: PaceOptions;
  #left: number;
  #atMs: number;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#left = options.burst;
    this.#atMs = options.clock.monotonic();
  }

  /** Counts what was read; resolves when more may be, and at once where the attempt has to stop. */
  async take(count: number, signal?: AbortSignal): Promise<void> {
    const { clock, burst, perSecond } = this.#options;
    const nowMs = clock.monotonic();
    const grown = ((nowMs - this.#atMs) / 1_000) * perSecond;
    this.#left = Math.min(burst, this.#left + grown) - count;
    this.#atMs = nowMs;
    const mustStop = (): boolean => signal?.aborted ?? false;
    if (this.#left >= 0 || mustStop()) return;
    try {
      await delay(clock, Math.max(WAIT_MS_MIN, (-this.#left / perSecond) * 1_000), signal);
    } catch (error) {
      // What is left in the pipe then is little, and nobody may wait for it.
      if (!mustStop()) throw error;
    }
  }
}
