/** What the HTTP interface sends, as a client gets it: dates are ISO strings. */
import type { JsonObject } from "../core/json.ts";
import type { SessionEvent as StoredEvent } from "../core/event.ts";
import type { StoredPermission } from "../core/permission.ts";
import type { FilePlaces, RecoveryMode, SessionLimits, SessionSnapshot } from "../core/session.ts";
import type { ScriptStep } from "../core/script.ts";
import type { SessionState } from "../core/state.ts";
import type { StoreStats, WorkerSnapshot } from "../core/store.ts";
import type { WorkspaceDiff, WorkspaceRequest } from "../core/workspace.ts";

/** A record as JSON carries it: each Date is an ISO 8601 string. */
export type JsonForm<T> = {
  [K in keyof T]: Date extends T[K] ? string | Exclude<T[K], Date> : T[K];
};

/** A session as every read returns it. */
export type Session = JsonForm<Omit<SessionSnapshot, "workspace">> & {
  readonly workspace: {
    readonly mode: WorkspaceRequest["mode"];
    readonly source: string | null;
    readonly ref: string | null;
    /** Where the session works on its host; null before its first attempt. */
    readonly path: string | null;
  } & FilePlaces;
};

/** An event of a session's log. */
export type SessionEvent = JsonForm<StoredEvent>;

/** A worker. */
export type Worker = JsonForm<WorkerSnapshot>;

/** Figures over all sessions that the caller may see. */
export type Stats = StoreStats;

/** What a session has changed in its workspace. */
export type SessionDiff = WorkspaceDiff;

/** A session to create. */
export interface SessionRequest {
  readonly prompt: string;
  /** @default "builtin" */
  readonly agent?: string;
  /** `anthropic:NAME`, `openai:NAME` or `scripted`. @default the server's choice */
  readonly model?: string;
  /** What the scripted model answers, step by step. */
  readonly script?: readonly (ScriptStep | JsonObject)[];
  /** @default an empty directory */
  readonly workspace?: Partial<WorkspaceRequest>;
  readonly recovery?: RecoveryMode;
  readonly limits?: Partial<SessionLimits>;
  /** Waits for further prompts at the end of a turn instead of ending. @default false */
  readonly keepOpen?: boolean;
  readonly metadata?: JsonObject;
  /** Rules of what the agent must ask leave for, such as `ask execute`. @default the server's */
  readonly permissions?: readonly string[];
}

/** What an agent asked leave for. */
export type Permission = JsonForm<
  Omit<StoredPermission, "sessionId" | "requestHash" | "isTold" | "modelCallId" | "callId">
>;

/** Which sessions to list; newest first. */
export interface SessionListQuery {
  readonly status?: SessionState | readonly SessionState[];
  readonly agent?: string;
  readonly cursor?: string;
  /** @default 50, at most 500 */
  readonly limit?: number;
}

/** One page of sessions; `nextCursor` is null on the last. */
export interface SessionPage {
  readonly sessions: readonly Session[];
  readonly nextCursor: string | null;
}

/** Which events to read, in order of seq. */
export interface EventListQuery {
  /** Events with a larger seq; or the cursor of the page before. @default 0 */
  readonly after?: number | string;
  /** @default 500, at most 5_000 */
  readonly limit?: number;
  readonly type?: string | readonly string[];
}

/** One page of events; `nextCursor` is the `after` of the next, null when the log ends here. */
export interface EventPage {
  readonly events: readonly SessionEvent[];
  readonly nextCursor: string | null;
}

/** Which part of a session's changes to show, as snapshots or seqs. @default all of it */
export interface DiffQuery {
  readonly from?: string;
  readonly to?: string;
}
