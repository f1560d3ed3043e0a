/**
 * The port to the database: the vocabulary of everything that Stint keeps. One implementation
 * speaks to Postgres; the rules that must hold whoever asks live there, in statements and triggers.
 */
import type { CallId, CallIntent, CallOutcome, Checkpoint, Commit } from "./attempt.ts";
import type { NewEvent, SessionEvent, SessionEventType } from "./event.ts";
import type { Json } from "./json.ts";
import type { ModelCallIntent, ModelCallOutcome } from "./model-call.ts";
import type { PermissionRequest, StoredPermission } from "./permission.ts";
import type { SandboxReport } from "./sandbox.ts";
import type { Script } from "./script.ts";
import type { BudgetLimits, NewSession, SessionSnapshot } from "./session.ts";
import type { Reason, SessionState, WaitingFor } from "./state.ts";
import type { SnapshotId } from "./workspace.ts";

/**
 * Who reads. With a viewer, row-level security of the database decides what exists; without one
 * the caller is Stint itself.
 */
export interface Viewer {
  readonly userId: string;
  readonly role: "authenticated" | "operator";
}

/** The right of one attempt to write: a session at an epoch. */
export interface Ownership {
  readonly sessionId: string;
  readonly epoch: number;
}

/** A transition out of ACTIVE, made by the owner as part of a commit. */
export interface OwnerTransition {
  readonly to: Extract<SessionState, "paused" | "completed" | "failed" | "expired">;
  readonly reason: Reason;
  readonly waitingFor?: WaitingFor;
  /** When a worker may take it up again: 0 at once, null never by itself. @default null */
  readonly resumeInMs?: number | null;
  readonly error?: { readonly code: string; readonly message: string };
  /**
   * The worker keeps the processes of the session, frozen, for so long: meanwhile only it may claim
   * the session, while its lease lives. With `paused` alone. @default it keeps nothing
   */
  readonly freezeMs?: number;
  /** With the reason `backoff`, instead of `resumeInMs`: the database decides how long to wait. */
  readonly backoff?: BackoffPlan;
  /**
   * Refuses with `inbox_not_empty` while messages wait: a turn that ends must not lose them.
   * @default false
   */
  readonly unlessInbox?: boolean;
}

/** A durable state of the workspace, as the log reaches it. */
export interface CommittedSnapshot {
  readonly id: SnapshotId;
  /** The calls whose effects it holds, as far as no earlier one does. */
  readonly calls: readonly CallId[];
  /** The calls that ran while it was taken: as long as they are open it holds a part of what they do. */
  readonly underWay?: readonly CallId[];
  /** The place off the host that holds it whole; null pins the session to its host. @default null */
  readonly store?: string | null;
  /** Calls that had ended but whose effects it does not hold, with what the model is told now. */
  readonly undone?: readonly { readonly callId: CallId; readonly result: Json }[];
}

/**
 * How a session waits for what is overloaded or away: `baseMs`, twice as long after each wait in a
 * row that brought no progress, at most `maxMs`, half of it by chance; never shorter than
 * `retryAfterMs`. Once it has waited for `timeoutMs` in all, it is held for a person.
 */
export interface BackoffPlan {
  readonly baseMs: number;
  readonly maxMs: number;
  readonly timeoutMs: number;
  readonly retryAfterMs: number | null;
  /** A number in [0, 1). */
  readonly chance: number;
}

/** One atomic write of the owner of a session. */
export interface OwnerCommit extends Commit {
  readonly openCall?: CallIntent & { readonly callId: string };
  readonly closeCall?: Pick<CallOutcome, "status" | "result" | "isError" | "exitCode"> & {
    readonly callId: string;
  };
  /** Inbox items taken; refused as a whole when one was taken before. */
  readonly inboxConsumed?: readonly string[];
  /** Stores a question for leave. */
  readonly askPermission?: {
    readonly permissionId: string;
    readonly requestHash: string;
    readonly request: PermissionRequest;
    readonly timeoutMs: number;
    /** What is decided when nobody answers in time. */
    readonly atExpiry: "allowed" | "denied";
    /** The call that waits for it, where the ledger has it already. */
    readonly callId: string | null;
  };
  /** Another call waits for a question of before; nothing where its answer was used. */
  readonly bindPermission?: { readonly permissionId: string; readonly callId: string | null };
  /** A decision that an event of this commit tells. */
  readonly tellPermission?: string;
  /** A call of a model that is about to go out. */
  readonly openModelCall?: ModelCallIntent;
  /** What became of it; refused as a whole when it has its outcome already. */
  readonly closeModelCall?: Omit<ModelCallOutcome, "exchange">;
  readonly workspacePath?: string;
  readonly sandbox?: SandboxReport;
  readonly snapshot?: CommittedSnapshot;
  /** The attempt was frozen at this epoch: what it had begun then goes on under its present one. */
  readonly continuesEpoch?: number;
  readonly transition?: OwnerTransition;
}

/** What became of an owner's commit; only `fenced` and `gone` end the attempt. */
export type CommitResult =
  | { readonly status: "ok"; readonly lastSeq: number; readonly epoch: number }
  | { readonly status: "fenced"; readonly epoch: number }
  | { readonly status: "gone" }
  | { readonly status: "rejected"; readonly code: string; readonly message: string };

