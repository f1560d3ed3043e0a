/** Turns whose failures are remembered; the oldest are forgotten and would fail anew. */
export const FAILING_TURNS_MAX = 10_000;

/** Counts, in memory, how often a turn of a session has failed. */
export class FailureCounter {
  readonly #counts = new Map<string, number>();

  /** How often the turn has failed so far. */
  count(sessionId: string, turn: number): number {
    return this.#counts.get(makeKey(sessionId, turn)) ?? 0;
  }

  /** Notes one more failure. */
  add(sessionId: string, turn: number): void {
    const key = makeKey(sessionId, turn);
    const count = this.count(sessionId, turn) + 1;
    this.#counts.delete(key);
    this.#counts.set(key, count);
    const [oldest] = this.#counts.keys();
    if (this.#counts.size > FAILING_TURNS_MAX && oldest !== undefined) this.#counts.delete(oldest);
  }
}

function makeKey(sessionId: string, turn: number): string {
  return `${turn} ${sessionId}`;
}
