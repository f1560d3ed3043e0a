import type { Checkpoint, LedgerCall } from "../../src/core/attempt.ts";
import { type Clock, delay } from "../../src/core/clock.ts";
import { StintError, toStintError } from "../../src/core/error.ts";
import {
  EMPTY_STATS,
  encodeEvent,
  type NewEvent,
  type SessionEvent,
} from "../../src/core/event.ts";
import { addStats } from "../../src/core/fold.ts";
import type { JsonObject } from "../../src/core/json.ts";
import type { StoredPermission } from "../../src/core/permission.ts";
import type { Script } from "../../src/core/script.ts";
import type { SessionSnapshot } from "../../src/core/session.ts";
import { SESSION_STATES, type SessionState } from "../../src/core/state.ts";
import type {
  ClaimedSession,
  CommitResult,
  EventQuery,
  EventRow,
  InboxItem,
  OwnerCommit,
  Ownership,
  Page,
  PermissionAnswer,
  SessionQuery,
  Store,
  StoreStats,
  TransitionNotice,
  WorkerPeer,
  WorkerSnapshot,
} from "../../src/core/store.ts";
import { isWaiting, type OracleDatabase } from "./oracle-database.ts";
import {
  type AppendSlot,
  type CallRow,
  type SlotAnswer,
  type StoredSession,
  toSnapshot,
} from "./oracle-rows.ts";

/** A statement on its way to the database. */
export interface WireCall {
  readonly command: keyof Store;
  /** Known where the statement is a slot of the group commit. */
  readonly slot?: AppendSlot;
  readonly workerId?: string;
  /** Known where a person commands a session. */
  readonly sessionId?: string;
}

/** Carries statements to the database and answers back; faults happen here. */
export type Wire = <T>(call: WireCall, work: () => T) => Promise<T>;

/** The wire of a database that is always there. */
export const directWire: Wire = (_call, work) => {
  try {
    return Promise.resolve(work());
  } catch (error) {
    return Promise.reject(error as Error);
  }
};

/** What one process's store works with. */
export interface OracleStoreOptions {
  readonly database: OracleDatabase;
  readonly clock: Clock;
  readonly wire?: Wire;
  /** Told which events were acknowledged to their writer. */
  readonly onAcknowledged?: (slot: AppendSlot) => void;
}

/** The commits of one owner in one process: written one after the other. */
interface Lane {
  base: number;
  tail: Promise<unknown>;
  waiting: number;
  end: CommitResult | null;
}

const RETRY_MS = 100;
const EVENTS_MAX = 5_000;

/** The port of one process to an oracle: the same promises as the store on Postgres. */
export class OracleStore implements Store {
  readonly #database: OracleDatabase;
  readonly #clock: Clock;
  readonly #wire: Wire;
  readonly #onAcknowledged: (slot: AppendSlot) => void;
  readonly #lanes = new Map<string, Lane>();
  readonly #workListeners = new Set<() => void>();

  constructor({ database, clock, wire = directWire, onAcknowledged }: OracleStoreOptions) {
    this.#database = database;
    this.#clock = clock;
    this.#wire = wire;
    this.#onAcknowledged = onAcknowledged ?? (() => undefined);
  }

  // -- sessions ----------------------------------------------------------------------------------

