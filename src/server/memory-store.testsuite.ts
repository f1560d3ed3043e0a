/** A store in memory with just what the server asks of one, and hands on the tests' levers. */
import { randomUUID } from "node:crypto";
import { StintError } from "../core/error.ts";
import { EMPTY_STATS, type SessionEventType } from "../core/event.ts";
import type { StoredPermission } from "../core/permission.ts";
import type { BudgetLimits, NewSession, SessionSnapshot } from "../core/session.ts";
import { isTerminal, SESSION_STATES, type Reason, type SessionState } from "../core/state.ts";
import type {
  ChangeListener,
  EventQuery,
  EventRow,
  PermissionAnswer,
  SessionQuery,
  Store,
  StoreStats,
  Viewer,
} from "../core/store.ts";

interface Entry {
  session: SessionSnapshot;
  rows: EventRow[];
}

export class MemoryStore {
  readonly entries = new Map<string, Entry>();
  readonly keys = new Map<string, { hash: string; id: string }>();
  readonly listeners = new Map<string, Set<ChangeListener>>();
  readonly permissions: StoredPermission[] = [];
  readonly messages: { sessionId: string; text: string; userId: string | null }[] = [];
  /** Calls that run now and the most that ever ran at a time, of `readEventRows`. */
  reads = 0;
  readsMax = 0;
  /** Thrown by every call while set. */
  failure: unknown = null;
  /** Awaited by every read of events, between looking and answering. */
  beforeAnswer: () => Promise<void> = () => Promise.resolve();

  /** The store as the server takes it. */
  asStore(): Store {
    return this as unknown as Store;
  }

