import type { OwnerQueue } from "./owner-queue.ts";
import type { Slot } from "./slot.ts";

const FLUSH_BYTES_MAX = 4 * 1024 * 1024;
const FLUSH_SLOTS_MAX = 1_000;
/** Of one session in one flush: whoever floods makes its own commits wait, not everybody's. */
const SHARE = { bytes: 512 * 1024, commits: 250 };

/** A slot on its way, with the queue that it came from. */
export interface Sent {
  readonly queue: OwnerQueue;
  readonly slot: Slot;
}

/**
 * The sessions that have something to write, and what is on its way. A session is in one flush at
 * a time, whichever connection takes it: so its commits keep their order.
 */
export class FlushQueue {
  readonly #newId: () => string;
  readonly #ready = new Set<OwnerQueue>();

  constructor(newId: () => string) {
    this.#newId = newId;
  }

  get isEmpty(): boolean {
    return this.#ready.size === 0;
  }

  /** Lets a session take part, unless it is on its way already or has to wait. */
  add(queue: OwnerQueue): void {
    if (!queue.isInFlight && !queue.isDelayed && !queue.isEmpty) this.#ready.add(queue);
  }

  /**
   * Takes the next flush, of about `commitsMax` commits and at least one. Sessions come in turn; in the flush they
   * stand in order of id, so that two processes never lock two of them crosswise.
   */
  take(commitsMax: number): Sent[] {
    const sent: Sent[] = [];
    let bytes = 0;
    let commits = 0;
    for (const queue of this.#ready) {
      if ((commits > 0 && commits >= commitsMax) || sent.length >= FLUSH_SLOTS_MAX - 1) break;
      const share = { ...SHARE, bytes: Math.min(SHARE.bytes, FLUSH_BYTES_MAX - bytes) };
      const slots = queue.takeSlots(share, sent.length === 0, this.#newId);
      if (slots.length === 0 && !queue.isEmpty) continue; // too large to go along: the first of the next one
      this.#ready.delete(queue);
      queue.isInFlight = slots.length > 0;
      for (const slot of slots) {
        sent.push({ queue, slot });
        bytes += slot.bytes;
        commits += slot.commits.length;
      }
    }
    return sent.sort(bySession);
  }

  /** Notes that a flush has its answers; what came back or came later goes with the next one. */
  finish(sent: readonly Sent[]): void {
    for (const { queue } of sent) {
      if (!queue.isInFlight) continue;
      queue.isInFlight = false;
      this.add(queue);
    }
  }
}

function bySession(a: Sent, b: Sent): number {
  if (a.slot.sessionId === b.slot.sessionId) return a.slot.base - b.slot.base;
  return a.slot.sessionId < b.slot.sessionId ? -1 : 1;
}