  createSession(...[session, key]: Parameters<Store["createSession"]>) {
    return this.#wire({ command: "createSession" }, () => {
      const { row, isReplay } = this.#database.createSession(session, key);
      return { session: toSnapshot(row), isReplay };
    });
  }

  findRepeated(...[userId, key]: Parameters<Store["findRepeated"]>) {
    return this.#wire({ command: "findRepeated" }, () => {
      const row = this.#database.findRepeated(userId, key);
      return row && toSnapshot(row);
    });
  }

  getSession(id: string): Promise<SessionSnapshot | null> {
    return this.#wire({ command: "getSession" }, () => {
      const row = this.#database.find(id);
      return row && toSnapshot(row);
    });
  }

  listSessions(query: SessionQuery): Promise<Page<SessionSnapshot>> {
    return this.#wire({ command: "listSessions" }, () => {
      const rows = [...this.#database.sessions.values()].map(({ row }) => row);
      const shown = rows.filter(({ status }) => query.status?.includes(status) ?? true);
      shown.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));
      return { items: shown.slice(0, query.limit ?? 50).map(toSnapshot), nextCursor: null };
    });
  }

  getScript(id: string): Promise<Script | null> {
    return this.#wire({ command: "getScript" }, () => this.#database.find(id)?.script ?? null);
  }

  deleteSession(id: string): Promise<void> {
    return this.#wire({ command: "deleteSession" }, () => {
      const isFound = this.#database.deleteSession(id);
      if (!isFound) throw new StintError("session_not_found", `no session ${id}`);
    });
  }

  readEvents(id: string, query: EventQuery): Promise<readonly SessionEvent[]> {
    return this.#wire({ command: "readEvents" }, () => this.#selectEvents(id, query));
  }

  readEventRows(id: string, query: EventQuery): Promise<readonly EventRow[]> {
    return this.#wire({ command: "readEventRows" }, () =>
      this.#selectEvents(id, query).map(({ data, ...event }) => ({
        ...event,
        dataJson: JSON.stringify(data),
      })),
    );
  }

  readStateChanges(id: string): Promise<readonly SessionEvent[]> {
    const query = { types: ["state_changed"], limit: EVENTS_MAX } as const;
    return this.#wire({ command: "readStateChanges" }, () => this.#selectEvents(id, query));
  }

  readStats(): Promise<StoreStats> {
    return this.#wire({ command: "readStats" }, () => {
      const rows = [...this.#database.sessions.values()].map(({ row }) => row);
      const count = (state: SessionState): number =>
        rows.filter(({ status }) => status === state).length;
      const sessions = Object.fromEntries(SESSION_STATES.map((state) => [state, count(state)]));
      const workers = this.#listLive();
      return {
        sessions: sessions as StoreStats["sessions"],
        ...{ averageDurationMs: null, expirationRatePercent: null, eventVolume: {} },
        workers: workers.length,
        slots: workers.reduce((sum, { slots }) => sum + slots, 0),
      };
    });
  }

  listWorkers(): Promise<readonly WorkerSnapshot[]> {
    return this.#wire({ command: "listWorkers" }, () => {
      const live = new Set(this.#listLive());
      const rows = [...this.#database.sessions.values()].map(({ row }) => row);
      return [...this.#database.workers.values()].map((worker) => ({
        ...worker,
        activeSessions: rows.filter(({ workerId }) => workerId === worker.id).length,
        startedAt: new Date(worker.startedAt),
        heartbeatAt: new Date(worker.heartbeatAt),
        leaseExpiresAt: new Date(worker.leaseExpiresAt),
        isLive: live.has(worker),
      }));
    });
  }

  // -- commands ----------------------------------------------------------------------------------

  pauseSession(id: string): Promise<SessionSnapshot> {
    return this.#wire({ command: "pauseSession", sessionId: id }, () =>
      toSnapshot(this.#database.pauseSession(id)),
    );
  }

  resumeSession(id: string): Promise<SessionSnapshot> {
    return this.#wire({ command: "resumeSession", sessionId: id }, () =>
      toSnapshot(this.#database.resumeSession(id)),
    );
  }

  cancelSession(id: string): Promise<SessionSnapshot> {
    return this.#wire({ command: "cancelSession" }, () =>
      toSnapshot(this.#database.cancelSession(id)),
    );
  }

  sendMessage(message: Parameters<Store["sendMessage"]>[0]): Promise<SessionSnapshot> {
    return this.#wire({ command: "sendMessage", sessionId: message.sessionId }, () =>
      toSnapshot(this.#database.sendMessage(message)),
    );
  }

  forceTransition(
    id: string,
    { to, reason, message, resumeInMs }: Parameters<Store["forceTransition"]>[1],
  ): Promise<SessionSnapshot> {
    return this.#wire({ command: "forceTransition" }, () =>
      toSnapshot(this.#database.forceTransition(id, to, reason, message, resumeInMs)),
    );
  }

  async appendUnowned(sessionId: string, events: readonly NewEvent[]): Promise<number> {
    const encoded = events.map((event) => readBack(event));
    return this.#wire({ command: "appendUnowned" }, () =>
      this.#database.appendUnowned(sessionId, encoded),
    );
  }

  // -- workers -----------------------------------------------------------------------------------

  registerWorker(worker: Parameters<Store["registerWorker"]>[0]): Promise<void> {
    return this.#wire({ command: "registerWorker" }, () => this.#database.registerWorker(worker));
  }

  heartbeat(workerId: string, leaseDurationMs: number) {
    return this.#wire({ command: "heartbeat", workerId }, () =>
      this.#database.heartbeat(workerId, leaseDurationMs),
    );
  }

  listPeers(bootId: string): Promise<readonly WorkerPeer[]> {
    return this.#wire({ command: "listPeers" }, () =>
      [...this.#database.workers.values()]
        .filter((worker) => worker.bootId === bootId && worker.deadAt === null)
        .map(({ id, pid, pidStartTime }) => ({ id, pid, pidStartTime })),
    );
  }

  buryWorker(workerId: string, bootId: string): Promise<boolean> {
    return this.#wire({ command: "buryWorker" }, () => this.#database.buryWorker(workerId, bootId));
  }

  removeWorker(workerId: string): Promise<void> {
    return this.#wire({ command: "removeWorker" }, () => this.#database.removeWorker(workerId));
  }

  claimSessions(
    request: Parameters<Store["claimSessions"]>[0],
  ): Promise<readonly ClaimedSession[]> {
    const { workerId } = request;
    return this.#wire({ command: "claimSessions", workerId }, () =>
      this.#database.claimSessions(request).map(({ row, queuedMs }) => ({
        session: toSnapshot(row),
        script: row.script,
        queuedMs,
      })),
    );
  }

  commit(owner: Ownership, lastSeq: number, commit: OwnerCommit): Promise<CommitResult> {
    const events = (commit.events ?? []).map(readBack);
    const fields = pickFields(commit);
    if (events.length === 0 && fields === null) {
      return Promise.resolve({ status: "ok", lastSeq, epoch: owner.epoch });
    }
    const prepared = events.map((event) => ({ ...event, id: this.#clock.newId() }));
    const hasStats = prepared.some(
      ({ type, data }) => addStats(EMPTY_STATS, type, data as JsonObject) !== EMPTY_STATS,
    );
    const slot = {
      ...owner,
      events: prepared as AppendSlot["events"],
      part: fields ?? (hasStats ? {} : null),
      lastId: prepared.at(-1)?.id ?? this.#clock.newId(),
    };
    return this.#enqueue(slot, lastSeq);
  }

  listInbox(sessionIds: readonly string[]): Promise<readonly InboxItem[]> {
    return this.#wire({ command: "listInbox" }, () =>
      sessionIds
        .flatMap((sessionId) =>
          (this.#database.sessions.get(sessionId)?.inbox ?? [])
            .filter(isWaiting)
            .map((item) => ({ ...item, sessionId, createdAt: new Date(item.createdAt) })),
        )
        .sort((a, b) => a.position - b.position)
        .map(({ id, sessionId, kind, text, userId, createdAt }) => ({
          ...{ id, sessionId, kind, text, userId, createdAt },
        })),
    );
  }

  readCheckpoint(sessionId: string): Promise<Checkpoint> {
    return this.#wire({ command: "readCheckpoint" }, () => {
      const stored = this.#database.sessions.get(sessionId);
      return stored ? toCheckpoint(stored) : EMPTY_CHECKPOINT;
    });
  }

  recordActivity(owners: readonly Ownership[]): Promise<void> {
    return this.#wire({ command: "recordActivity" }, () => this.#database.recordActivity(owners));
  }

  listAskingSessions(sessionIds: readonly string[]): Promise<readonly string[]> {
    return this.#wire({ command: "listAskingSessions" }, () =>
      sessionIds.filter((id) =>
        this.#database.sessions.get(id)?.permissions.some(({ status }) => status === "pending"),
      ),
    );
  }

  listPermissions(
    sessionId: string,
    options: { readonly isOpen?: boolean } = {},
  ): Promise<readonly StoredPermission[]> {
    return this.#wire({ command: "listPermissions" }, () => {
      const stored = this.#database.sessions.get(sessionId);
      return stored ? toPermissions(stored, options.isOpen ?? false) : [];
    });
  }

  decidePermission(answer: PermissionAnswer): Promise<SessionSnapshot> {
    return this.#wire({ command: "decidePermission", sessionId: answer.sessionId }, () =>
      toSnapshot(this.#database.decidePermission(answer)),
    );
  }

  sweepPermissions(): Promise<readonly string[]> {
    return this.#wire({ command: "sweepPermissions" }, () => this.#database.sweepPermissions());
  }

  // -- sweeps ------------------------------------------------------------------------------------

  sweepLostLeases(): Promise<readonly TransitionNotice[]> {
    return this.#wire({ command: "sweepLostLeases" }, () => this.#database.sweepLostLeases());
  }

  sweepIdleSessions(): Promise<readonly TransitionNotice[]> {
    return this.#wire({ command: "sweepIdleSessions" }, () => this.#database.sweepIdleSessions());
  }

  sweepControlRequests(): Promise<readonly TransitionNotice[]> {
    return this.#wire({ command: "sweepControlRequests" }, () =>
      this.#database.sweepControlRequests(),
    );
  }

  // -- changes and life --------------------------------------------------------------------------

  watchSession(): () => void {
    return () => undefined;
  }

  watchWork(listener: () => void): () => void {
    this.#workListeners.add(listener);
    return () => void this.#workListeners.delete(listener);
  }

  /** Tells those who watch; hints get lost, so nobody may depend on it. */
  announceWork(): void {
    for (const listener of this.#workListeners) listener();
  }

  ping(): Promise<void> {
    return this.#wire({ command: "ping" }, () => undefined);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  // -- group commit ------------------------------------------------------------------------------

  async #enqueue(slot: Omit<AppendSlot, "base">, lastSeq: number): Promise<CommitResult> {
    const key = `${slot.sessionId}:${slot.epoch}`;
    const lane = this.#lanes.get(key) ?? {
      ...{ base: lastSeq, tail: Promise.resolve(), waiting: 0, end: null },
    };
    this.#lanes.set(key, lane);
    lane.waiting++;
    const work = lane.tail.then(() => lane.end ?? this.#append(lane, slot));
    lane.tail = work.catch(() => undefined);
    try {
      return await work;
    } finally {
      if (--lane.waiting === 0 && lane.end !== null) this.#lanes.delete(key);
    }
  }

  async #append(lane: Lane, content: Omit<AppendSlot, "base">): Promise<CommitResult> {
    const slot = { ...content, base: lane.base };
    const { status, code, epoch } = await this.#callUntilAnswered(slot);
    const hasTransition = slot.part?.transition !== undefined;
    if (status === "rejected") return { status, code, message: code };
    if (status === "gone") return (lane.end = { status });
    if (status !== "ok") return (lane.end = { status: "fenced", epoch });
    lane.base += slot.events.length + (hasTransition ? 1 : 0);
    if (hasTransition) lane.end = { status: "fenced", epoch: slot.epoch + 1 };
    this.#onAcknowledged(slot);
    return { status, lastSeq: lane.base, epoch: slot.epoch + (hasTransition ? 1 : 0) };
  }

  /** Sends the same slot until the database says what became of it. */
  async #callUntilAnswered(slot: AppendSlot): Promise<SlotAnswer> {
    for (;;) {
      try {
        return await this.#wire({ command: "commit", slot }, () => this.#database.append(slot));
      } catch (error) {
        if (toStintError(error).code !== "database_unavailable") throw error;
      }
      await delay(this.#clock, RETRY_MS);
    }
  }

  #listLive() {
    const { workers, now } = this.#database;
    return [...workers.values()].filter(
      ({ deadAt, leaseExpiresAt }) => deadAt === null && leaseExpiresAt > now,
    );
  }

  #selectEvents(id: string, { after = 0, limit = 500, types }: EventQuery): SessionEvent[] {
    const events = this.#database.sessions.get(id)?.events ?? [];
    return events
      .filter(({ seq, type }) => seq > after && (types?.includes(type) ?? true))
      .slice(0, limit)
      .map((event) => ({ ...event, sessionId: id, createdAt: new Date(event.createdAt) }));
  }
}

