import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import type { EventData, NewEvent, SessionEvent, SessionEventType } from "../core/event.ts";
import { truncateText } from "../core/json.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { SessionMetadata, SessionSnapshot } from "../core/session.ts";
import { isTerminal, type Reason } from "../core/state.ts";
import type {
  BackoffPlan,
  ClaimedSession,
  EventQuery,
  OwnerCommit,
  OwnerTransition,
  Ownership,
  Store,
  TransitionNotice,
} from "../core/store.ts";
import { HeldSessions } from "./held-sessions.ts";
import { HoldWrites } from "./hold-writes.ts";
import type { SessionHold } from "./session-hold.ts";
import { readSessionMetadata } from "./session-metadata.ts";
import { TransitionReport } from "./transition-report.ts";

/** What a SessionLifecycleManager works with. */
export interface LifecycleOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Why a session fails. */
export interface SessionFailure {
  readonly reason: Extract<
    Reason,
    "agent_error" | "model_error" | "max_iterations" | "refusal" | "workspace_error" | "cancelled"
  >;
  /** A stable code for machines. @default the reason */
  readonly code?: string;
  readonly message: string;
}

/** How a pause is to be ended. */
export interface PauseOptions {
  /** @default "user" */
  readonly reason?: Reason;
  /** When a worker may take it up again: 0 at once, null when a person says so. @default null */
  readonly resumeInMs?: number | null;
  /** With the reason `backoff`, instead of `resumeInMs`. */
  readonly backoff?: BackoffPlan;
  /** What holds the session up; shown while it is paused. */
  readonly error?: { readonly code: string; readonly message: string };
  readonly waitingFor?: "input" | "permission" | null;
  /** Inbox items that this pause answers. */
  readonly inboxConsumed?: readonly string[];
  /** Refuses with `inbox_not_empty` while messages wait. @default false */
  readonly unlessInbox?: boolean;
  /** Keeps the hold, frozen, for so long; see `freezeSession`. @default the hold ends */
  readonly freezeMs?: number;
}

/** Largest message of an end, in bytes: an event has a bound, and JSON may write a byte as six. */
const MESSAGE_BYTES_MAX = 131_072;

/**
 * The life of sessions: start, complete, fail, pause, resume, expire, and what they say meanwhile.
 *
 * The database decides every transition; this class carries them out for the sessions that its
 * process holds, and asks for them where another process does. It keeps no state that would be
 * missed after a crash: only which sessions are held here, and at which epoch.
 */
export class SessionLifecycleManager {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #held: HeldSessions;
  readonly #writes: HoldWrites;
  readonly #report: TransitionReport;
  readonly #active = new Set<string>();
  #claimsUnderWay = 0;

  constructor(options: LifecycleOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#held = new HeldSessions(options.metrics);
    this.#writes = new HoldWrites(options.store, this.#held);
    this.#report = new TransitionReport(options);
  }

  /** The sessions that this process holds now. */
  get holds(): readonly SessionHold[] {
    return this.#held.all;
  }

  /** The paused sessions whose agents are frozen here. */
  get frozen(): readonly SessionHold[] {
    return this.#held.frozen;
  }