/** A worker as it registers. */
export interface WorkerRegistration {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly bootId: string;
  readonly pid: number;
  /** Start time of the process in kernel ticks; tells a reused pid apart. */
  readonly pidStartTime: string;
  readonly slots: number;
  readonly version: string;
  readonly agents: readonly string[];
  /**
   * Names the place where this worker keeps workspaces. A session that has begun goes on where its
   * files are, at a worker with the same value, or wherever its last state can be read.
   * @default null: takes only what has no files yet
   */
  readonly workspaceHost?: string | null;
  /** Places off the host whose states this worker reads: it goes on with their sessions too. */
  readonly snapshotStores?: readonly string[];
  readonly leaseDurationMs: number;
}

/** A worker as others see it. */
export interface WorkerSnapshot {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  readonly version: string;
  readonly slots: number;
  readonly agents: readonly string[];
  readonly activeSessions: number;
  readonly startedAt: Date;
  readonly heartbeatAt: Date;
  readonly leaseExpiresAt: Date;
  readonly isLive: boolean;
}

/** What tells whether a worker on this host still runs. */
export type WorkerPeer = Pick<WorkerRegistration, "id" | "pid" | "pidStartTime">;

/** A session that a worker has just claimed. */
export interface ClaimedSession {
  readonly session: SessionSnapshot;
  readonly script: Script | null;
  /** Waited in the queue since it became claimable. */
  readonly queuedMs: number;
}

/** A waiting item of the inbox. */
export interface InboxItem {
  readonly id: string;
  readonly sessionId: string;
  readonly kind: "message" | "pause" | "cancel";
  readonly text: string | null;
  readonly userId: string | null;
  readonly createdAt: Date;
}

/** What a person decides. */
export interface PermissionAnswer {
  readonly sessionId: string;
  readonly permissionId: string;
  readonly decision: "allow" | "deny";
  /** For the agent. */
  readonly note: string | null;
  readonly userId: string | null;
}

/** What a sweep did. */
export interface SweepCounts {
  readonly expired: number;
  readonly paused: number;
  readonly failed: number;
  readonly rearmed: number;
}

/** One transition that a sweep or a user's command made, for log lines and metrics. */
export interface TransitionNotice {
  readonly sessionId: string;
  readonly from: SessionState;
  readonly to: SessionState;
  readonly reason: Reason;
  readonly epoch: number;
}

/** Which sessions to list; newest first. */
export interface SessionQuery {
  readonly status?: readonly SessionState[];
  readonly agent?: string;
  readonly idPrefix?: string;
  readonly cursor?: string;
  /** @default 50, at most 500 */
  readonly limit?: number;
}

/** A page and the cursor of the next one. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

/** Which events to read, in order of seq. */
export interface EventQuery {
  /** Events with a larger seq. @default 0 */
  readonly after?: number;
  /** @default 500, at most 5_000 */
  readonly limit?: number;
  readonly types?: readonly SessionEventType[];
}

/** Figures over all sessions a viewer may see. */
export interface StoreStats {
  readonly sessions: Readonly<Record<SessionState, number>>;
  readonly averageDurationMs: number | null;
  readonly expirationRatePercent: number | null;
  /** Events of the last hour by type. */
  readonly eventVolume: Readonly<Record<string, number>>;
  readonly workers: number;
  readonly slots: number;
}

/** Told that a session has news up to a seq; only a hint: read the log for the facts. */
export type ChangeListener = (change: { sessionId: string; lastSeq: number }) => void;

/** Everything that Stint keeps. */
export interface Store {
  /**
   * Creates a pending session with its prompt as first event. With a key, a repeated call with the
   * same body answers the first session. @throws {idempotency_key_reused} {workspace_busy}
   */
  createSession(
    session: NewSession,
    idempotency?: { readonly key: string; readonly requestHash: string },
  ): Promise<{ readonly session: SessionSnapshot; readonly isReplay: boolean }>;
  /**
   * The session that a call with this key has created; null when there was none.
   * @throws {idempotency_key_reused} when that call had another body.
   */
  findRepeated(
    userId: string,
    idempotency: { readonly key: string; readonly requestHash: string },
  ): Promise<SessionSnapshot | null>;
  getSession(id: string, viewer?: Viewer): Promise<SessionSnapshot | null>;
  listSessions(query: SessionQuery, viewer?: Viewer): Promise<Page<SessionSnapshot>>;
  getScript(id: string): Promise<Script | null>;
  /** Deletes a terminal session and all that belongs to it. @throws {session_not_terminal} */
  deleteSession(id: string): Promise<void>;
  readEvents(id: string, query: EventQuery, viewer?: Viewer): Promise<readonly SessionEvent[]>;
  /** As `readEvents`, the payload left as JSON text, for passing through. */
  readEventRows(id: string, query: EventQuery, viewer?: Viewer): Promise<readonly EventRow[]>;
  readStateChanges(id: string): Promise<readonly SessionEvent[]>;
  readStats(viewer?: Viewer): Promise<StoreStats>;
  listWorkers(): Promise<readonly WorkerSnapshot[]>;