const EMPTY_CHECKPOINT: Checkpoint = {
  ...{
    steps: [],
    calls: [],
    agentSessionId: null,
    snapshotId: null,
    undelivered: [],
    permissions: [],
  },
};

/** All that a resumed attempt starts from. */
export function toCheckpoint(stored: StoredSession): Checkpoint {
  const { row, steps, calls, inbox } = stored;
  const undelivered = inbox.filter(
    (item) => item.kind === "message" && !isWaiting(item) && item.deliveredIteration === null,
  );
  const openModelCalls = stored.modelCalls
    .filter(({ status }) => status === "open")
    .map(({ callId, provider, wire, model, inputTokensEstimate, epoch }) => ({
      ...{ callId, provider, wire, model, inputTokensEstimate, epoch },
    }));
  return {
    ...(openModelCalls.length > 0 && { openModelCalls }),
    agentSessionId: row.agentSessionId,
    snapshotId: row.snapshotId,
    steps: [...steps]
      .sort((a, b) => a.iteration - b.iteration)
      .map(({ iteration, inputs, response, usage }) => ({ iteration, inputs, response, usage })),
    calls: [...calls]
      .sort((a, b) => a.iteration - b.iteration || a.ordinal - b.ordinal)
      .map(toLedgerCall),
    undelivered: undelivered.map(({ id, text }) => ({
      ...{ id, text: text ?? "", possibleDuplicate: true },
    })),
    permissions: toPermissions(stored, true).map(({ id, tool, title, status, note, callId }) => ({
      ...{ permissionId: id, tool, title, status, note, callId },
    })),
  };
}

