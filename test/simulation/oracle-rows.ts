import type { CallStatus } from "../../src/core/attempt.ts";
import type { SessionEventType, SessionStats, TokenUsage } from "../../src/core/event.ts";
import type { Json, JsonObject } from "../../src/core/json.ts";
import type { ModelCallIntent, ModelCallStatus } from "../../src/core/model-call.ts";
import type { PermissionRequest, StoredPermission } from "../../src/core/permission.ts";
import type { NewSession, SessionSnapshot } from "../../src/core/session.ts";
import type { Reason, SessionState, WaitingFor } from "../../src/core/state.ts";
import type { OwnerCommit, WorkerRegistration } from "../../src/core/store.ts";

/** A row of `coding_sessions`; times are milliseconds of the database's clock. */
export interface SessionRow extends Omit<NewSession, "limits"> {
  readonly limits: NewSession["limits"];
  readonly createdAt: number;
  readonly deadlineAt: number | null;
  status: SessionState;
  reason: Reason;
  waitingFor: WaitingFor;
  resumeAt: number | null;
  epoch: number;
  lastSeq: number;
  commitId: string | null;
  workerId: string | null;
  holdWorker: string | null;
  holdUntil: number | null;
  workspacePath: string | null;
  workspaceHost: string | null;
  snapshotId: string | null;
  snapshotStore: string | null;
  agentSessionId: string | null;
  stats: SessionStats;
  errorCode: string | null;
  errorMessage: string | null;
  attempts: number;
  startedAt: number | null;
  activeSince: number | null;
  pausedAt: number | null;
  completedAt: number | null;
  lastActivityAt: number;
  activeMs: number;
  sweepAt: number | null;
}

/** A row of `session_events`. */
export interface StoredEvent {
  readonly id: string;
  readonly seq: number;
  readonly type: SessionEventType;
  readonly data: JsonObject;
  readonly createdAt: number;
}

/** A row of `attempts`. */
export interface AttemptRow {
  readonly epoch: number;
  readonly workerId: string | null;
  readonly workspaceHost: string | null;
  endedState: SessionState | null;
  endedReason: Reason | null;
  endedAt?: number;
  refunded: boolean;
  progress: boolean;
}

/** A row of `steps`. */
export interface StepRow {
  readonly iteration: number;
  epoch: number;
  inputs: readonly string[];
  response: Json;
  usage: TokenUsage | null;
  deadlineAt: number;
  isFinished: boolean;
}

/** A row of `tool_calls`. */
export interface CallRow extends Omit<NonNullable<OwnerCommit["openCall"]>, "hasEffect"> {
  readonly hasEffect: boolean;
  readonly epoch: number;
  readonly deadlineAt: number;
  status: CallStatus;
  result: Json;
  isError: boolean;
  snapshotId: string | null;
}

/** A row of `model_calls`. */
export interface ModelCallRow extends ModelCallIntent {
  epoch: number;
  deadlineAt: number;
  status: ModelCallStatus | "open";
  usage: TokenUsage | null;
  costUsd: number | null;
}

/** A row of `inbox`. */
export interface InboxRow {
  readonly id: string;
  readonly position: number;
  readonly kind: "message" | "pause" | "cancel";
  readonly text: string | null;
  readonly userId: string | null;
  readonly createdAt: number;
  consumedAt: number | null;
  consumedEpoch: number | null;
  deliveredIteration: number | null;
}

/** A row of `permissions`. */
export interface PermissionRow {
  readonly id: string;
  readonly requestHash: string;
  readonly request: PermissionRequest;
  callId: string | null;
  readonly atExpiry: "allowed" | "denied";
  readonly askedAt: number;
  readonly expiresAt: number;
  status: StoredPermission["status"];
  decidedBy: StoredPermission["decidedBy"];
  note: string | null;
  decidedAt: number | null;
  isTold: boolean;
  isUsed: boolean;
}

/** A row of `workers`. */
export interface WorkerRow extends WorkerRegistration {
  readonly startedAt: number;
  heartbeatAt: number;
  leaseMs: number;
  leaseExpiresAt: number;
  deadAt: number | null;
}

/** A session with all that belongs to it. */
export interface StoredSession {
  row: SessionRow;
  events: StoredEvent[];
  attempts: AttemptRow[];
  steps: StepRow[];
  calls: CallRow[];
  modelCalls: ModelCallRow[];
  inbox: InboxRow[];
  permissions: PermissionRow[];
}

/** One slot of `append_events`. */
export interface AppendSlot {
  readonly sessionId: string;
  readonly epoch: number;
  readonly base: number;
  readonly lastId: string;
  readonly events: readonly Pick<StoredEvent, "id" | "type" | "data">[];
  /** What goes beside the events; null when there is nothing, totals included. */
  readonly part: OwnerCommit | null;
}

/** How the database answers for a slot. */
export interface SlotAnswer {
  readonly status: "ok" | "fenced" | "gone" | "stale" | "rejected";
  readonly epoch: number;
  readonly lastSeq: number;
  readonly code: string;
}

function copyAll<T extends object>(rows: readonly T[]): T[] {
  return rows.map((row) => ({ ...row }));
}

/** A copy that a later change of the original does not reach. */
export function copyStored(stored: StoredSession): StoredSession {
  return {
    row: { ...stored.row },
    events: [...stored.events],
    attempts: copyAll(stored.attempts),
    steps: copyAll(stored.steps),
    calls: copyAll(stored.calls),
    modelCalls: copyAll(stored.modelCalls),
    inbox: copyAll(stored.inbox),
    permissions: copyAll(stored.permissions),
  };
}

/** Reads a row as what the port returns. */
export function toSnapshot(row: SessionRow): SessionSnapshot {
  const { id, userId, status, reason, waitingFor, epoch, workerId, agent, model, prompt } = row;
  const { recovery, limits, keepOpen, metadata, stats, lastSeq, parentId, activeMs } = row;
  return {
    ...{ id, userId, status, reason, waitingFor, epoch, workerId, agent, model, prompt },
    ...{ recovery, limits, keepOpen, metadata, stats, lastSeq, parentId, activeMs },
    permissions: row.permissions ?? [],
    sandbox: null,
    resumeAt: toDate(row.resumeAt),
    frozenUntil: toDate(row.holdUntil),
    workspace: {
      ...{ ...row.workspace, path: row.workspacePath, host: row.workspaceHost },
      ...{ snapshotId: row.snapshotId, snapshotStore: row.snapshotStore },
    },
    error: row.errorCode === null ? null : { code: row.errorCode, message: row.errorMessage ?? "" },
    createdAt: new Date(row.createdAt),
    startedAt: toDate(row.startedAt),
    pausedAt: toDate(row.pausedAt),
    completedAt: toDate(row.completedAt),
    lastActivityAt: new Date(row.lastActivityAt),
    attempts: row.attempts,
  };
}

function toDate(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}
