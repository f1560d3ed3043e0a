import { StintError } from "../core/error.ts";
import type { Metrics } from "../core/metrics.ts";
import type { CommitResult, Ownership } from "../core/store.ts";
import { AppendLane } from "./append-lane.ts";
import { ByteBudget } from "./byte-budget.ts";
import type { ConnectionSource } from "./connect.ts";
import { FlushQueue, type Sent } from "./flush-queue.ts";
import { OwnerQueue } from "./owner-queue.ts";
import {
  type PartFields,
  type PendingCommit,
  type PreparedEvent,
  sizeOf,
  type Slot,
} from "./slot.ts";

const LANES_DEFAULT = 2;
const COMMIT_BYTES_MAX = 64 * 1024 * 1024;
/** From so many waiting commits on, more than one connection writes. */
const CROWD_COMMITS = 200;
const IDLE_OWNERS_MAX = 10_000;

/** Bounds, each with its default. */
export interface GroupCommitLimits {
  /** Connections. @default 2 */
  readonly lanes?: number;
  /** Bytes that may wait in this process. @default 67_108_864 (64 MiB) */
  readonly queuedBytesMax?: number;
  /** Bytes of one session that may wait. @default 8_388_608 (8 MiB) */
  readonly queuedBytesPerSessionMax?: number;
  /** Callers that may wait for room before more are refused as `overloaded`. @default 10_000 */
  readonly waitersMax?: number;
}

/** What a group commit needs and whom it tells. */
export interface GroupCommitOptions {
  readonly source: ConnectionSource;
  readonly metrics: Metrics;
  readonly limits?: GroupCommitLimits;
  /** Called after each durable write, with what it was: a transition may make work. */
  readonly onAppended: (appended: {
    readonly sessionId: string;
    readonly lastSeq: number;
    readonly hasTransition: boolean;
  }) => void;
}

/** A commit as the group takes it. */
export interface AppendRequest {
  readonly events: readonly PreparedEvent[];
  readonly fields: PartFields;
  readonly hasTransition: boolean;
}

/**
 * Writes the commits of many owners together: each waits for its own durable acknowledgement, the
 * database is called once for all of them. A session is on its way on one connection at a time, so
 * its calls take effect in their order.
 */