function toPermissions({ row, permissions }: StoredSession, isOpen: boolean): StoredPermission[] {
  return permissions
    .filter(({ isUsed, status }) => !isOpen || (!isUsed && status !== "lapsed"))
    .map(({ request, askedAt, expiresAt, decidedAt, ...rest }) => ({
      ...request,
      ...{ id: rest.id, sessionId: row.id, requestHash: rest.requestHash, status: rest.status },
      ...{ decidedBy: rest.decidedBy, note: rest.note, callId: rest.callId, isTold: rest.isTold },
      ...{ askedAt: new Date(askedAt), expiresAt: new Date(expiresAt) },
      decidedAt: decidedAt === null ? null : new Date(decidedAt),
    }));
}

function toLedgerCall(row: CallRow): LedgerCall {
  const { deadlineAt: _deadlineAt, ...call } = row;
  return call;
}

function readBack(event: NewEvent): NewEvent {
  const { type, json } = encodeEvent(event);
  return { type, data: JSON.parse(json) as object } as NewEvent;
}

function pickFields(commit: OwnerCommit): OwnerCommit | null {
  const { events: _events, ...fields } = commit;
  const { inboxConsumed, rawMessages, ...others } = fields;
  const isEmpty =
    !inboxConsumed?.length &&
    !rawMessages?.length &&
    Object.values(others).every((field) => field === undefined);
  return isEmpty ? null : fields;
}
