import { makeSlot, type PendingCommit, type Slot } from "./slot.ts";

/** What one session may send at once. */
export interface FlushShare {
  readonly bytes: number;
  readonly commits: number;
}

/**
 * The commits of one owner of one session, in the order of the calls. Knows the seq up to which
 * the log has been acknowledged: from the claim at first, then from our own writes.
 */
export class OwnerQueue {
  readonly sessionId: string;
  readonly epoch: number;
  /** The last seq of the log, as far as acknowledged. */
  base: number;
  /** Times in a row that its row was locked by others. */
  delays = 0;
  /** Slots of it are on their way; the next ones wait for their answers. */
  isInFlight = false;
  /** Waits until its row may be free again; not to be sent before. */
  isDelayed = false;
  /** The owner has lost the session, or given it up. */
  isOver = false;
  readonly #commits: PendingCommit[] = [];
  /** Sent before with an unknown outcome or turned away: to be sent again as they are. */
  #frozen: readonly Slot[] = [];
  /** Taken, but their slot was void: they go first, in this order. */
  readonly #returned: PendingCommit[] = [];
  #unsettled = 0;

  /** Counts the commits of all queues that are not on their way. */
  readonly #waiting: { count: number };

  constructor(sessionId: string, epoch: number, base: number, waiting: { count: number }) {
    this.#waiting = waiting;
    this.sessionId = sessionId;
    this.epoch = epoch;
    this.base = base;
  }

  /** Nothing waits to be sent. */
  get isEmpty(): boolean {
    return this.#commits.length + this.#returned.length + this.#frozen.length === 0;
  }

  /** Nothing waits for an answer either. */
  get isIdle(): boolean {
    return this.#unsettled === 0;
  }

  add(commit: PendingCommit): void {
    this.#commits.push(commit);
    this.#waiting.count++;
    this.#unsettled++;
  }

  /** A commit has its answer. */
  release(): void {
    this.#unsettled--;
  }

  /** Keeps slots for the next flush, unchanged and before everything else. */
  freeze(slots: readonly Slot[]): void {
    this.#frozen = slots;
  }

  /** Puts commits back whose slot was void; called in their order, they stay before what came later. */
  putBack(commits: readonly PendingCommit[]): void {
    this.#returned.push(...commits);
    this.#waiting.count += commits.length;
  }

  /**
   * The next slots of this session, at most two: what holds only events, merged, then one commit
   * with a part of its own. Empty when nothing fits; the first commit of a flush always does.
   */
  takeSlots(share: FlushShare, isFirst: boolean, newId: () => string): Slot[] {
    if (this.#frozen.length > 0) {
      const frozen = [...this.#frozen];
      this.#frozen = [];
      return frozen;
    }
    this.#commits.unshift(...this.#returned.splice(0));
    const { merged, last } = this.#chooseCommits(share, isFirst);
    this.#commits.splice(0, merged.length + last.length);
    this.#waiting.count -= merged.length + last.length;
    const slots: Slot[] = [];
    for (const commits of [merged, last]) {
      if (commits.length === 0) continue;
      const base = this.base + (slots[0]?.events.length ?? 0);
      slots.push(makeSlot({ sessionId: this.sessionId, epoch: this.epoch, base }, commits, newId));
    }
    return slots;
  }

  /** Takes everything out, as when the owner has lost the session. */
  drain(): PendingCommit[] {
    const frozen = this.#frozen.flatMap(({ commits }) => commits);
    this.#frozen = [];
    const waiting = [...this.#returned.splice(0), ...this.#commits.splice(0)];
    this.#waiting.count -= waiting.length;
    return [...frozen, ...waiting];
  }

  #chooseCommits(
    { bytes: bytesMax, commits: commitsMax }: FlushShare,
    isFirst: boolean,
  ): { merged: PendingCommit[]; last: PendingCommit[] } {
    const merged: PendingCommit[] = [];
    let bytes = 0;
    for (const commit of this.#commits) {
      bytes += commit.bytes;
      if (bytes > bytesMax && !(isFirst && merged.length === 0)) break;
      if (merged.length >= commitsMax) break;
      if (commit.fields === null && !commit.isAlone) {
        merged.push(commit);
        continue;
      }
      const mayFollow = commit.fields !== null || merged.length === 0;
      return { merged, last: mayFollow ? [commit] : [] };
    }
    return { merged, last: [] };
  }
}
