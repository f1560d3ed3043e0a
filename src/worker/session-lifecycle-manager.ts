import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import type { EventData, NewEvent, SessionEvent, SessionEventType } from "../core/event.ts";
import { addStats } from "../core/fold.ts";
import type { JsonObject } from "../core/json.ts";
import { LOG_MESSAGES, type Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { SessionMetadata, SessionSnapshot } from "../core/session.ts";
import { isTerminal, type Reason, type SessionState } from "../core/state.ts";
import type {
  ClaimedSession,
  EventQuery,
  OwnerCommit,
  OwnerTransition,
  Ownership,
  Store,
  TransitionNotice,
} from "../core/store.ts";
import { SessionHold } from "./session-hold.ts";

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
  readonly waitingFor?: "input" | "permission" | null;
  /** Inbox items that this pause answers. */
  readonly inboxConsumed?: readonly string[];
  /** Refuses with `inbox_not_empty` while messages wait. @default false */
  readonly unlessInbox?: boolean;
}

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
  readonly #logger: Logger;
  readonly #metrics: Metrics;
  readonly #holds = new Map<string, SessionHold>();
  readonly #active = new Set<string>();

  constructor(options: LifecycleOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#metrics = options.metrics;
  }

  /** The sessions that this process holds now. */
  get holds(): readonly SessionHold[] {
    return [...this.#holds.values()];
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
    const claimed = await this.#store.claimSessions(request);
    return claimed.map((claim) => {
      const hold = new SessionHold(claim.session);
      this.#holds.set(hold.sessionId, hold);
      const from = claim.session.reason === "resumed" ? "paused" : "pending";
      const { sessionId, epoch, session } = hold;
      this.#recordTransition({ sessionId, epoch, from, to: "active", reason: session.reason });
      this.#metrics.observe("claimLatency", {}, claim.queuedMs / 1_000);
      this.#metrics.set("activeSessions", {}, this.#holds.size);
      return { ...claim, hold };
    });
  }

  /**
   * Ends a held session well. With `unlessInbox` the end is refused while messages wait.
   * @throws {stale_epoch} when this process does not hold it. @throws {inbox_not_empty}
   */
  async completeSession(
    sessionId: string,
    result: { readonly message: string; readonly unlessInbox?: boolean },
  ): Promise<void> {
    const hold = this.#requireHold(sessionId);
    await this.#transition(hold, {
      events: [{ type: "completion", data: { message: result.message, stats: hold.stats } }],
      transition: {
        to: "completed",
        reason: "end_turn",
        unlessInbox: result.unlessInbox ?? false,
      },
    });
  }

  /** Ends a held session badly. @throws {stale_epoch} when this process does not hold it. */
  async failSession(
    sessionId: string,
    failure: SessionFailure,
    inboxConsumed: readonly string[] = [],
  ): Promise<void> {
    const hold = this.#requireHold(sessionId);
    const error = { code: failure.code ?? failure.reason, message: failure.message };
    await this.#transition(hold, {
      events: [{ type: "error", data: { ...error, stats: hold.stats } }],
      inboxConsumed,
      transition: { to: "failed", reason: failure.reason, error },
    });
  }

  /**
   * Pauses a held session, or asks its owner to.
   * @throws {illegal_transition} when it is neither active nor paused. @throws {inbox_not_empty}
   */
  async pauseSession(sessionId: string, options: PauseOptions = {}): Promise<void> {
    const hold = this.#holds.get(sessionId);
    if (!hold) {
      await this.#store.pauseSession(sessionId);
      return;
    }
    await this.#transition(hold, {
      ...(options.inboxConsumed && { inboxConsumed: options.inboxConsumed }),
      transition: {
        to: "paused",
        reason: options.reason ?? "user",
        resumeInMs: options.resumeInMs ?? null,
        waitingFor: options.waitingFor ?? null,
        unlessInbox: options.unlessInbox ?? false,
      },
    });
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
    this.#noteForced([
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
    const hold = this.#holds.get(sessionId);
    if (!hold) return this.#store.appendUnowned(sessionId, [event]);
    return this.commit(hold, { events: [event] });
  }

  /** Says that an agent did something; written with the next heartbeat. */
  recordActivity(sessionId: string): void {
    if (this.#holds.has(sessionId)) this.#active.add(sessionId);
  }

  /** Writes the activity recorded since the last call. */
  async flushActivity(): Promise<void> {
    const owners: Ownership[] = [];
    for (const sessionId of this.#active) {
      const hold = this.#holds.get(sessionId);
      if (hold) owners.push({ sessionId, epoch: hold.epoch });
    }
    this.#active.clear();
    if (owners.length > 0) await this.#store.recordActivity(owners);
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
  async getMetadata(sessionId: string): Promise<SessionMetadata> {
    const session = await this.#store.getSession(sessionId);
    if (!session) throw new StintError("session_not_found", `no session ${sessionId}`);
    const changes = await this.#store.readStateChanges(sessionId);
    const end = session.completedAt?.getTime() ?? this.#clock.now();
    return {
      sessionId,
      state: session.status,
      startedAt: session.startedAt,
      lastActivityAt: session.lastActivityAt,
      durationMs: Math.max(0, end - session.createdAt.getTime()),
      activeMs: session.activeMs,
      stats: session.stats,
      stateChanges: changes.map((event) => readTransition(event.data, event.createdAt)),
    };
  }

  /** Pauses sessions whose worker is lost and carries out what a silent owner was asked for. */
  async checkLostSessions(): Promise<readonly TransitionNotice[]> {
    const lost = await this.#store.sweepLostLeases();
    const requested = await this.#store.sweepControlRequests();
    return this.#noteForced([...lost, ...requested]);
  }

  /** Expires sessions that were idle, queued, paused or at work for too long. */
  async checkExpiredSessions(): Promise<readonly TransitionNotice[]> {
    return this.#noteForced(await this.#store.sweepIdleSessions());
  }

  /** Tells all agents of this process to stop, so that their sessions pause and resume elsewhere. */
  shutdown(): void {
    for (const hold of this.holds) {
      hold.stop({ kind: "shutdown", message: "the worker is shutting down" });
    }
  }

  /**
   * One atomic write of a held session.
   * @throws {stale_epoch} when it is held no more: the hold is stopped as lost.
   */
  async commit(hold: SessionHold, commit: OwnerCommit): Promise<number> {
    if (hold.isLost) throw staleEpoch(hold);
    const startedAt = this.#clock.monotonic();
    const result = await this.#store.commit(hold, hold.lastSeq, commit);
    switch (result.status) {
      case "ok":
        hold.lastSeq = Math.max(hold.lastSeq, result.lastSeq);
        this.#metrics.observe("appendLatency", {}, (this.#clock.monotonic() - startedAt) / 1_000);
        this.#countEvents(hold, commit.events ?? []);
        return result.lastSeq;
      case "rejected":
        throw new StintError(
          result.code === "inbox_not_empty" ? "inbox_not_empty" : "invalid_request",
          result.message,
          { fields: { sessionId: hold.sessionId, code: result.code } },
        );
      default:
        this.loseSession(hold, "another owner or a transition has taken the session");
        throw staleEpoch(hold);
    }
  }

  /** Gives up a session that is another's now: its agent stops and nothing more is written. */
  loseSession(hold: SessionHold, message: string): void {
    hold.stop({ kind: "lost", message });
    this.#release(hold);
  }

  #countEvents(hold: SessionHold, events: readonly NewEvent[]): void {
    for (const { type, data } of events) {
      hold.stats = addStats(hold.stats, type, data as JsonObject);
      this.#metrics.count("events", { type });
    }
  }

  async #transition(
    hold: SessionHold,
    commit: OwnerCommit & { readonly transition: OwnerTransition },
  ): Promise<void> {
    await this.commit(hold, commit);
    this.#release(hold);
    const { to, reason } = commit.transition;
    const { sessionId, epoch } = hold;
    this.#recordTransition({ sessionId, epoch: epoch + 1, from: "active", to, reason });
    if (isTerminal(to)) this.#recordEnd(hold, to);
  }

  #recordEnd(hold: SessionHold, to: SessionState): void {
    const duration = Math.max(0, this.#clock.now() - hold.session.createdAt.getTime());
    this.#metrics.observe("sessionDuration", { status: to }, duration / 1_000);
    const message = to === "completed" ? LOG_MESSAGES.completed : LOG_MESSAGES.failed;
    this.#logger.info({ sessionId: hold.sessionId, duration, stats: hold.stats }, message);
  }

  #recordTransition(notice: TransitionNotice): void {
    const { sessionId, from, to, reason, epoch } = notice;
    this.#logger.info({ sessionId, from, to, reason, epoch }, LOG_MESSAGES.transition);
    this.#metrics.count("transitions", { from, to, reason });
    if (to === "expired") this.#metrics.count("expiries", { reason });
  }

  #noteForced(notices: readonly TransitionNotice[]): readonly TransitionNotice[] {
    for (const notice of notices) {
      this.#recordTransition(notice);
      const hold = this.#holds.get(notice.sessionId);
      if (hold && hold.epoch < notice.epoch) this.loseSession(hold, `forced: ${notice.reason}`);
    }
    return notices;
  }

  #requireHold(sessionId: string): SessionHold {
    const hold = this.#holds.get(sessionId);
    if (hold) return hold;
    throw new StintError("stale_epoch", `session ${sessionId} is not held by this process`);
  }

  #release(hold: SessionHold): void {
    if (this.#holds.get(hold.sessionId) === hold) this.#holds.delete(hold.sessionId);
    this.#metrics.set("activeSessions", {}, this.#holds.size);
  }
}

function staleEpoch(hold: SessionHold): StintError {
  return new StintError(
    "stale_epoch",
    `session ${hold.sessionId} is no longer held at epoch ${hold.epoch}`,
    { fields: { sessionId: hold.sessionId, epoch: hold.epoch } },
  );
}

function readTransition(data: JsonObject, at: Date): SessionMetadata["stateChanges"][number] {
  return {
    from: data["from"] as SessionState,
    to: data["to"] as SessionState,
    reason: data["reason"] as Reason,
    at,
  };
}
