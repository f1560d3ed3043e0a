import type { SessionStats } from "./event.ts";
import type { JsonObject } from "./json.ts";
import type { SandboxReport } from "./sandbox.ts";
import type { Script } from "./script.ts";
import type { Reason, SessionState, WaitingFor } from "./state.ts";
import type { SnapshotId, WorkspaceRequest } from "./workspace.ts";

/** Longest prompt or message, in bytes of UTF-8. */
export const PROMPT_BYTES_MAX = 262_144;

/** The user that the local token stands for. */
export const LOCAL_USER_ID = "00000000-0000-4000-8000-000000000001";

/** What a session may spend on models; null means as much as it takes. Reached, it pauses. */
export interface BudgetLimits {
  /** Tokens in and out, cached ones among them. */
  readonly tokensMax: number | null;
  /** US dollars; a model without a known price is not called then. */
  readonly costUsdMax: number | null;
  /** Calls, those of the agent's own making (titles and the like) among them. */
  readonly modelCallsMax: number | null;
}

/** All times and bounds that a session may set for itself; null means none. */
export interface SessionLimits extends BudgetLimits {
  /** Idle time while ACTIVE, no tool, model or person being waited for. */
  readonly idleTimeoutMs: number;
  readonly pausedTimeoutMs: number;
  readonly queueTimeoutMs: number;
  /** Wall clock from creation to the end. */
  readonly deadlineMs: number | null;
  readonly commandTimeoutMs: number;
  readonly modelCallTimeoutMs: number;
  readonly outputBytesMax: number;
  readonly maxIterations: number;
}

/** What a resumed attempt does with a workspace that differs from the log. */
export type RecoveryMode = "restore" | "adopt";

/** A session as it is stored: what every read returns. */
export interface SessionSnapshot {
  readonly id: string;
  readonly userId: string;
  readonly status: SessionState;
  readonly reason: Reason;
  readonly waitingFor: WaitingFor;
  /** When a paused session may be taken up by a worker; null: held by a person. */
  readonly resumeAt: Date | null;
  /** Until when its worker keeps its processes frozen, at most; null when it does not. */
  readonly frozenUntil: Date | null;
  readonly epoch: number;
  readonly workerId: string | null;
  readonly agent: string;
  readonly model: string | null;
  readonly prompt: string;
  readonly workspace: WorkspaceRequest & { readonly path: string | null } & Partial<FilePlaces>;
  /** How its commands were bounded last; null before the first attempt. */
  readonly sandbox: SandboxReport | null;
  readonly recovery: RecoveryMode;
  readonly limits: SessionLimits;
  readonly keepOpen: boolean;
  readonly metadata: JsonObject;
  /** Its own rules of what the agent must ask leave for, see `parsePermissionPolicy`. */
  readonly permissions: readonly string[];
  readonly stats: SessionStats;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly lastSeq: number;
  readonly parentId: string | null;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly pausedAt: Date | null;
  readonly completedAt: Date | null;
  readonly lastActivityAt: Date;
  /** Time spent ACTIVE, up to the last transition. */
  readonly activeMs: number;
  readonly attempts: number;
}

/** Where the files of a session are. */
export interface FilePlaces {
  /** Names the data folder in which they were last worked on; null before the first time. */
  readonly host: string | null;
  /** The stored state that the log has reached. */
  readonly snapshotId: SnapshotId | null;
  /** The place off the host that holds this state whole; null: it lies on `host` alone. */
  readonly snapshotStore: string | null;
}

/** One transition of a session's life. */
export interface StateTransition {
  readonly from: SessionState;
  readonly to: SessionState;
  readonly reason: Reason;
  readonly at: Date;
}

/** What the database knows about the course of a session. */
export interface SessionMetadata {
  readonly sessionId: string;
  readonly state: SessionState;
  readonly startedAt: Date | null;
  readonly lastActivityAt: Date;
  /** From creation to the end, or to now. */
  readonly durationMs: number;
  readonly activeMs: number;
  readonly stats: SessionStats;
  readonly stateChanges: readonly StateTransition[];
}

/** A session to create; defaults are filled in already. */
export interface NewSession {
  readonly id: string;
  readonly userId: string;
  readonly agent: string;
  readonly model: string | null;
  readonly prompt: string;
  readonly script: Script | null;
  readonly workspace: WorkspaceRequest;
  /** Real path that an in-place session locks; null for copies. */
  readonly inPlacePath: string | null;
  readonly recovery: RecoveryMode;
  readonly limits: SessionLimits;
  readonly keepOpen: boolean;
  readonly metadata: JsonObject;
  /** @default none */
  readonly permissions?: readonly string[];
  readonly parentId: string | null;
}