  /** Asks for a pause; a running agent gets it through the inbox. @throws {illegal_transition} */
  pauseSession(id: string): Promise<SessionSnapshot>;
  /** Makes a paused session claimable; limits given replace its own. @throws {illegal_transition} */
  resumeSession(id: string, limits?: Partial<BudgetLimits>): Promise<SessionSnapshot>;
  /** Ends a session; one that runs through the inbox. @throws {session_terminal} */
  cancelSession(id: string): Promise<SessionSnapshot>;
  /**
   * Puts a message into the inbox. One whose id is there already changes nothing, whatever became
   * of the session. @throws {session_terminal} {inbox_full}
   * @throws {idempotency_key_reused} when that id has another text.
   */
  sendMessage(message: {
    readonly id: string;
    readonly sessionId: string;
    readonly userId: string | null;
    readonly text: string;
  }): Promise<SessionSnapshot>;
  /**
   * Ends or pauses a session over its owner's head: epoch + 1, open calls closed.
   * @throws {illegal_transition}
   */
  forceTransition(
    id: string,
    transition: {
      readonly to: "paused" | "failed" | "expired";
      readonly reason: Reason;
      readonly message: string;
      readonly resumeInMs?: number | null;
    },
  ): Promise<SessionSnapshot>;
  /** Appends to a session that nobody runs, under its row lock. @throws {session_terminal} {stale_epoch} */
  appendUnowned(sessionId: string, events: readonly NewEvent[]): Promise<number>;

  registerWorker(worker: WorkerRegistration): Promise<void>;
  /** Renews the lease. `isLive` false: the lease was lost, nothing was renewed. */
  heartbeat(
    workerId: string,
    leaseDurationMs: number,
  ): Promise<{ readonly isLive: boolean; readonly held: readonly Ownership[] }>;
  /**
   * Workers that registered from this boot and are not known to be dead, the asker's own among
   * them; also those whose lease has run out, of which no lease is judged just after a start of the
   * database.
   */
  listPeers(bootId: string): Promise<readonly WorkerPeer[]>;
  /**
   * Declares a worker dead whose process is proved to be gone: its sessions are lost at once, its
   * lease counts no more. False when it was not there, or registered from another boot.
   */
  buryWorker(workerId: string, bootId: string): Promise<boolean>;
  /** Takes the worker from the list; its lease ends now. */
  removeWorker(workerId: string): Promise<void>;
  /**
   * Takes up to `limit` due sessions, oldest first, or the one named. Needs a live lease in the
   * same statement; otherwise takes none.
   */
  claimSessions(request: {
    readonly workerId: string;
    readonly limit: number;
    readonly sessionId?: string;
    readonly agents?: readonly string[];
  }): Promise<readonly ClaimedSession[]>;
  /**
   * Appends to the log of an owned session through the group commit. Calls for one session take
   * effect in call order; resolves when durable.
   */
  commit(owner: Ownership, lastSeq: number, commit: OwnerCommit): Promise<CommitResult>;
  /** Waiting items of these sessions, oldest first. */
  listInbox(sessionIds: readonly string[]): Promise<readonly InboxItem[]>;
  readCheckpoint(sessionId: string): Promise<Checkpoint>;
  /** Those of these sessions whose agents wait for leave. */
  listAskingSessions(sessionIds: readonly string[]): Promise<readonly string[]>;
  /** What an agent asked leave for, oldest first; with `isOpen` what it has not acted upon since. */
  listPermissions(
    sessionId: string,
    options?: { readonly isOpen?: boolean },
  ): Promise<readonly StoredPermission[]>;
  /**
   * Decides a request; the same decision again changes nothing. A session that waits for it goes on.
   * @throws {permission_not_found} {permission_decided}
   */
  decidePermission(answer: PermissionAnswer): Promise<SessionSnapshot>;
  /** Decides what nobody has answered in time; returns the sessions. */
  sweepPermissions(): Promise<readonly string[]>;
  /** Tells the database that these agents did something. */
  recordActivity(owners: readonly Ownership[]): Promise<void>;

  /** Pauses sessions whose worker's lease is lost (`worker_lost`, resumable at once). */
  sweepLostLeases(): Promise<readonly TransitionNotice[]>;
  /** Expires what is idle, overdue or queued too long. */
  sweepIdleSessions(): Promise<readonly TransitionNotice[]>;
  /** Carries out pauses and cancels that a silent owner left lying for too long: 10 s by default. */
  sweepControlRequests(): Promise<readonly TransitionNotice[]>;

  /** Calls back on news of one session, from any process; returns how to stop. */
  watchSession(sessionId: string, listener: ChangeListener): () => void;
  /** Calls back when something may be claimable or an inbox of `workerId`'s sessions has news. */
  watchWork(listener: () => void): () => void;
  /** Round trip to the database. @throws {database_unavailable} */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** An event with its payload as JSON text. */
export interface EventRow {
  readonly id: string;
  readonly seq: number;
  readonly type: SessionEventType;
  readonly dataJson: string;
  readonly createdAt: Date;
}
