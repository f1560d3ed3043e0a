import { StintError } from "../../src/core/error.ts";
import { EMPTY_STATS, type NewEvent } from "../../src/core/event.ts";
import { addStats } from "../../src/core/fold.ts";
import type { JsonObject } from "../../src/core/json.ts";
import type { NewSession } from "../../src/core/session.ts";
import {
  isReasonFor,
  isTerminal,
  isValidTransition,
  type Reason,
  type SessionState,
} from "../../src/core/state.ts";
import type {
  BackoffPlan,
  OwnerCommit,
  Ownership,
  PermissionAnswer,
  TransitionNotice,
  WorkerRegistration,
} from "../../src/core/store.ts";
import {
  type AppendSlot,
  type AttemptRow,
  copyStored,
  type InboxRow,
  type SessionRow,
  type SlotAnswer,
  type StoredSession,
  type WorkerRow,
} from "./oracle-rows.ts";

/** Where an oracle has its time and ids from. */
export interface OracleOptions {
  /** The database's clock, in milliseconds. */
  readonly now: () => number;
  readonly newId: () => string;
  /** @default 1_000 */
  readonly inboxItemsMax?: number;
}

/** What changes with a transition beside what the guard sets by itself. */
type Patch = Partial<SessionRow> & { readonly status: SessionState; readonly reason: Reason };

const FRUITLESS_MAX = 5;
const SURPLUS_MAX = 50;
const OWNER_SILENCE_MS = 10_000;
const WORKER_KEPT_MS = 3_600_000;
const REFUNDED: readonly Reason[] = [
  "user",
  "shutdown",
  "awaiting_input",
  "awaiting_permission",
  "budget_reached",
  "backoff",
];
/** Ends that are nobody's credit: refunded or not, they start no new count. */
const NEUTRAL: readonly (Reason | null)[] = ["backoff", "worker_lost", "agent_lost"];

function isAsking({ permissions }: StoredSession): boolean {
  return permissions.some(({ status }) => status === "pending");
}

function isHeld({ endedReason }: AttemptRow): boolean {
  return endedReason === "recovery_exhausted";
}

/** The attempts after the last one of this kind. */
function after(stored: StoredSession, isLast: (one: AttemptRow) => boolean): AttemptRow[] {
  return stored.attempts.slice(stored.attempts.findLastIndex(isLast) + 1);
}

/**
 * What the functions and triggers of `sql/migrations` do, once more, in memory: each method is one
 * transaction. It shares no code with the SQL, so that each can find the other's mistakes.
 * What `protected` methods decide is what a variant with a planted bug gets wrong.
 */
export class OracleDatabase {
  readonly sessions = new Map<string, StoredSession>();
  readonly workers = new Map<string, WorkerRow>();
  /** Id and host of deleted sessions whose files still lie there. */
  readonly workspaceRemovals = new Set<string>();
  /** Called after each change of a session. */
  onChanged: (sessionId: string) => void = () => undefined;
  readonly #keys = new Map<string, { readonly hash: string; readonly sessionId: string }>();
  readonly #options: OracleOptions;
  #position = 0;

  constructor(options: OracleOptions) {
    this.#options = options;
  }

  get now(): number {
    return this.#options.now();
  }

  find(id: string): SessionRow | null {
    return this.sessions.get(id)?.row ?? null;
  }

  // -- creating and commanding -------------------------------------------------------------------

  createSession(
    session: NewSession,
    key?: { readonly key: string; readonly requestHash: string },
  ): { row: SessionRow; isReplay: boolean } {
    const known = key && this.findRepeated(session.userId, key);
    if (known) return { row: known, isReplay: true };
    if (session.inPlacePath !== null && this.#isBusy(session.inPlacePath)) {
      throw new StintError("workspace_busy", "another live session works in this directory");
    }
    const row = newRow(session, this.now);
    const lists = { events: [], attempts: [], steps: [], calls: [], inbox: [], permissions: [] };
    const stored = { row, ...lists, modelCalls: [] };
    this.sessions.set(row.id, stored);
    if (key) {
      const hash = key.requestHash;
      this.#keys.set(`${session.userId}/${key.key}`, { hash, sessionId: row.id });
    }
    this.addEvent(stored, "user_message", { text: row.prompt, userId: row.userId });
    this.onChanged(row.id);
    return { row, isReplay: false };
  }

  findRepeated(
    userId: string,
    { key, requestHash }: { readonly key: string; readonly requestHash: string },
  ): SessionRow | null {
    const known = this.#keys.get(`${userId}/${key}`);
    if (known === undefined) return null;
    if (known.hash === requestHash) return this.find(known.sessionId);
    throw new StintError("idempotency_key_reused", `the key ${key} was used for another request`);
  }

