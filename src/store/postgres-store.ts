import type { Clock } from "../core/clock.ts";
import { encodeEvent, type NewEvent, type SessionEvent } from "../core/event.ts";
import type { Checkpoint } from "../core/attempt.ts";
import { StintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import { type Metrics, silentMetrics } from "../core/metrics.ts";
import type { StoredPermission } from "../core/permission.ts";
import type { Script } from "../core/script.ts";
import type { BudgetLimits, NewSession, SessionSnapshot } from "../core/session.ts";
import type {
  ChangeListener,
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
  Viewer,
  WorkerPeer,
  WorkerRegistration,
  WorkerSnapshot,
} from "../core/store.ts";
import { ChangeFeed } from "./change-feed.ts";
import { selectCheckpoint } from "./checkpoints.ts";
import { toPartFields } from "./commit-part.ts";
import { type ConnectionSource, describeHost } from "./connect.ts";
import { ConnectionPool, type Queryable } from "./connection-pool.ts";
import * as events from "./events.ts";
import { GroupCommit, type GroupCommitLimits } from "./group-commit.ts";
import { insertMessage, selectInbox } from "./inbox.ts";
import { assertSchemaVersion } from "./migrate.ts";
import { Notifier } from "./notifier.ts";
import * as permissions from "./permissions.ts";
import * as sessions from "./sessions.ts";
import { prepareEvent } from "./slot.ts";
import { selectSessionFigures, selectWorkerFigures } from "./stats.ts";
import * as sweeps from "./sweeps.ts";
import { readAs } from "./viewer.ts";
import * as workers from "./workers.ts";

const CONNECTIONS_MAX = 8;
const WAITERS_MAX = 2_000;
const IDLE_TIMEOUT_MS = 30_000;
const STATEMENT_TIMEOUT_MS = 30_000;
const HEARTBEAT_TIMEOUT_MS = 3_000;
const CLOSE_TIMEOUT_MS = 3_000;
const SWEEP_PASSES_MAX = 200;

/** What a store on Postgres needs; what is left out has a default. */
export interface StoreOptions {
  /** A fixed database. Either this or `resolveUrl`. */
  readonly url?: string;
  /** Asked for each new connection: an embedded Postgres may have moved to another port. */
  readonly resolveUrl?: () => Promise<string>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Gets the latency of appends and claims, and counts durable events. @default none */
  readonly metrics?: Metrics;
  /** Messages that may wait for one session. @default 1_000 */
  readonly inboxItemsMax?: number;
  /** How long an owner may leave a pause or cancel lying. @default 10_000 */
  readonly ownerSilenceMs?: number;
  readonly limits?: GroupCommitLimits;
  /** Makes the sockets of all connections: for tests that put faults into them. */
  readonly createSocket?: ConnectionSource["createSocket"];
}

/** The connections of a store are described to the functions that open them. */
export function toSource(options: StoreOptions): ConnectionSource {
  const { url, clock, logger, createSocket } = options;
  const resolveUrl = options.resolveUrl ?? (url === undefined ? null : () => Promise.resolve(url));
  if (resolveUrl === null) throw new StintError("config_invalid", "the store has no database URL");
  return { resolveUrl, clock, logger, ...(createSocket && { createSocket }) };
}

/**
 * Connects to a migrated database. The store works as `service_role`; it reconnects by itself and
 * is closed by its caller.
 * @throws {database_unavailable} {database_auth_failed} {database_outdated} {database_newer}
 */
export async function connectStore(options: StoreOptions): Promise<Store> {
  const source = toSource(options);
  const store = new PostgresStore(source, options);
  try {
    await store.assertVersion(describeHost(await source.resolveUrl()));
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

class PostgresStore implements Store {
  readonly #options: StoreOptions;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #pool: ConnectionPool;
  /** A queue of slow queries must never keep a lease from being renewed. */
  readonly #leasePool: ConnectionPool;
  readonly #groupCommit: GroupCommit;
  readonly #notifier: Notifier;
  readonly #feed: ChangeFeed;

  constructor(source: ConnectionSource, options: StoreOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#metrics = options.metrics ?? silentMetrics;
    const bounds = { waitersMax: WAITERS_MAX, idleTimeoutMs: IDLE_TIMEOUT_MS, pipeline: true };
    this.#pool = new ConnectionPool(source, {
      ...bounds,
      connectionsMax: CONNECTIONS_MAX,
      statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    });
    this.#leasePool = new ConnectionPool(source, {
      ...bounds,
      connectionsMax: 1,
      statementTimeoutMs: HEARTBEAT_TIMEOUT_MS,
    });
    this.#notifier = new Notifier(source);
    this.#feed = new ChangeFeed({
      source,
      notifier: this.#notifier,
      run: (work) => this.#pool.read(work),
    });
    this.#groupCommit = new GroupCommit({
      source,
      metrics: this.#metrics,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      onAppended: ({ sessionId, lastSeq, hasTransition }) => {
        this.#feed.announceEvents(sessionId, lastSeq);
        if (hasTransition) this.#feed.announceWork();
      },
    });
  }

  assertVersion(where: string): Promise<void> {
    return this.#pool.read((client) => assertSchemaVersion(client, where));
  }

  // -- sessions ----------------------------------------------------------------------------------

  async createSession(
    session: NewSession,
    idempotency?: { readonly key: string; readonly requestHash: string },
  ): Promise<{ session: SessionSnapshot; isReplay: boolean }> {
    const created = await this.#pool.run((client) =>
      sessions.insertSession(client, session, idempotency),
    );
    if (!created.isReplay) this.#announce(created.session);
    return created;
  }

  findRepeated(
    userId: string,
    idempotency: { readonly key: string; readonly requestHash: string },
  ): Promise<SessionSnapshot | null> {
    return this.#pool.read((client) => sessions.selectRepeated(client, userId, idempotency));
  }

  getSession(id: string, viewer?: Viewer): Promise<SessionSnapshot | null> {
    return this.#read(viewer, (client) => sessions.selectSession(client, id));
  }

  listSessions(query: SessionQuery, viewer?: Viewer): Promise<Page<SessionSnapshot>> {
    return this.#read(viewer, (client) => sessions.selectSessions(client, query));
  }

  getScript(id: string): Promise<Script | null> {
    return this.#pool.read((client) => sessions.selectScript(client, id));
  }

  async deleteSession(id: string): Promise<void> {
    const isFound = await this.#pool.run((client) => sessions.removeSession(client, id));
    if (!isFound) throw new StintError("session_not_found", `no session ${id}`);
  }

  readEvents(id: string, query: EventQuery, viewer?: Viewer): Promise<readonly SessionEvent[]> {
    return this.#read(viewer, (client) => events.selectEvents(client, id, query));
  }

  readEventRows(id: string, query: EventQuery, viewer?: Viewer): Promise<readonly EventRow[]> {
    return this.#read(viewer, (client) => events.selectEventRows(client, id, query));
  }

  readStateChanges(id: string): Promise<readonly SessionEvent[]> {
    return this.#pool.read((client) => events.selectStateChanges(client, id));
  }

  async readStats(viewer?: Viewer): Promise<StoreStats> {
    const figures = await this.#read(viewer, selectSessionFigures);
    return { ...figures, ...(await this.#pool.read(selectWorkerFigures)) };
  }

  // -- commands ----------------------------------------------------------------------------------

  pauseSession(id: string): Promise<SessionSnapshot> {
    return this.#command((client) => sessions.callCommand(client, "pause_session", id));
  }

  resumeSession(id: string, limits?: Partial<BudgetLimits>): Promise<SessionSnapshot> {
    return this.#command((client) => sessions.resumeSession(client, id, limits));
  }

  cancelSession(id: string): Promise<SessionSnapshot> {
    return this.#command((client) => sessions.callCommand(client, "cancel_session", id));
  }

  sendMessage(message: {
    readonly id: string;
    readonly sessionId: string;
    readonly userId: string | null;
    readonly text: string;
  }): Promise<SessionSnapshot> {
    const itemsMax = this.#options.inboxItemsMax ?? 1_000;
    return this.#command((client) => insertMessage(client, message, itemsMax));
  }

  forceTransition(
    id: string,
    transition: Parameters<Store["forceTransition"]>[1],
  ): Promise<SessionSnapshot> {
    return this.#command((client) => sessions.forceTransition(client, id, transition));
  }

  decidePermission(answer: PermissionAnswer): Promise<SessionSnapshot> {
    return this.#command((client) => permissions.decidePermission(client, answer));
  }

  async appendUnowned(sessionId: string, newEvents: readonly NewEvent[]): Promise<number> {
    const encoded = newEvents.map(encodeEvent);
    const lastSeq = await this.#pool.run((client) =>
      events.appendUnowned(client, sessionId, encoded),
    );
    this.#feed.announceEvents(sessionId, lastSeq);
    return lastSeq;
  }

  // -- workers -----------------------------------------------------------------------------------

  registerWorker(worker: WorkerRegistration): Promise<void> {
    return this.#leasePool.run((client) => workers.insertWorker(client, worker));
  }

  heartbeat(
    workerId: string,
    leaseDurationMs: number,
  ): Promise<{ isLive: boolean; held: readonly Ownership[] }> {
    return this.#leasePool.run((client) => workers.renewLease(client, workerId, leaseDurationMs));
  }

  listPeers(bootId: string): Promise<readonly WorkerPeer[]> {
    return this.#pool.read((client) => workers.selectPeers(client, bootId));
  }

  async buryWorker(workerId: string, bootId: string): Promise<boolean> {
    return this.#leasePool.run((client) => workers.buryWorker(client, workerId, bootId));
  }

  async removeWorker(workerId: string): Promise<void> {
    await this.#leasePool.run((client) => workers.deleteWorker(client, workerId));
  }

  listWorkers(): Promise<readonly WorkerSnapshot[]> {
    return this.#pool.read(workers.selectWorkers);
  }

  async claimSessions(
    request: Parameters<Store["claimSessions"]>[0],
  ): Promise<readonly ClaimedSession[]> {
    const claimed = await this.#pool.run((client) => workers.claimSessions(client, request));
    for (const { session, queuedMs } of claimed) {
      this.#metrics.observe("claimLatency", {}, queuedMs / 1000);
      this.#feed.announceEvents(session.id, session.lastSeq);
    }
    return claimed;
  }

  async commit(owner: Ownership, lastSeq: number, commit: OwnerCommit): Promise<CommitResult> {
    const prepared = (commit.events ?? []).map((event) => prepareEvent(this.#clock.newId(), event));
    const fields = toPartFields(commit);
    if (prepared.length === 0 && fields === null) {
      return { status: "ok", lastSeq, epoch: owner.epoch };
    }
    return this.#groupCommit.append(owner, lastSeq, {
      events: prepared,
      fields,
      hasTransition: commit.transition !== undefined,
    });
  }

  async listInbox(sessionIds: readonly string[]): Promise<readonly InboxItem[]> {
    if (sessionIds.length === 0) return [];
    return this.#pool.read((client) => selectInbox(client, sessionIds));
  }

  readCheckpoint(sessionId: string): Promise<Checkpoint> {
    return this.#pool.read((client) => selectCheckpoint(client, sessionId));
  }

  listAskingSessions(sessionIds: readonly string[]): Promise<readonly string[]> {
    return this.#pool.read((client) => permissions.selectAskingSessions(client, sessionIds));
  }

  listPermissions(
    sessionId: string,
    options?: { readonly isOpen?: boolean },
  ): Promise<readonly StoredPermission[]> {
    return this.#pool.read((client) => permissions.selectPermissions(client, sessionId, options));
  }

  async recordActivity(owners: readonly Ownership[]): Promise<void> {
    if (owners.length > 0) await this.#pool.run((client) => workers.touchSessions(client, owners));
  }

  // -- sweeps ------------------------------------------------------------------------------------

  async sweepLostLeases(): Promise<readonly TransitionNotice[]> {
    return this.#announceSweep(await this.#pool.run(sweeps.sweepLostLeases));
  }

  async sweepIdleSessions(): Promise<readonly TransitionNotice[]> {
    const notices: TransitionNotice[] = [];
    for (let pass = 0; pass < SWEEP_PASSES_MAX; pass++) {
      const swept = await this.#pool.run(sweeps.sweepIdleSessions);
      notices.push(...this.#announceSweep(swept.notices));
      if (swept.due < sweeps.SWEEP_LIMIT) break;
    }
    return notices;
  }

  async sweepControlRequests(): Promise<readonly TransitionNotice[]> {
    const silenceMs = this.#options.ownerSilenceMs ?? 10_000;
    return this.#announceSweep(
      await this.#pool.run((client) => sweeps.sweepControlRequests(client, silenceMs)),
    );
  }

  async sweepPermissions(): Promise<readonly string[]> {
    const sessionIds = await this.#pool.run(permissions.expirePermissions);
    if (sessionIds.length > 0) this.#feed.announceWork();
    return sessionIds;
  }

  // -- changes and life --------------------------------------------------------------------------

  watchSession(sessionId: string, listener: ChangeListener): () => void {
    return this.#feed.watchSession(sessionId, listener);
  }

  watchWork(listener: () => void): () => void {
    return this.#feed.watchWork(listener);
  }

  async ping(): Promise<void> {
    await this.#pool.read((client) => client.query("select 1"));
  }

  /** Writes what is queued, at most for some seconds, and ends all connections. Idempotent. */
  async close(): Promise<void> {
    await this.#groupCommit.close(CLOSE_TIMEOUT_MS);
    await this.#feed.close();
    await this.#notifier.close();
    await Promise.all([this.#pool.close(), this.#leasePool.close()]);
  }

  #read<T>(viewer: Viewer | undefined, work: (client: Queryable) => Promise<T>): Promise<T> {
    return this.#pool.read((client) => readAs(client, viewer, work));
  }

  async #command(work: (client: Queryable) => Promise<SessionSnapshot>): Promise<SessionSnapshot> {
    const session = await this.#pool.run(work);
    this.#announce(session);
    return session;
  }

  #announce(session: SessionSnapshot): void {
    this.#feed.announceEvents(session.id, session.lastSeq);
    this.#feed.announceWork();
  }

  #announceSweep(notices: readonly sweeps.SweepNotice[]): readonly TransitionNotice[] {
    for (const { sessionId, lastSeq } of notices) this.#feed.announceEvents(sessionId, lastSeq);
    if (notices.length > 0) this.#feed.announceWork();
    return notices;
  }
}
