import { StintError } from "../core/error.ts";
import { runAbandonable } from "../workspace/git.ts";

/**
 * What an attempt does to its files. An attempt that ends in time waits for it; one that must go at
 * once leaves it as a crash would.
 */
export class AbandonableWork {
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #ending = new AbortController();
  #isClosed = false;

  /** Aborts when everything under way is abandoned. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** Runs one piece of it. What is asked for after `close` is the last there is to know. */
  run<T>(start: () => Promise<T>): Promise<T> {
    const work = this.#isClosed ? start() : runAbandonable(this.#ending.signal, start);
    const forget = (): void => {
      this.#underWay.delete(work);
    };
    this.#underWay.add(work);
    work.then(forget, forget);
    return work;
  }

  /** Abandons what is under way. */
  abandon(reason: unknown): void {
    this.#ending.abort(reason);
  }

  /** Abandons what nobody has waited for. Idempotent. */
  close(): void {
    this.abandon(new StintError("internal", "the attempt has ended"));
    this.#isClosed = true;
  }

  /** Resolves when nothing is under way any more. */
  async settle(): Promise<void> {
    await Promise.allSettled([...this.#underWay]);
  }
}
