import type { CallId } from "../core/attempt.ts";

/** How states are stored and written down. */
export interface SnapshotTrailOptions {
  /** Stores the present state, durably, and then writes its id down with the calls it holds. */
  readonly store: (calls: readonly CallId[]) => Promise<unknown>;
}

/**
 * Stores the workspace after each call with an effect, one state after the other: objects first,
 * then their id with the calls that had ended before. Several calls that end while one state is
 * being stored share the next.
 */
export class SnapshotTrail {
  readonly #options: SnapshotTrailOptions;
  #waiting: CallId[] = [];
  #isAsked = false;
  #storing: Promise<void> | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(options: SnapshotTrailOptions) {
    this.#options = options;
  }

  /** What storing failed with; null while it has not. */
  get failure(): { readonly error: unknown } | null {
    return this.#failure;
  }

  /** Whether a state is being stored now. */
  get isStoring(): boolean {
    return this.#storing !== null;
  }

  /** A call has ended: its effect is to be stored. Never throws; `settle` tells of a failure. */
  add(callId: CallId): void {
    this.#waiting.push(callId);
    this.#storing ??= this.#store();
  }

  /** Something may have changed outside of any call: the state is stored once more. */
  addState(): void {
    this.#isAsked = true;
    this.#storing ??= this.#store();
  }

  /** Resolves when all that was added is stored. @throws what storing failed with, ever after. */
  async settle(): Promise<void> {
    await this.#storing;
    if (this.#failure) throw this.#failure.error;
  }

  async #store(): Promise<void> {
    try {
      while (this.#waiting.length > 0 || this.#isAsked) {
        const calls = this.#waiting;
        this.#waiting = [];
        this.#isAsked = false;
        await this.#options.store(calls);
      }
    } catch (error) {
      this.#failure = { error };
    } finally {
      this.#storing = null;
    }
  }
}