  deleteSession(id: string): boolean {
    const row = this.find(id);
    if (row === null) return false;
    if (!isTerminal(row.status)) throw new StintError("session_not_terminal", id);
    for (const { workspaceHost } of this.sessions.get(id)?.attempts ?? []) {
      if (workspaceHost !== null) this.workspaceRemovals.add(`${id} ${workspaceHost}`);
    }
    this.sessions.delete(id);
    for (const [key, { sessionId }] of this.#keys) if (sessionId === id) this.#keys.delete(key);
    return true;
  }

  pauseSession(id: string): SessionRow {
    const stored = this.lock(id);
    if (stored.row.status === "active") this.#requestControl(stored, "pause");
    else if (stored.row.status === "paused") stored.row.resumeAt = null;
    else throw illegal(stored.row.status, "paused");
    return this.#changed(stored);
  }

  resumeSession(id: string): SessionRow {
    const stored = this.lock(id);
    if (stored.row.status !== "paused") throw illegal(stored.row.status, "active");
    stored.row.resumeAt = Math.min(stored.row.resumeAt ?? this.now, this.now);
    for (const item of stored.inbox) if (isPauseRequest(item)) item.consumedAt = this.now;
    return this.#changed(stored);
  }

  cancelSession(id: string): SessionRow {
    const stored = this.lock(id);
    const { status } = stored.row;
    if (status === "active") {
      this.#requestControl(stored, "cancel");
      return this.#changed(stored);
    }
    if (isTerminal(status)) throw new StintError("session_terminal", id);
    const to = status === "pending" ? "expired" : "failed";
    return this.forceTransition(id, to, "cancelled", "the session was cancelled");
  }

  sendMessage(message: {
    readonly id: string;
    readonly sessionId: string;
    readonly userId: string | null;
    readonly text: string;
  }): SessionRow {
    const stored = this.lock(message.sessionId);
    const known = [...this.sessions.values()].flatMap(({ inbox }) => inbox);
    const sent = known.find(({ id }) => id === message.id);
    if (sent) {
      if (sent.text === message.text) return stored.row;
      throw new StintError("idempotency_key_reused", "the key was used for another message");
    }
    if (isTerminal(stored.row.status)) throw new StintError("session_terminal", message.sessionId);
    const waiting = stored.inbox.filter(isWaiting).length;
    if (waiting >= (this.#options.inboxItemsMax ?? 1_000)) {
      throw new StintError("inbox_full", message.sessionId);
    }
    this.addToInbox(stored, { id: message.id, kind: "message", ...pickText(message) });
    const { row } = stored;
    if (row.status === "paused" && row.waitingFor === "input") row.resumeAt = this.now;
    return this.#changed(stored);
  }

  /** Whether a pause that a person asked for, and that nobody carried out, holds the session. */
  protected holdsForPause(stored: StoredSession): boolean {
    return stored.inbox.some(isPauseRequest);
  }

  forceTransition(
    id: string,
    to: SessionState,
    reason: Reason,
    message: string,
    resumeInMs: number | null = null,
  ): SessionRow {
    const stored = this.lock(id);
    const { row } = stored;
    if (!isValidTransition(row.status, to)) throw illegal(row.status, to);
    const isEnd = to === "failed" || to === "expired";
    if (isEnd) this.addEvent(stored, "error", { code: reason, message, stats: { ...row.stats } });
    const isHeld = this.holdsForPause(stored);
    this.changeState(stored, {
      status: to,
      reason,
      resumeAt: to === "paused" && resumeInMs !== null && !isHeld ? this.now + resumeInMs : null,
      ...(to !== "paused" && { errorCode: reason, errorMessage: message }),
    });
    for (const item of stored.inbox) {
      if (isWaiting(item) && (item.kind === "pause" || isTerminal(to))) item.consumedAt = this.now;
    }
    return this.#changed(stored);
  }

  appendUnowned(id: string, events: readonly NewEvent[]): number {
    const stored = this.lock(id);
    const { status } = stored.row;
    if (isTerminal(status)) throw new StintError("session_terminal", id);
    if (status === "active") throw new StintError("stale_epoch", id);
    for (const { type, data } of events) this.addEvent(stored, type, data as JsonObject);
    return this.#changed(stored).lastSeq;
  }

  // -- workers -----------------------------------------------------------------------------------

  registerWorker(worker: WorkerRegistration): void {
    if (this.workers.has(worker.id)) return;
    const { now } = this;
    const leaseMs = worker.leaseDurationMs;
    const lease = { leaseMs, leaseExpiresAt: now + leaseMs, deadAt: null };
    this.workers.set(worker.id, { ...worker, startedAt: now, heartbeatAt: now, ...lease });
  }

  heartbeat(workerId: string, leaseMs: number): { isLive: boolean; held: Ownership[] } {
    const worker = this.workers.get(workerId);
    if (worker === undefined || !this.mayRenew(worker)) return { isLive: false, held: [] };
    const { now } = this;
    Object.assign(worker, { leaseMs, heartbeatAt: now, leaseExpiresAt: now + leaseMs });
    const rows = [...this.sessions.values()].map(({ row }) => row);
    const held = rows.filter(
      (row) =>
        (row.status === "active" && row.workerId === workerId) ||
        (row.holdWorker === workerId && this.isHeld(row)),
    );
    held.sort((a, b) => (a.id < b.id ? -1 : 1));
    return { isLive: true, held: held.map(({ id, epoch }) => ({ sessionId: id, epoch })) };
  }

  buryWorker(workerId: string, bootId: string): boolean {
    const worker = this.workers.get(workerId);
    if (!worker || worker.deadAt !== null || worker.bootId !== bootId || bootId === "") {
      return false;
    }
    worker.deadAt = this.now;
    return true;
  }

  removeWorker(workerId: string): void {
    this.workers.delete(workerId);
  }

  claimSessions(request: {
    readonly workerId: string;
    readonly limit: number;
    readonly sessionId?: string;
    readonly agents?: readonly string[];
  }): { row: SessionRow; queuedMs: number }[] {
    const worker = this.workers.get(request.workerId);
    if (worker === undefined || !this.mayClaim(worker)) return [];
    const wanted = [...this.sessions.values()].filter(
      ({ row }) =>
        (request.sessionId ?? row.id) === row.id &&
        (request.agents === undefined || request.agents.includes(row.agent)),
    );
    const frozen = wanted.filter((stored) => this.isThawable(stored, worker));
    const paused = wanted.filter((stored) => this.isDue(stored, worker));
    paused.sort((a, b) => (a.row.resumeAt as number) - (b.row.resumeAt as number));
    const pending = wanted.filter(({ row }) => row.status === "pending");
    pending.sort((a, b) => a.row.createdAt - b.row.createdAt);
    const others = [...paused, ...pending].filter((stored) => !frozen.includes(stored));
    const taken = others.slice(0, Math.max(0, request.limit - frozen.length));
    return [...frozen, ...taken]
      .map((stored) => this.#claim(stored, request.workerId))
      .sort((a, b) => b.queuedMs - a.queuedMs);
  }

  recordActivity(owners: readonly Ownership[]): void {
    for (const { sessionId, epoch } of owners) {
      const row = this.find(sessionId);
      if (row?.epoch === epoch && row.status === "active") row.lastActivityAt = this.now;
    }
  }

  // -- the log -----------------------------------------------------------------------------------

  /** One slot of `append_events`. */
  append(slot: AppendSlot): SlotAnswer {
    const stored = this.sessions.get(slot.sessionId);
    const answer = (status: SlotAnswer["status"], code = ""): SlotAnswer => {
      const { epoch = 0, lastSeq = 0 } = this.find(slot.sessionId) ?? {};
      return { status, epoch, lastSeq, code };
    };
    if (stored === undefined) return answer("gone");
    if (this.mayAppend(stored.row, slot)) {
      const before = copyStored(stored);
      try {
        this.#write(stored, slot);
      } catch (error) {
        Object.assign(stored, before);
        return answer("rejected", (error as StintError).code);
      }
      this.#changed(stored);
      return answer("ok");
    }
    if (this.#wasCommitted(stored, slot)) return answer("ok");
    const { epoch, status } = stored.row;
    return answer(epoch !== slot.epoch || status !== "active" ? "fenced" : "stale");
  }

  // -- sweeps ------------------------------------------------------------------------------------

  sweepLostLeases(): TransitionNotice[] {
    const lost = [...this.sessions.values()].filter(({ row }) => this.isLost(row));
    const notices = lost.map(({ row: { id } }) => {
      const message = "the worker lost its lease";
      return noticeOf(this.forceTransition(id, "paused", "worker_lost", message, 0), "active");
    });
    const rows = [...this.sessions.values()].map(({ row }) => row);
    for (const { id, leaseExpiresAt } of this.workers.values()) {
      if (leaseExpiresAt >= this.now - WORKER_KEPT_MS) continue;
      if (!rows.some((row) => row.workerId === id)) this.workers.delete(id);
    }
    return notices;
  }

  sweepIdleSessions(): TransitionNotice[] {
    const notices: TransitionNotice[] = [];
    const due = [...this.sessions.values()].filter(
      ({ row }) => row.sweepAt !== null && row.sweepAt <= this.now,
    );
    due.sort((a, b) => (a.row.sweepAt as number) - (b.row.sweepAt as number));
    for (const stored of due) {
      const { row } = stored;
      const nextAt = this.#nextSweepAt(stored);
      const why = this.#explainExpiry(row, nextAt);
      if (why === null) row.sweepAt = leastOf(nextAt, row.deadlineAt);
      else {
        const from = row.status;
        const message = EXPIRY_TEXTS[why];
        notices.push(noticeOf(this.forceTransition(row.id, "expired", why, message), from));
      }
    }
    return notices;
  }

  decidePermission(answer: PermissionAnswer): SessionRow {
    const stored = this.lock(answer.sessionId);
    const asked = stored.permissions.find(({ id }) => id === answer.permissionId);
    if (!asked) throw new StintError("permission_not_found", answer.permissionId);
    const status = answer.decision === "allow" ? "allowed" : "denied";
    if (asked.status === status) return { ...stored.row };
    if (asked.status !== "pending") throw new StintError("permission_decided", asked.id);
    const { note } = answer;
    Object.assign(asked, { status, note, decidedBy: "user", decidedAt: this.now });
    this.#wakeAfterDecision(stored);
    return this.#changed(stored);
  }

  sweepPermissions(): string[] {
    const swept: string[] = [];
    for (const [id, stored] of this.sessions) {
      const overdue = stored.permissions.filter(
        (one) => one.status === "pending" && one.expiresAt <= this.now,
      );
      if (overdue.length === 0) continue;
      for (const one of overdue) {
        Object.assign(one, { status: one.atExpiry, decidedBy: "expiry", decidedAt: this.now });
      }
      this.#wakeAfterDecision(stored);
      swept.push(id);
    }
    return swept;
  }

  #wakeAfterDecision(stored: StoredSession): void {
    const { row } = stored;
    if (row.status !== "paused" || row.waitingFor !== "permission" || isAsking(stored)) return;
    const isHeld = ["user", "recovery_exhausted", "budget_reached"].includes(row.reason);
    Object.assign(row, { waitingFor: null, resumeAt: isHeld ? null : this.now });
  }

  sweepControlRequests(): TransitionNotice[] {
    const requests = [...this.sessions.values()].flatMap((stored) =>
      stored.inbox
        .filter((item) => isWaiting(item) && item.kind !== "message")
        .filter(
          (item) => stored.row.status !== "active" || item.createdAt <= this.now - OWNER_SILENCE_MS,
        )
        .map(({ kind }) => ({ stored, kind })),
    );
    requests.sort((a, b) => (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : 0));
    return requests.flatMap(({ stored, kind }) => this.#carryOut(stored, kind) ?? []);
  }

  // -- what variants get wrong -------------------------------------------------------------------

  protected isLeaseLive(worker: WorkerRow): boolean {
    return worker.leaseExpiresAt > this.now && worker.deadAt === null;
  }

  protected mayRenew(worker: WorkerRow): boolean {
    return this.isLeaseLive(worker);
  }

  protected mayClaim(worker: WorkerRow): boolean {
    return this.isLeaseLive(worker);
  }

  protected mayAppend(row: SessionRow, slot: AppendSlot): boolean {
    return (
      row.epoch === slot.epoch &&
      row.status === "active" &&
      row.lastSeq === slot.base &&
      (slot.part === null || row.commitId !== slot.lastId)
    );
  }

  protected mayLeave(stored: StoredSession): boolean {
    return !stored.inbox.some(isWaiting);
  }

  protected isLost({ status, workerId }: SessionRow): boolean {
    if (status !== "active") return false;
    const worker = workerId === null ? undefined : this.workers.get(workerId);
    return worker === undefined || worker.deadAt !== null || worker.leaseExpiresAt <= this.now;
  }

  protected isDue({ row, inbox }: StoredSession, worker: WorkerRow): boolean {
    const holder = row.holdWorker === null ? undefined : this.workers.get(row.holdWorker);
    const isKept = this.isHeld(row) && holder !== undefined && this.isLeaseLive(holder);
    return this.#isResumed(row, inbox) && mayGoOn(row, worker) && !isKept;
  }

  protected isThawable({ row, inbox }: StoredSession, worker: WorkerRow): boolean {
    return row.holdWorker === worker.id && this.isHeld(row) && this.#isResumed(row, inbox);
  }

  protected isHeld({ holdUntil }: SessionRow): boolean {
    return holdUntil !== null && holdUntil > this.now;
  }

  #isResumed({ status, resumeAt }: SessionRow, inbox: readonly InboxRow[]): boolean {
    const isAsked = inbox.some((item) => isWaiting(item) && item.kind !== "message");
    return status === "paused" && resumeAt !== null && resumeAt <= this.now && !isAsked;
  }

  protected isTakenTwice(stored: StoredSession, call: { iteration: number; ordinal: number }) {
    return stored.calls.some(
      ({ iteration, ordinal }) => iteration === call.iteration && ordinal === call.ordinal,
    );
  }

  protected isBusy(stored: StoredSession): boolean {
    const { row, calls, steps, permissions, modelCalls } = stored;
    return (
      modelCalls.some(
        (call) => call.status === "open" && call.epoch === row.epoch && call.deadlineAt > this.now,
      ) ||
      permissions.some((one) => one.status === "pending" && one.expiresAt > this.now) ||
      calls.some((call) => call.status === "open" && call.deadlineAt > this.now) ||
      steps.some(
        (step) => !step.isFinished && step.epoch === row.epoch && step.deadlineAt > this.now,
      )
    );
  }

  protected isExhausted(stored: StoredSession): boolean {
    const inARow = after(
      stored,
      (one) => one.progress || isHeld(one) || (one.refunded && !NEUTRAL.includes(one.endedReason)),
    ).filter(({ refunded }) => !refunded);
    if (inARow.length >= FRUITLESS_MAX) return true;
    let surplus = 0;
    for (const one of after(stored, isHeld)) {
      const isLoss =
        !one.refunded || (NEUTRAL.includes(one.endedReason) && one.endedReason !== "backoff");
      surplus = Math.max(0, surplus + (one.progress ? -1 : isLoss ? 1 : 0));
    }
    return surplus >= SURPLUS_MAX;
  }

  protected planBackoff(stored: StoredSession, plan: BackoffPlan): number | null {
    const waits = after(stored, (one) => one.progress || isHeld(one)).filter(
      ({ endedReason }) => endedReason === "backoff",
    );
    const grown = Math.min(plan.maxMs, plan.baseMs * 2 ** Math.min(30, waits.length));
    const asked = (plan.retryAfterMs ?? 0) * (1 + plan.chance / 10);
    const waitMs = Math.round(Math.max(grown * (0.5 + plan.chance / 2), asked));
    const waitedMs = this.now - (waits[0]?.endedAt ?? this.now);
    return waitedMs + waitMs <= plan.timeoutMs ? waitMs : null;
  }

  protected addToInbox(stored: StoredSession, item: Pick<InboxRow, "id" | "kind"> & Text): void {
    stored.inbox.push({
      ...item,
      position: ++this.#position,
      createdAt: this.now,
      consumedAt: null,
      consumedEpoch: null,
      deliveredIteration: null,
    });
  }

  protected takeFromInbox(stored: StoredSession, ids: readonly string[], epoch: number): void {
    const items = stored.inbox.filter((item) => isWaiting(item) && ids.includes(item.id));
    if (items.length !== ids.length) throw new StintError("message_taken", stored.row.id);
    for (const item of items) Object.assign(item, { consumedAt: this.now, consumedEpoch: epoch });
  }

  protected addEvent(
    stored: StoredSession,
    type: NewEvent["type"],
    data: JsonObject,
    id = this.#options.newId(),
  ): void {
    const seq = ++stored.row.lastSeq;
    stored.row.lastActivityAt = this.now;
    stored.events.push({ id, seq, type, data, createdAt: this.now });
  }

  /** The guard: the one place where a state changes. */
  protected changeState(stored: StoredSession, patch: Patch): void {
    const { row } = stored;
    const { status: from, epoch, workerId: oldWorker } = row;
    const to = patch.status;
    if (!isValidTransition(from, to)) throw illegal(from, to);
    Object.assign(row, patch);
    if (!isReasonFor(row.reason, to)) row.reason = "external";
    row.epoch = epoch + 1;
    if (to !== "paused" || oldWorker === null) row.holdUntil = null;
    row.holdWorker = row.holdUntil === null ? null : oldWorker;
    if (from === "active") {
      row.activeMs += Math.max(0, this.now - (row.activeSince as number));
      Object.assign(row, { activeSince: null, workerId: null });
    }
    if (to === "active") this.#enterActive(stored);
    else if (to === "paused") this.#enterPaused(stored);
    else this.#enterEnd(stored);
    if (from === "active") {
      const attempt = stored.attempts.find((one) => one.epoch === epoch);
      const refunded = to === "paused" && REFUNDED.includes(row.reason);
      const end = { endedState: to, endedReason: row.reason, endedAt: this.now, refunded };
      if (attempt) Object.assign(attempt, end);
    }
    const acting = to === "active" ? row.workerId : oldWorker;
    const { reason } = row;
    const { errorCode: code, errorMessage: message } = row;
    const error =
      (reason === "backoff" || reason === "budget_reached") && code !== null
        ? { error: { code, message } }
        : {};
    const who = acting ? { workerId: acting } : {};
    const data = { from, to, reason, epoch: row.epoch, ...who, ...error };
    this.addEvent(stored, "state_changed", data);
  }

  protected lock(id: string): StoredSession {
    const stored = this.sessions.get(id);
    if (stored) return stored;
    throw new StintError("session_not_found", `no session ${id}`);
  }

  // -- parts -------------------------------------------------------------------------------------

  #enterActive(stored: StoredSession): void {
    const { row } = stored;
    const { epoch, workerId } = row;
    Object.assign(row, { activeSince: this.now, resumeAt: null, waitingFor: null });
    Object.assign(row, { errorCode: null, errorMessage: null });
    row.startedAt ??= this.now;
    row.attempts += 1;
    row.sweepAt = leastOf(this.now + row.limits.idleTimeoutMs, row.deadlineAt);
    const ended = { endedState: null, endedReason: null, refunded: false, progress: false };
    const workspaceHost = this.workers.get(workerId ?? "")?.workspaceHost ?? null;
    stored.attempts.push({ epoch, workerId, workspaceHost, ...ended });
  }

  #enterPaused(stored: StoredSession): void {
    const { row } = stored;
    row.pausedAt = this.now;
    const isLoss = row.reason === "worker_lost" || row.reason === "agent_lost";
    if (isLoss && this.isExhausted(stored)) {
      Object.assign(row, { reason: "recovery_exhausted", resumeAt: null });
    }
    if (isAsking(stored)) Object.assign(row, { waitingFor: "permission", resumeAt: null });
    else if (row.reason === "awaiting_permission") {
      Object.assign(row, { waitingFor: null, resumeAt: this.now });
    }
    row.sweepAt = leastOf(this.now + row.limits.pausedTimeoutMs, row.deadlineAt);
    if (REFUNDED.includes(row.reason)) row.attempts = Math.max(0, row.attempts - 1);
  }

  #enterEnd({ row, calls, permissions, modelCalls }: StoredSession): void {
    Object.assign(row, { completedAt: this.now, resumeAt: null, waitingFor: null, sweepAt: null });
    for (const one of permissions) {
      if (one.status === "pending") Object.assign(one, { status: "lapsed", decidedAt: this.now });
    }
    for (const call of calls) if (call.status === "open") call.status = "unknown";
    for (const call of modelCalls) if (call.status === "open") call.status = "lost";
  }