  /** Creates a pending session; see `Store.createSession`. */
  async createSession(...args: Parameters<Store["createSession"]>): Promise<SessionSnapshot> {
    return (await this.#store.createSession(...args)).session;
  }

  /**
   * Takes one session for a worker: pending or resumable → active.
   * @throws {not_claimable} when it is not due, taken, or the worker's lease is lost.
   */
  async startSession(sessionId: string, workerId: string): Promise<SessionHold> {
    const [claimed] = await this.claimSessions({ workerId, limit: 1, sessionId });
    if (claimed) return claimed.hold;
    throw new StintError("not_claimable", `session ${sessionId} cannot be started now`);
  }

  /** Takes due sessions, oldest first; each comes with the hold of this process. */
  async claimSessions(
    request: Parameters<Store["claimSessions"]>[0],
  ): Promise<readonly (ClaimedSession & { readonly hold: SessionHold })[]> {
    this.#claimsUnderWay++;
    const claimed = await this.#store.claimSessions(request).finally(() => this.#claimsUnderWay--);
    return claimed.map((claim) => {
      const { hold, isThawed } = this.#held.take(claim.session);
      const { sessionId, epoch } = hold;
      const { reason } = claim.session;
      const from = isThawed || reason === "resumed" ? "paused" : "pending";
      this.#report.tellTransition({ sessionId, epoch, from, to: "active", reason });
      return { ...claim, hold };
    });
  }

  /**
   * Ends a held session well. With `unlessInbox` the end is refused while messages wait.
   * @throws {stale_epoch} when this process does not hold it. @throws {inbox_not_empty}
   */
  async completeSession(
    session: string | SessionHold,
    result: { readonly message: string; readonly unlessInbox?: boolean },
  ): Promise<void> {
    const hold = this.#held.require(session);
    await hold.settleWrites();
    const { text: message } = truncateText(result.message, MESSAGE_BYTES_MAX);
    await this.#transition(hold, {
      events: [{ type: "completion", data: { message, stats: hold.stats } }],
      transition: {
        to: "completed",
        reason: "end_turn",
        unlessInbox: result.unlessInbox ?? false,
      },
    });
  }

  /** Ends a held session badly. @throws {stale_epoch} when this process does not hold it. */
  async failSession(
    session: string | SessionHold,
    failure: SessionFailure,
    inboxConsumed: readonly string[] = [],
  ): Promise<void> {
    const hold = this.#held.require(session);
    await hold.settleWrites();
    const { text: message } = truncateText(failure.message, MESSAGE_BYTES_MAX);
    const error = { code: failure.code ?? failure.reason, message };
    await this.#transition(hold, {
      events: [{ type: "error", data: { ...error, stats: hold.stats } }],
      inboxConsumed,
      transition: { to: "failed", reason: failure.reason, error },
    });
  }

  /**
   * Pauses a held session, or asks its owner to; of a hold it pauses nothing but that.
   * @throws {illegal_transition} when it is neither active nor paused. @throws {inbox_not_empty}
   * @throws {stale_epoch} when the hold has ended.
   */
  async pauseSession(session: string | SessionHold, options: PauseOptions = {}): Promise<void> {
    if (typeof session === "string" && !this.#held.get(session)) {
      await this.#store.pauseSession(session);
      return;
    }
    const hold = this.#held.require(session);
    await this.#transition(hold, {
      ...(options.inboxConsumed && { inboxConsumed: options.inboxConsumed }),
      transition: {
        to: "paused",
        reason: options.reason ?? "user",
        resumeInMs: options.resumeInMs ?? null,
        ...(options.backoff && { backoff: options.backoff }),
        ...(options.error && { error: options.error }),
        waitingFor: options.waitingFor ?? null,
        unlessInbox: options.unlessInbox ?? false,
        ...(options.freezeMs !== undefined && { freezeMs: options.freezeMs }),
      },
    });
  }

  /**
   * Pauses a held session whose agent is frozen: nobody else may claim it for `freezeMs`. A claim of
   * this process ends that, and goes on with the same hold.
   * @throws {stale_epoch} when the hold has ended.
   */
  async freezeSession(
    hold: SessionHold,
    options: PauseOptions & { readonly freezeMs: number },
  ): Promise<void> {
    await this.pauseSession(hold, options);
    this.#held.keepFrozen(hold);
  }

  /** Makes a paused session claimable by any worker. @throws {illegal_transition} */
  resumeSession(sessionId: string): Promise<SessionSnapshot> {
    return this.#store.resumeSession(sessionId);
  }

  /** Cancels a session: at once, or through the worker that runs it. @throws {illegal_transition} */
  cancelSession(sessionId: string): Promise<SessionSnapshot> {
    return this.#store.cancelSession(sessionId);
  }

  /**
   * Expires a session, whoever holds it; a running agent is stopped.
   * @default reason idle_timeout @throws {illegal_transition}
   */
  async expireSession(
    sessionId: string,
    reason: Extract<
      Reason,
      "idle_timeout" | "paused_timeout" | "queue_timeout" | "deadline"
    > = "idle_timeout",
  ): Promise<SessionSnapshot> {
    const before = await this.#store.getSession(sessionId);
    const message = `the session expired: ${reason}`;
    const session = await this.#store.forceTransition(sessionId, {
      to: "expired",
      reason,
      message,
    });
    await this.#noteForced([
      { sessionId, from: before?.status ?? "active", to: "expired", reason, epoch: session.epoch },
    ]);
    return session;
  }

  /**
   * Appends an event; resolves with its seq when it is durable.
   * @throws {stale_epoch} when another process runs the session. @throws {session_terminal}
   * @throws {event_invalid} {event_too_large}
   */
  async emitEvent<T extends SessionEventType>(
    sessionId: string,
    type: T,
    data: EventData<T>,
  ): Promise<number> {
    const event = { type, data } as NewEvent;
    const hold = this.#held.get(sessionId);
    if (!hold) return this.#store.appendUnowned(sessionId, [event]);
    return this.commit(hold, { events: [event] });
  }

  /** Says that an agent did something; written with the next heartbeat. */
  recordActivity(sessionId: string): void {
    if (this.#held.get(sessionId)) this.#active.add(sessionId);
  }

  /** Writes the activity recorded since the last call; what cannot be written is kept. */
  async flushActivity(): Promise<void> {
    const owners: Ownership[] = [];
    for (const sessionId of this.#active) {
      const hold = this.#held.get(sessionId);
      if (hold) owners.push({ sessionId, epoch: hold.epoch });
    }
    this.#active.clear();
    if (owners.length === 0) return;
    try {
      await this.#store.recordActivity(owners);
    } catch (thrown) {
      for (const { sessionId } of owners) this.recordActivity(sessionId);
      throw thrown;
    }
  }

  /** A session as it is stored, or null. */
  getSession(sessionId: string): Promise<SessionSnapshot | null> {
    return this.#store.getSession(sessionId);
  }

  /** A page of a session's log, in order of seq. */
  getEventHistory(sessionId: string, query: EventQuery = {}): Promise<readonly SessionEvent[]> {
    return this.#store.readEvents(sessionId, query);
  }

  /** Times, totals and every state change of a session. @throws {session_not_found} */
  getMetadata(sessionId: string): Promise<SessionMetadata> {
    return readSessionMetadata({ store: this.#store, clock: this.#clock }, sessionId);
  }

  /**
   * Pauses sessions whose worker is lost, carries out what a silent owner was asked for, and answers
   * what nobody answered in time. One that fails keeps none of the others from its turn.
   */
  async checkLostSessions(): Promise<readonly TransitionNotice[]> {
    const failures: unknown[] = [];
    const attempt = async <T>(sweep: () => Promise<readonly T[]>): Promise<readonly T[]> => {
      try {
        return await sweep();
      } catch (thrown) {
        failures.push(thrown);
        return [];
      }
    };
    const store = this.#store;
    const lost = await attempt(() => store.sweepLostLeases());
    const requested = await attempt(() => store.sweepControlRequests());
    await attempt(() => store.sweepPermissions());
    const notices = await this.#noteForced([...lost, ...requested]);
    if (failures.length > 0) throw failures[0];
    return notices;
  }

  /** Expires sessions that were idle, queued, paused or at work for too long. */
  async checkExpiredSessions(): Promise<readonly TransitionNotice[]> {
    return this.#noteForced(await this.#store.sweepIdleSessions());
  }

  /**
   * Gives back what the database says this worker holds although nothing works on it here: the
   * answer to a claim was lost, or an attempt could not make its last transition. The lease lives
   * on, so no sweep would find them. `known` are the holds from before the database was asked.
   */
  async releaseUnattended(
    workerId: string,
    held: readonly Ownership[],
    known: readonly SessionHold[],
  ): Promise<void> {
    // An answer that is still under way may bring the hold.
    if (this.#claimsUnderWay > 0) return;
    const isAttended = (owner: Ownership): boolean =>
      this.#held.isAttended(owner) ||
      known.some(({ sessionId, epoch }) => sessionId === owner.sessionId && epoch === owner.epoch);
    for (const owner of held) {
      if (!isAttended(owner)) await this.#releaseUnattended(workerId, owner);
    }
  }

  async #releaseUnattended(workerId: string, owner: Ownership): Promise<void> {
    const { sessionId, epoch } = owner;
    const session = await this.#store.getSession(sessionId);
    if (session?.workerId !== workerId || session.epoch !== epoch) return;
    const transition = { to: "paused", reason: "agent_lost", resumeInMs: 0 } as const;
    const result = await this.#store.commit(owner, session.lastSeq, { transition });
    if (result.status !== "ok") return;
    const { to, reason } = transition;
    this.#report.tellTransition({ sessionId, epoch: epoch + 1, from: "active", to, reason });
  }

  /** Tells all agents of this process to stop, so that their sessions pause and resume elsewhere. */
  shutdown(): void {
    for (const hold of this.frozen) this.loseSession(hold, "the worker is shutting down");
    for (const hold of this.holds) {
      hold.stop({ kind: "shutdown", message: "the worker is shutting down" });
    }
  }

  /**
   * One atomic write of a held session.
   * @throws {stale_epoch} when it is held no more: the hold is stopped as lost.
   * @throws {inbox_not_empty} {message_taken} {call_not_open} {event_rejected} when it was refused:
   * nothing of it is written.
   */
  commit(hold: SessionHold, commit: OwnerCommit): Promise<number> {
    return this.#writes.commit(hold, commit);
  }

  /** The same for what an agent writes: while it is being frozen, or is, that waits. */
  async commitOfAgent(hold: SessionHold, commit: OwnerCommit): Promise<number> {
    if (hold.isFreezing) await hold.passGate();
    return this.commit(hold, commit);
  }

  /** Gives up a session that is another's now: its agent stops and nothing more is written. */
  loseSession(hold: SessionHold, message: string): void {
    this.#held.lose(hold, message);
  }

  async #transition(
    hold: SessionHold,
    commit: OwnerCommit & { readonly transition: OwnerTransition },
  ): Promise<void> {
    await this.commit(hold, commit);
    this.#held.release(hold);
    const { to, reason } = commit.transition;
    const { sessionId, epoch } = hold;
    this.#report.tellTransition({ sessionId, epoch: epoch + 1, from: "active", to, reason });
    if (isTerminal(to)) await this.#report.tellEnd(sessionId);
  }

  /** Made over the head of whoever held them: what this process held of them, it holds no more. */
  async #noteForced(notices: readonly TransitionNotice[]): Promise<readonly TransitionNotice[]> {
    for (const notice of notices) {
      this.#report.tellTransition(notice);
      this.#held.loseOlder(notice, notice.reason);
    }
    for (const { sessionId, to } of notices) {
      if (isTerminal(to)) await this.#report.tellEnd(sessionId);
    }
    return notices;
  }
}