export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #lanes: readonly AppendLane[];
  readonly #flushes: FlushQueue;
  /** Commits that are not on their way. */
  readonly #waiting = { count: 0 };
  readonly #budget: ByteBudget;
  /** Queues by session and epoch, the least recently used first. */
  readonly #queues = new Map<string, OwnerQueue>();
  readonly #drained: (() => void)[] = [];
  #pending = 0;
  #isClosed = false;

  constructor(options: GroupCommitOptions) {
    this.#options = options;
    const { limits = {} } = options;
    this.#budget = new ByteBudget({
      bytesMax: limits.queuedBytesMax ?? 64 * 1024 * 1024,
      bytesPerKeyMax: limits.queuedBytesPerSessionMax ?? 8 * 1024 * 1024,
      waitersMax: limits.waitersMax ?? 10_000,
    });
    this.#flushes = new FlushQueue(() => options.source.clock.newId());
    this.#lanes = Array.from({ length: limits.lanes ?? LANES_DEFAULT }, () => this.#createLane());
  }

  /** Bytes that wait to be written. */
  get queuedBytes(): number {
    return this.#budget.bytes;
  }

  /**
   * Resolves when the commit is durable, or when it is known that it never will be. `lastSeq` is
   * where the log of an owner that has not committed yet ends; later it is ignored.
   * @throws {overloaded} {event_too_large} {database_unavailable} when the store is closed first
   */
  async append(owner: Ownership, lastSeq: number, request: AppendRequest): Promise<CommitResult> {
    if (this.#isClosed) throw new StintError("database_unavailable", "the store is closed");
    const bytes = sizeOf(request.events, request.fields);
    if (bytes > COMMIT_BYTES_MAX) {
      throw new StintError("event_too_large", `a commit of ${bytes} bytes is too large`);
    }
    if (request.events.length === 0 && request.fields === null) {
      throw new StintError("event_invalid", "a commit holds nothing");
    }
    const startedMs = this.#options.source.clock.monotonic();
    const key = keyOf(owner);
    if (!this.#budget.tryTake(key, bytes)) await this.#budget.wait(key, bytes);
    const result = await this.#enqueue(owner, lastSeq, { ...request, bytes });
    const seconds = (this.#options.source.clock.monotonic() - startedMs) / 1000;
    this.#options.metrics.observe("appendLatency", {}, seconds);
    return result;
  }

  /** Resolves when nothing waits any more, or after `timeoutMs`; then refuses the rest. */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosed = true;
    await this.#drain(timeoutMs);
    const error = new StintError("database_unavailable", "the store was closed");
    this.#budget.refuseAll(error);
    await Promise.all(this.#lanes.map((lane) => lane.close()));
    for (const queue of [...this.#queues.values()]) {
      for (const commit of queue.drain()) this.#release(queue, commit, () => commit.fail(error));
    }
  }

  #createLane(): AppendLane {
    const lane: AppendLane = new AppendLane(this.#options.source, {
      take: () => this.#takeFor(lane),
      finish: (sent) => this.#flushes.finish(sent),
      resume: (queue) => {
        this.#flushes.add(queue);
        this.#wake();
      },
      onTroubled: () => this.#wake(),
      onSettled: (queue, commit, result) =>
        this.#release(queue, commit, () => commit.settle(result)),
      onFailed: (queue, commit, error) => this.#release(queue, commit, () => commit.fail(error)),
      onAppended: (queue, slot) => this.#announce(queue, slot),
    });
    return lane;
  }

  /**
   * Few commits go together on one connection: the larger a flush, the less each of its events
   * costs. When many wait, they are shared out, so that client and server work at the same time.
   */
  #takeFor(lane: AppendLane): readonly Sent[] {
    const { count: waiting } = this.#waiting;
    const isCrowd = waiting >= CROWD_COMMITS;
    if (
      !isCrowd &&
      this.#lanes.some((other) => other !== lane && other.isFlowing && !other.isFree)
    ) {
      return [];
    }
    const free = isCrowd ? this.#lanes.filter((other) => other !== lane && other.isFree).length : 0;
    const sent = this.#flushes.take(Math.ceil(waiting / (free + 1)));
    if (!this.#flushes.isEmpty) this.#wake();
    return sent;
  }

  #wake(): void {
    const isCrowd = this.#waiting.count >= CROWD_COMMITS;
    for (const lane of this.#lanes) {
      if (!isCrowd && this.#lanes.some((other) => other.isFlowing)) return;
      lane.start();
    }
  }

  #enqueue(
    owner: Ownership,
    lastSeq: number,
    request: AppendRequest & { readonly bytes: number },
  ): Promise<CommitResult> {
    const queue = this.#queueOf(owner, lastSeq);
    this.#pending++;
    return new Promise((settle, fail) => {
      queue.add({ ...request, settle, fail, isAlone: false, isDone: false });
      this.#flushes.add(queue);
      this.#wake();
    });
  }

  #queueOf(owner: Ownership, lastSeq: number): OwnerQueue {
    const key = keyOf(owner);
    const known = this.#queues.get(key);
    const queue = known ?? new OwnerQueue(owner.sessionId, owner.epoch, lastSeq, this.#waiting);
    this.#queues.delete(key);
    this.#queues.set(key, queue);
    if (known === undefined && this.#queues.size > IDLE_OWNERS_MAX) this.#forgetIdle();
    return queue;
  }

  /** Owners that ended without a last commit leave a queue behind; the oldest idle ones go. */
  #forgetIdle(): void {
    for (const [key, queue] of this.#queues) {
      if (this.#queues.size <= IDLE_OWNERS_MAX) return;
      if (queue.isIdle) this.#queues.delete(key);
    }
  }

  #release(queue: OwnerQueue, commit: PendingCommit, tell: () => void): void {
    if (commit.isDone) return;
    commit.isDone = true;
    queue.release();
    const key = keyOf(queue);
    this.#budget.give(key, commit.bytes);
    this.#pending--;
    tell();
    if (queue.isIdle && queue.isOver) this.#queues.delete(key);
    if (this.#pending === 0) for (const callback of this.#drained.splice(0)) callback();
  }

  #announce(queue: OwnerQueue, slot: Slot): void {
    for (const { type } of slot.events) this.#options.metrics.count("events", { type });
    const { sessionId, base: lastSeq } = queue;
    this.#options.onAppended({ sessionId, lastSeq, hasTransition: slot.hasTransition });
  }

  async #drain(timeoutMs: number): Promise<void> {
    if (this.#pending === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.source.clock.setTimer(resolve, timeoutMs);
      this.#drained.push(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}

function keyOf({ sessionId, epoch }: Ownership): string {
  return `${sessionId}:${epoch}`;
}