  #claim(stored: StoredSession, workerId: string): { row: SessionRow; queuedMs: number } {
    const { row } = stored;
    const isNew = row.status === "pending";
    const dueAt = isNew ? row.createdAt : (row.resumeAt as number);
    const reason = isNew ? "started" : "resumed";
    this.changeState(stored, { status: "active", reason, workerId });
    return { row: this.#changed(stored), queuedMs: this.now - dueAt };
  }

  #write(stored: StoredSession, { events, part, lastId, epoch }: AppendSlot): void {
    const { row } = stored;
    for (const { type, data, id } of events) {
      this.addEvent(stored, type, data, id);
      row.stats = addStats(row.stats, type, data);
    }
    row.lastActivityAt = this.now;
    if (part === null) return;
    row.commitId = lastId;
    this.#writePlaces(stored, part);
    if (part.inboxConsumed?.length) this.takeFromInbox(stored, part.inboxConsumed, epoch);
    this.#writeStep(stored, part, epoch);
    this.#writePermission(stored, part);
    this.#writeCall(stored, part, epoch);
    this.#writeModelCall(stored, part, epoch);
    if (part.snapshot) {
      row.snapshotId = part.snapshot.id;
      row.snapshotStore = part.snapshot.store ?? null;
      this.#moveHere(row);
      for (const call of stored.calls) {
        const runs = call.status === "open" && part.snapshot.underWay?.includes(call.callId);
        if (runs || part.snapshot.calls.includes(call.callId)) call.snapshotId = part.snapshot.id;
        const undone = part.snapshot.undone?.find(({ callId }) => callId === call.callId);
        if (undone === undefined || call.status === "open") continue;
        call.snapshotId = part.snapshot.id;
        call.result = undone.result;
      }
    }
    this.#continue(stored, part, epoch);
    if (part.transition) this.#leave(stored, part.transition);
  }

  #writePlaces({ row }: StoredSession, { workspacePath, agentSessionId }: OwnerCommit): void {
    if (workspacePath !== undefined) {
      row.workspacePath = workspacePath;
      if (row.snapshotStore === null) this.#moveHere(row);
    }
    row.agentSessionId = agentSessionId ?? row.agentSessionId;
  }

  #continue(stored: StoredSession, { continuesEpoch }: OwnerCommit, epoch: number): void {
    const { row, steps, modelCalls, calls } = stored;
    if (continuesEpoch === undefined) return;
    const frozenMs = this.now - (row.pausedAt ?? this.now);
    const extend = (one: { epoch: number; deadlineAt: number }): void => {
      if (one.epoch !== continuesEpoch) return;
      Object.assign(one, { epoch, deadlineAt: one.deadlineAt + frozenMs });
    };
    for (const step of steps) if (!step.isFinished) extend(step);
    for (const call of modelCalls) if (call.status === "open") extend(call);
    for (const call of calls) {
      if (call.status !== "open") continue;
      Object.assign(call, { snapshotId: null, deadlineAt: call.deadlineAt + frozenMs });
    }
  }

  #moveHere(row: SessionRow): void {
    const worker = row.workerId === null ? undefined : this.workers.get(row.workerId);
    row.workspaceHost = worker?.workspaceHost ?? row.workspaceHost;
  }

  #writeStep(stored: StoredSession, { beginStep, finishStep }: OwnerCommit, epoch: number): void {
    if (beginStep) {
      const { iteration, inputs, inboxDelivered, timeoutMs } = beginStep;
      const begun = { epoch, inputs, deadlineAt: this.now + timeoutMs };
      const known = stored.steps.find((step) => step.iteration === iteration);
      const open = { response: null, usage: null, isFinished: false };
      if (!known) stored.steps.push({ iteration, ...begun, ...open });
      else if (!known.isFinished) Object.assign(known, begun);
      for (const item of stored.inbox) {
        if (inboxDelivered.includes(item.id)) item.deliveredIteration ??= iteration;
      }
    }
    if (finishStep) {
      const { iteration, response, usage } = finishStep;
      const open = stored.steps.find((step) => step.iteration === iteration && !step.isFinished);
      if (open) {
        Object.assign(open, { response, usage, isFinished: true });
        this.#noteProgress(stored, epoch);
      }
    }
  }

  #writeCall(stored: StoredSession, { openCall, closeCall }: OwnerCommit, epoch: number): void {
    if (openCall) {
      if (this.isTakenTwice(stored, openCall)) throw new StintError("event_rejected", "23505");
      const { hasEffect = true, timeoutMs } = openCall;
      const times = { epoch, deadlineAt: this.now + timeoutMs };
      const open = { status: "open", result: null, isError: false, snapshotId: null } as const;
      stored.calls.push({ ...openCall, hasEffect, ...times, ...open });
    }
    if (closeCall) {
      const { callId, status, result, isError } = closeCall;
      const open = stored.calls.find((call) => call.callId === callId && call.status === "open");
      if (!open) throw new StintError("call_not_open", callId);
      Object.assign(open, { status, result, isError, snapshotId: null });
      this.#noteProgress(stored, epoch);
    }
  }

  #writeModelCall({ modelCalls }: StoredSession, part: OwnerCommit, epoch: number): void {
    const { openModelCall, closeModelCall } = part;
    if (openModelCall) {
      const deadlineAt = this.now + openModelCall.timeoutMs;
      const open = { status: "open", usage: null, costUsd: null } as const;
      modelCalls.push({ ...openModelCall, epoch, deadlineAt, ...open });
    }
    if (closeModelCall) {
      const { callId, status, usage, costUsd } = closeModelCall;
      const open = modelCalls.find((call) => call.callId === callId && call.status === "open");
      if (!open) throw new StintError("call_not_open", callId);
      Object.assign(open, { status, usage, costUsd });
    }
  }

  #writePermission({ row, permissions }: StoredSession, part: OwnerCommit): void {
    if (part.askPermission) {
      const { permissionId: id, requestHash, request, callId } = part.askPermission;
      const { timeoutMs, atExpiry } = part.askPermission;
      const times = { askedAt: this.now, expiresAt: this.now + timeoutMs, decidedAt: null };
      const open = { status: "pending", decidedBy: null, note: null } as const;
      const marks = { isTold: false, isUsed: false };
      permissions.push({ id, requestHash, request, callId, atExpiry, ...times, ...open, ...marks });
    }
    const { bindPermission: bound } = part;
    const rebound = permissions.find(({ id }) => id === bound?.permissionId);
    if (bound && rebound && !rebound.isUsed) rebound.callId = bound.callId;
    const told = permissions.find(({ id }) => id === part.tellPermission);
    if (told) told.isTold = true;
    if (part.usePermission === undefined) return;
    const used = permissions.find(({ id }) => id === part.usePermission);
    if (!used || used.isUsed || used.decidedBy === null) {
      throw new StintError("permission_not_decided", row.id);
    }
    Object.assign(used, { isUsed: true, isTold: true });
  }

  #noteProgress({ attempts }: StoredSession, epoch: number): void {
    const attempt = attempts.find((one) => one.epoch === epoch);
    if (attempt) attempt.progress = true;
  }

  #leave(stored: StoredSession, transition: NonNullable<OwnerCommit["transition"]>): void {
    const { to, waitingFor = null, resumeInMs, error, unlessInbox, backoff, freezeMs } = transition;
    if (unlessInbox === true && !this.mayLeave(stored)) {
      throw new StintError("inbox_not_empty", stored.row.id);
    }
    const waitMs = backoff ? this.planBackoff(stored, backoff) : resumeInMs;
    const reason = backoff && waitMs === null ? "recovery_exhausted" : transition.reason;
    const resumeAt = waitMs === null || waitMs === undefined ? null : this.now + waitMs;
    this.changeState(stored, {
      ...{ status: to, reason, waitingFor, resumeAt },
      holdUntil: freezeMs === undefined ? null : this.now + freezeMs,
      ...(error && { errorCode: error.code, errorMessage: error.message }),
    });
  }

  #wasCommitted({ row, events }: StoredSession, slot: AppendSlot): boolean {
    if (row.commitId === slot.lastId) return true;
    const { base, part, lastId, epoch } = slot;
    const last = events.find(({ seq }) => seq === base + Math.max(1, slot.events.length));
    if (last === undefined) return false;
    if (slot.events.length > 0) return last.id === lastId;
    return (
      part?.transition !== undefined &&
      last.type === "state_changed" &&
      last.data["epoch"] === epoch + 1 &&
      last.data["reason"] === part.transition.reason
    );
  }

  #nextSweepAt(stored: StoredSession): number {
    const { row } = stored;
    const { limits } = row;
    if (row.status === "pending") return row.createdAt + limits.queueTimeoutMs;
    if (row.status === "paused") return (row.pausedAt as number) + limits.pausedTimeoutMs;
    return (this.isBusy(stored) ? this.now : row.lastActivityAt) + limits.idleTimeoutMs;
  }

  #explainExpiry(row: SessionRow, nextAt: number): keyof typeof EXPIRY_TEXTS | null {
    if (row.deadlineAt !== null && row.deadlineAt <= this.now) return "deadline";
    if (nextAt > this.now) return null;
    if (row.status === "pending") return "queue_timeout";
    return row.status === "paused" ? "paused_timeout" : "idle_timeout";
  }

  #carryOut(stored: StoredSession, kind: InboxRow["kind"]): TransitionNotice | null {
    const { id, status } = stored.row;
    if (kind === "cancel" && (status === "active" || status === "paused")) {
      const message = "the session was cancelled";
      return noticeOf(this.forceTransition(id, "failed", "cancelled", message), status);
    }
    if (kind === "pause" && status === "active") {
      const message = "a user asked for a pause";
      return noticeOf(this.forceTransition(id, "paused", "user", message), status);
    }
    if (kind === "pause" && status === "paused") stored.row.resumeAt = null;
    for (const item of stored.inbox) {
      if (isWaiting(item) && item.kind === kind) item.consumedAt = this.now;
    }
    this.#changed(stored);
    return null;
  }

  #requestControl(stored: StoredSession, kind: "pause" | "cancel"): void {
    if (stored.inbox.some((item) => isWaiting(item) && item.kind === kind)) return;
    this.addToInbox(stored, { id: this.#options.newId(), kind, text: null, userId: null });
  }

  #isBusy(path: string): boolean {
    const rows = [...this.sessions.values()].map(({ row }) => row);
    return rows.some((row) => row.inPlacePath === path && !isTerminal(row.status));
  }

  #changed(stored: StoredSession): SessionRow {
    this.onChanged(stored.row.id);
    return stored.row;
  }
}

