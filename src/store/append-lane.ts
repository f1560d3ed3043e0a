import type { Client } from "pg";
import type { Clock } from "../core/clock.ts";
import { delay } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import type { CommitResult } from "../core/store.ts";
import { callAppendEvents, probeEvents, type SlotAnswer } from "./append-call.ts";
import {
  type ConnectionSource,
  cutConnection,
  endConnection,
  onConnectionLost,
  openConnection,
  withAnswerLimit,
} from "./connect.ts";
import {
  codeOfState,
  isContentRefusal,
  isRefusal,
  isTransient,
  type ServerError,
  toStoreError,
} from "./database-error.ts";
import type { Sent } from "./flush-queue.ts";
import type { OwnerQueue } from "./owner-queue.ts";
import { type PendingCommit, type PreparedEvent, replaceEvents, type Slot } from "./slot.ts";

const STATEMENT_TIMEOUT_MS = 15_000;
const LOCK_TIMEOUT_MS = 250;
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
const RETRY_MS_MIN = 25;
const RETRY_MS_MAX = 2_000;

/** Where a lane gets its work and whom it tells. */
export interface LaneWork {
  /** The next flush; empty when this lane shall rest. */
  readonly take: () => readonly Sent[];
  /** A flush has its answers. */
  readonly finish: (sent: readonly Sent[]) => void;
  /** Lets a session take part again that had to wait. */
  readonly resume: (queue: OwnerQueue) => void;
  /** A commit has its answer; may be told twice, the first counts. */
  readonly onSettled: (queue: OwnerQueue, commit: PendingCommit, result: CommitResult) => void;
  /** A commit will not be written; whether it was is unknown. */
  readonly onFailed: (queue: OwnerQueue, commit: PendingCommit, error: Error) => void;
  /** This lane is held up: others shall not wait for it. */
  readonly onTroubled: () => void;
  /** The log of a session has grown. */
  readonly onAppended: (queue: OwnerQueue, slot: Slot) => void;
}

/**
 * One connection of the group commit. Self-clocked: while one flush is on its way the next one
 * gathers, so batches grow with the load and nothing ever waits for a timer. A flush whose outcome
 * is unknown is sent again as it was until the database answers: the ids in it make that exact.
 */
export class AppendLane {
  readonly #source: ConnectionSource;
  readonly #work: LaneWork;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  #client: Client | null = null;
  #running: Promise<void> | null = null;
  /** Between two flushes: what is called in this turn of the event loop will be in the next. */
  #isGathering = false;
  #isTroubled = false;

  constructor(source: ConnectionSource, work: LaneWork) {
    this.#source = source;
    this.#work = work;
    this.#clock = source.clock;
    this.#logger = source.logger;
  }

  /** Will take its next flush at once, or could. */
  get isFree(): boolean {
    return this.#running === null || this.#isGathering;
  }

  /** Comes back for more by itself within the time of a flush. */
  get isFlowing(): boolean {
    return this.#running !== null && !this.#isTroubled;
  }

  /** Writes what there is, until it shall rest. Idempotent. */
  start(): void {
    if (!this.#stop.signal.aborted) this.#running ??= this.#run();
  }

  /** Gives up what is on its way and ends the connection. */
  async close(): Promise<void> {
    this.#stop.abort(new StintError("database_unavailable", "the store was closed"));
    if (this.#client !== null && this.#running !== null) cutConnection(this.#client);
    await this.#running;
    if (this.#client !== null) await endConnection(this.#client, this.#clock);
  }

  async #run(): Promise<void> {
    for (;;) {
      await this.#gather();
      const sent = this.#stop.signal.aborted ? [] : this.#work.take();
      if (sent.length === 0) break;
      await this.#write(sent).catch((error: unknown) => this.#failAll(sent, error));
      this.#isTroubled = false;
      this.#work.finish(sent);
    }
    this.#running = null;
  }

  /** Lets acknowledged callers hand in their next commits. */
  async #gather(): Promise<void> {
    this.#isGathering = true;
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#isGathering = false;
  }

  async #write(sent: readonly Sent[]): Promise<void> {
    this.#stop.signal.throwIfAborted();
    const answer = await this.#callUntilAnswered(sent);
    if (Array.isArray(answer)) {
      for (const [place, each] of sent.entries()) this.#settle(each, answer[place] as SlotAnswer);
    } else if (isContentRefusal(answer.code)) {
      await this.#divide(sent, () => this.#isolate(sent, answer));
    } else if (/^(55P03|40P01|57014)$/.test(answer.code)) {
      await this.#writeBySession(sent, answer);
    } else {
      throw answer;
    }
  }