  createSession(
    input: NewSession,
    idempotency?: { key: string; requestHash: string },
  ): Promise<{ session: SessionSnapshot; isReplay: boolean }> {
    this.#check();
    const known = idempotency && this.keys.get(idempotency.key);
    if (known && known.hash !== idempotency.requestHash) {
      throw new StintError("idempotency_key_reused", "the key belongs to another request");
    }
    if (known) return Promise.resolve({ session: this.#entry(known.id).session, isReplay: true });
    const session = toSnapshot(input);
    this.entries.set(session.id, { session, rows: [] });
    if (idempotency)
      this.keys.set(idempotency.key, { hash: idempotency.requestHash, id: input.id });
    this.append(session.id, "user_message", { text: input.prompt });
    return Promise.resolve({ session: this.#entry(session.id).session, isReplay: false });
  }

  findRepeated(_userId: string, { key, requestHash }: { key: string; requestHash: string }) {
    this.#check();
    const known = this.keys.get(key);
    if (known && known.hash !== requestHash) {
      throw new StintError("idempotency_key_reused", "the key belongs to another request");
    }
    return Promise.resolve(known ? this.#entry(known.id).session : null);
  }

  getSession(id: string, viewer?: Viewer): Promise<SessionSnapshot | null> {
    this.#check();
    const session = this.entries.get(id)?.session;
    return Promise.resolve(session && canSee(session, viewer) ? session : null);
  }

  listSessions(query: SessionQuery, viewer?: Viewer) {
    this.#check();
    const all = [...this.entries.values()].map(({ session }) => session).reverse();
    const found = all.filter(
      (session) =>
        canSee(session, viewer) &&
        (query.idPrefix === undefined || session.id.startsWith(query.idPrefix)) &&
        (query.status === undefined || query.status.includes(session.status)) &&
        (query.agent === undefined || session.agent === query.agent),
    );
    const start = query.cursor === undefined ? 0 : Number(query.cursor);
    const end = start + (query.limit ?? 50);
    const nextCursor = end < found.length ? String(end) : null;
    return Promise.resolve({ items: found.slice(start, end), nextCursor });
  }

  deleteSession(id: string): Promise<void> {
    const { session } = this.#entry(id);
    if (!isTerminal(session.status)) throw new StintError("session_not_terminal", "it lives");
    this.entries.delete(id);
    return Promise.resolve();
  }

  async readEventRows(
    id: string,
    query: EventQuery,
    viewer?: Viewer,
  ): Promise<readonly EventRow[]> {
    this.reads += 1;
    this.readsMax = Math.max(this.readsMax, this.reads);
    try {
      this.#check();
      const entry = this.entries.get(id);
      const rows = entry && canSee(entry.session, viewer) ? entry.rows : [];
      const found = rows
        .filter(
          ({ seq, type }) => seq > (query.after ?? 0) && (query.types?.includes(type) ?? true),
        )
        .slice(0, query.limit ?? 500);
      await this.beforeAnswer();
      return found;
    } finally {
      this.reads -= 1;
    }
  }

  readStats(): Promise<StoreStats> {
    this.#check();
    const states = [...this.entries.values()].map(({ session }) => session.status);
    const counts = SESSION_STATES.map((state) => [state, states.filter((s) => s === state).length]);
    return Promise.resolve({
      sessions: Object.fromEntries(counts) as Record<SessionState, number>,
      averageDurationMs: null,
      expirationRatePercent: 0,
      eventVolume: { user_message: states.length },
      workers: 1,
      slots: 2,
    });
  }

  listWorkers() {
    this.#check();
    const at = new Date(0);
    const times = { startedAt: at, heartbeatAt: at, leaseExpiresAt: at };
    const worker = { id: randomUUID(), name: "w", host: "h", pid: 1, version: "0", slots: 2 };
    return Promise.resolve([
      { ...worker, agents: ["builtin"], activeSessions: 0, isLive: true, ...times },
    ]);
  }

  pauseSession(id: string): Promise<SessionSnapshot> {
    const { session } = this.#entry(id);
    if (session.status === "active") return Promise.resolve(session);
    throw new StintError(
      "illegal_transition",
      `Invalid state transition: ${session.status} → paused`,
    );
  }

  listAskingSessions(sessionIds: readonly string[]): Promise<readonly string[]> {
    const pending = this.permissions.filter(({ status }) => status === "pending");
    return Promise.resolve(sessionIds.filter((id) => pending.some((one) => one.sessionId === id)));
  }

  listPermissions(sessionId: string): Promise<readonly StoredPermission[]> {
    this.#check();
    return Promise.resolve(this.permissions.filter((one) => one.sessionId === sessionId));
  }

  decidePermission({ sessionId, permissionId, decision, note }: PermissionAnswer) {
    const status = decision === "allow" ? ("allowed" as const) : ("denied" as const);
    const asked = this.permissions.find(({ id }) => id === permissionId);
    if (!asked) throw new StintError("permission_not_found", "no such permission");
    if (asked.status !== status && asked.status !== "pending") {
      throw new StintError("permission_decided", `it is ${asked.status} already`);
    }
    const decided = { ...asked, status, note, decidedBy: "user" as const, decidedAt: new Date(0) };
    this.permissions.splice(this.permissions.indexOf(asked), 1, decided);
    return Promise.resolve(this.#entry(sessionId).session);
  }

  resumeSession(id: string, limits: Partial<BudgetLimits> = {}): Promise<SessionSnapshot> {
    const entry = this.#entry(id);
    const { session } = entry;
    if (session.status === "paused") {
      entry.session = { ...session, limits: { ...session.limits, ...limits } };
      return Promise.resolve(entry.session);
    }
    throw new StintError(
      "illegal_transition",
      `Invalid state transition: ${session.status} → active`,
    );
  }

  cancelSession(id: string): Promise<SessionSnapshot> {
    const { session } = this.#entry(id);
    if (isTerminal(session.status)) throw new StintError("session_terminal", "it has ended");
    this.transition(id, session.status === "pending" ? "expired" : "failed", "cancelled");
    return Promise.resolve(this.#entry(id).session);
  }

  sendMessage(message: { sessionId: string; text: string; userId: string | null }) {
    const { session } = this.#entry(message.sessionId);
    if (isTerminal(session.status)) throw new StintError("session_terminal", "it has ended");
    this.messages.push(message);
    return Promise.resolve(session);
  }

  watchSession(id: string, listener: ChangeListener): () => void {
    const listeners = this.listeners.get(id) ?? new Set();
    this.listeners.set(id, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  ping(): Promise<void> {
    this.#check();
    return Promise.resolve();
  }

  // -- levers ------------------------------------------------------------------------------------

  /** Appends an event and hints at it. */
  append(id: string, type: SessionEventType, data: object): void {
    const entry = this.#entry(id);
    const seq = entry.session.lastSeq + 1;
    const dataJson = JSON.stringify(data);
    entry.rows.push({ id: randomUUID(), seq, type, dataJson, createdAt: new Date(seq) });
    entry.session = { ...entry.session, lastSeq: seq };
    this.hint(id);
  }

  hint(id: string): void {
    const lastSeq = this.entries.get(id)?.session.lastSeq ?? 0;
    for (const listener of this.listeners.get(id) ?? []) listener({ sessionId: id, lastSeq });
  }

  transition(id: string, to: SessionState, reason: Reason = "external"): void {
    const entry = this.#entry(id);
    const from = entry.session.status;
    const epoch = entry.session.epoch + 1;
    const completedAt = isTerminal(to) ? new Date(1_000) : null;
    entry.session = { ...entry.session, status: to, reason, epoch, completedAt };
    this.append(id, "state_changed", { from, to, reason, epoch });
  }

  /** Forgets the beginning of a log. */
  trim(id: string, earliestSeq: number): void {
    const entry = this.#entry(id);
    entry.rows = entry.rows.filter(({ seq }) => seq >= earliestSeq);
  }

  watchers(id: string): number {
    return this.listeners.get(id)?.size ?? 0;
  }

  #entry(id: string): Entry {
    this.#check();
    const entry = this.entries.get(id);
    if (entry === undefined) throw new StintError("session_not_found", "gone");
    return entry;
  }

  #check(): void {
    if (this.failure !== null) throw this.failure;
  }
}

function canSee(session: SessionSnapshot, viewer?: Viewer): boolean {
  return !viewer || viewer.role === "operator" || viewer.userId === session.userId;
}

function toSnapshot(input: NewSession): SessionSnapshot {
  const { script: _, inPlacePath: __, ...kept } = input;
  const now = new Date(0);
  return {
    permissions: [],
    sandbox: null,
    ...kept,
    status: "pending",
    reason: "created",
    waitingFor: null,
    resumeAt: null,
    frozenUntil: null,
    epoch: 0,
    workerId: null,
    workspace: { ...input.workspace, path: null },
    stats: EMPTY_STATS,
    error: null,
    lastSeq: 0,
    createdAt: now,
    startedAt: null,
    pausedAt: null,
    completedAt: null,
    lastActivityAt: now,
    activeMs: 0,
    attempts: 0,
  };
}