interface Text {
  readonly text: string | null;
  readonly userId: string | null;
}

const EXPIRY_TEXTS = {
  deadline: "the session passed its deadline",
  queue_timeout: "no worker took the session in time",
  paused_timeout: "the session was paused for too long",
  idle_timeout: "the agent did nothing for too long",
} as const;

function newRow(session: NewSession, now: number): SessionRow {
  const { queueTimeoutMs, deadlineMs } = session.limits;
  const deadlineAt = deadlineMs === null ? null : now + deadlineMs;
  return {
    ...session,
    ...{ createdAt: now, deadlineAt, status: "pending", reason: "created", epoch: 0, lastSeq: 0 },
    ...{ waitingFor: null, resumeAt: null, commitId: null, workerId: null, workspacePath: null },
    ...{ holdWorker: null, holdUntil: null },
    ...{ workspaceHost: null, snapshotId: null, snapshotStore: null, agentSessionId: null },
    stats: EMPTY_STATS,
    ...{ errorCode: null, errorMessage: null, attempts: 0, startedAt: null, activeSince: null },
    ...{ pausedAt: null, completedAt: null, lastActivityAt: now, activeMs: 0 },
    sweepAt: leastOf(now + queueTimeoutMs, deadlineAt),
  };
}

function mayGoOn({ workspaceHost, snapshotStore }: SessionRow, worker: WorkerRow): boolean {
  const isReadable = snapshotStore !== null && worker.snapshotStores?.includes(snapshotStore);
  return workspaceHost === null || workspaceHost === worker.workspaceHost || isReadable === true;
}

/** Whether an item of the inbox was not taken yet. */
export function isWaiting(item: InboxRow): boolean {
  return item.consumedAt === null;
}

/** Whether an item asks for a pause that nobody has carried out. */
function isPauseRequest(item: InboxRow): boolean {
  return isWaiting(item) && item.kind === "pause";
}

function pickText({ text, userId }: Text): Text {
  return { text, userId };
}

function noticeOf({ id, status, reason, epoch }: SessionRow, from: SessionState): TransitionNotice {
  return { sessionId: id, from, to: status, reason, epoch };
}

function leastOf(at: number, limit: number | null): number {
  return limit === null ? at : Math.min(at, limit);
}

function illegal(from: SessionState, to: SessionState): StintError {
  return new StintError("illegal_transition", `Invalid state transition: ${from} → ${to}`);
}