  /** Sends the same slots until the database says what became of them. */
  async #callUntilAnswered(sent: readonly Sent[]): Promise<SlotAnswer[] | ServerError> {
    const slots = sent.map(({ slot }) => slot);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#onConnection((client) => callAppendEvents(client, slots));
      } catch (error) {
        if (isRefusal(error) && !mayPass(error.code)) return error;
        if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
        this.#reportTrouble(error, attempt);
      }
      await this.#backOff(attempt);
    }
  }

  async #onConnection<T>(work: (client: Client) => Promise<T>): Promise<T> {
    const client = this.#client ?? (await this.#open());
    return withAnswerLimit(client, this.#clock, ANSWER_TIMEOUT_MS, () => work(client));
  }

  async #open(): Promise<Client> {
    const client = await openConnection(this.#source, {
      statementTimeoutMs: STATEMENT_TIMEOUT_MS,
      lockTimeoutMs: LOCK_TIMEOUT_MS,
    });
    this.#client = client;
    onConnectionLost(client, () => {
      if (this.#client === client) this.#client = null;
    });
    return client;
  }

  async #backOff(attempt: number): Promise<void> {
    this.#reportHeldUp();
    const longest = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt - 1, 10));
    await delay(this.#clock, longest * (0.5 + this.#clock.random() / 2), this.#stop.signal);
  }

  #reportHeldUp(): void {
    this.#isTroubled = true;
    this.#work.onTroubled();
  }

  #reportTrouble(error: unknown, attempt: number): void {
    if (attempt !== 1 && attempt % 20 !== 0) return;
    const { code, message } = toStoreError(error, "append");
    this.#logger.warn({ code, attempt, error: message }, "the log could not be written: retrying");
  }

  /** Halves a refused flush until the slot at fault stands alone; the others are written. */
  async #divide(sent: readonly Sent[], handleOne: () => Promise<void>): Promise<void> {
    if (sent.length === 1) return handleOne();
    const middle = Math.ceil(sent.length / 2);
    await this.#write(sent.slice(0, middle));
    await this.#write(sent.slice(middle));
  }

  /** Rows are locked by somebody else: nobody waits for the sessions of others. */
  async #writeBySession(sent: readonly Sent[], refusal: ServerError): Promise<void> {
    this.#reportHeldUp();
    const sessions = groupByQueue(sent);
    if (sessions.size > 1) {
      for (const each of sessions.values()) await this.#write(each);
      return;
    }
    for (const [queue, each] of sessions) this.#postpone(queue, each, refusal);
  }

  #postpone(queue: OwnerQueue, sent: readonly Sent[], refusal: ServerError): void {
    queue.freeze(sent.map(({ slot }) => slot));
    queue.isDelayed = true;
    const delayMs = Math.min(RETRY_MS_MAX, LOCK_TIMEOUT_MS * 2 ** Math.min(queue.delays++, 5));
    this.#reportTrouble(refusal, queue.delays);
    this.#clock.setTimer(() => {
      queue.isDelayed = false;
      this.#work.resume(queue);
    }, delayMs);
  }

  /** Finds the events that the database refuses and puts an error in the place of each. */
  async #isolate(sent: readonly Sent[], refusal: ServerError): Promise<void> {
    const [each] = sent as [Sent];
    const refused = await this.#findRefused(each.slot.events);
    if (refused.size === 0) {
      const { code, message } = refusal;
      this.#settle(each, { status: "rejected", code, message, epoch: 0, lastSeq: 0 });
      return;
    }
    for (const [event, reason] of refused) {
      const { sessionId } = each.queue;
      this.#logger.warn({ sessionId, type: event.type, reason }, "the database refused an event");
    }
    const events = each.slot.events.map((event) => replaceRefused(event, refused.get(event)));
    await this.#write([{ queue: each.queue, slot: replaceEvents(each.slot, events) }]);
  }

  async #findRefused(events: readonly PreparedEvent[]): Promise<Map<PreparedEvent, string>> {
    if (events.length === 0) return new Map();
    const refusal = await this.#probe(events);
    const [first] = events;
    if (refusal === null || first === undefined) return new Map();
    if (events.length === 1) return new Map([[first, refusal]]);
    const middle = Math.ceil(events.length / 2);
    const head = await this.#findRefused(events.slice(0, middle));
    return new Map([...head, ...(await this.#findRefused(events.slice(middle)))]);
  }

  async #probe(events: readonly PreparedEvent[]): Promise<string | null> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#onConnection((client) => probeEvents(client, events));
        return null;
      } catch (error) {
        if (isRefusal(error) && isContentRefusal(error.code)) return error.message;
        if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
      }
      await this.#backOff(attempt);
    }
  }

  #settle({ queue, slot }: Sent, answer: SlotAnswer): void {
    queue.delays = 0;
    if (answer.status === "ok") {
      queue.base = answer.lastSeq;
      if (slot.hasTransition) queue.isOver = true;
      this.#work.onAppended(queue, slot);
      this.#settleCommits(queue, slot);
    } else if (answer.status === "rejected") {
      this.#reject(queue, slot, answer);
    } else if (answer.status === "stale" && queue.base !== slot.base) {
      // The slot before it in this flush was not written, so this one was made for another place.
      queue.putBack(slot.commits);
    } else {
      this.#endOwnership(queue, slot, answer);
    }
  }

  #settleCommits(queue: OwnerQueue, slot: Slot): void {
    let lastSeq = slot.base;
    for (const commit of slot.commits) {
      lastSeq += commit.events.length + (commit.hasTransition ? 1 : 0);
      const epoch = slot.epoch + (commit.hasTransition ? 1 : 0);
      this.#work.onSettled(queue, commit, { status: "ok", lastSeq, epoch });
    }
  }

  #reject(queue: OwnerQueue, slot: Slot, { code, message }: SlotAnswer): void {
    if (slot.commits.length > 1) {
      for (const commit of slot.commits) commit.isAlone = true;
      queue.putBack(slot.commits);
      return;
    }
    const result = { status: "rejected", code: codeOfState(code), message } as const;
    for (const commit of slot.commits) this.#work.onSettled(queue, commit, result);
  }

  /** Fenced, gone, or a log that holds what its only owner has not written: all end the attempt. */
  #endOwnership(queue: OwnerQueue, slot: Slot, answer: SlotAnswer): void {
    if (answer.status === "stale") {
      const { sessionId, epoch } = queue;
      const fields = { sessionId, epoch, expected: slot.base, found: answer.lastSeq };
      this.#logger.error(
        fields,
        "the log of an owned session has another end: its owner is fenced",
      );
    }
    queue.isOver = true;
    const result: CommitResult =
      answer.status === "gone" ? { status: "gone" } : { status: "fenced", epoch: answer.epoch };
    for (const commit of [...slot.commits, ...queue.drain()]) {
      this.#work.onSettled(queue, commit, result);
    }
  }

  #failAll(sent: readonly Sent[], error: unknown): void {
    const failure = toStoreError(error, "append");
    const queues = new Set(sent.map(({ queue }) => queue));
    for (const { queue, slot } of sent) {
      for (const commit of slot.commits) this.#work.onFailed(queue, commit, failure);
    }
    for (const queue of queues) {
      for (const commit of queue.drain()) this.#work.onFailed(queue, commit, failure);
    }
  }
}

/** Locks and cancelled statements are dealt with session by session, other trouble by patience. */
function mayPass(sqlState: string): boolean {
  return isTransient(sqlState) && !/^(55P03|40P01|57014|54)/.test(sqlState);
}

function groupByQueue(sent: readonly Sent[]): Map<OwnerQueue, Sent[]> {
  const groups = new Map<OwnerQueue, Sent[]>();
  for (const each of sent) {
    const group = groups.get(each.queue);
    if (group === undefined) groups.set(each.queue, [each]);
    else group.push(each);
  }
  return groups;
}

function replaceRefused(event: PreparedEvent, reason: string | undefined): PreparedEvent {
  if (reason === undefined) return event;
  const message = `the database refused an event of type ${event.type}: ${reason}`.slice(0, 500);
  const json = JSON.stringify({ code: "event_rejected", message: message.toWellFormed() });
  return { id: event.id, type: "error", json, bytes: Buffer.byteLength(json), stats: null };
}
