import type { SessionEvent } from "../core/event.ts";
import type { JsonObject } from "../core/json.ts";
import type { SandboxReport } from "../core/sandbox.ts";
import type { SessionLimits, SessionSnapshot } from "../core/session.ts";
import type { Reason, SessionState, WaitingFor } from "../core/state.ts";
import type { WorkspaceRequest } from "../core/workspace.ts";

/** A row of `public.coding_sessions`, as far as a snapshot shows it. */
export interface SessionRow {
  readonly id: string;
  readonly user_id: string;
  readonly status: SessionState;
  readonly reason: Reason;
  readonly waiting_for: WaitingFor;
  readonly resume_at: Date | null;
  readonly hold_until: Date | null;
  readonly epoch: number;
  readonly last_seq: number;
  readonly worker_id: string | null;
  readonly agent: string;
  readonly model: string | null;
  readonly prompt: string;
  readonly workspace: WorkspaceRequest;
  readonly workspace_path: string | null;
  readonly workspace_host: string | null;
  readonly snapshot_id: string | null;
  readonly snapshot_store: string | null;
  readonly sandbox: SandboxReport | null;
  readonly recovery: "restore" | "adopt";
  readonly limits: SessionLimits;
  readonly keep_open: boolean;
  readonly metadata: JsonObject;
  readonly permissions: readonly string[];
  readonly parent_id: string | null;
  readonly iterations: number;
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_read_tokens: number;
  readonly cache_write_tokens: number;
  readonly reasoning_tokens: number;
  readonly tool_calls: number;
  readonly model_calls: number;
  readonly cost_usd: number | null;
  readonly error_code: string | null;
  readonly error_message: string | null;
  readonly attempts: number;
  readonly created_at: Date;
  readonly started_at: Date | null;
  readonly paused_at: Date | null;
  readonly completed_at: Date | null;
  readonly last_activity_at: Date;
  readonly active_ms: number;
}

/** The columns of a SessionRow, each prefixed with `from` where the row is a part of another. */
export function sessionColumns(from = ""): string {
  return SESSION_COLUMNS.map((name) => from + name).join(", ");
}

const SESSION_COLUMNS: readonly (keyof SessionRow)[] = [
  "id",
  "user_id",
  "status",
  "reason",
  "waiting_for",
  "resume_at",
  "hold_until",
  "epoch",
  "last_seq",
  "worker_id",
  "agent",
  "model",
  "prompt",
  "workspace",
  "workspace_path",
  "workspace_host",
  "snapshot_id",
  "snapshot_store",
  "sandbox",
  "recovery",
  "limits",
  "keep_open",
  "metadata",
  "permissions",
  "parent_id",
  "iterations",
  "input_tokens",
  "output_tokens",
  "cache_read_tokens",
  "cache_write_tokens",
  "reasoning_tokens",
  "tool_calls",
  "model_calls",
  "cost_usd",
  "error_code",
  "error_message",
  "attempts",
  "created_at",
  "started_at",
  "paused_at",
  "completed_at",
  "last_activity_at",
  "active_ms",
];

/** Reads a row as what the port returns. */
export function toSnapshot(row: SessionRow): SessionSnapshot {
  return {
    id: row.id,
    userId: row.user_id,
    status: row.status,
    reason: row.reason,
    waitingFor: row.waiting_for,
    resumeAt: row.resume_at,
    frozenUntil: row.hold_until,
    epoch: row.epoch,
    workerId: row.worker_id,
    agent: row.agent,
    model: row.model,
    prompt: row.prompt,
    workspace: {
      ...row.workspace,
      path: row.workspace_path,
      host: row.workspace_host,
      snapshotId: row.snapshot_id,
      snapshotStore: row.snapshot_store,
    },
    sandbox: row.sandbox,
    recovery: row.recovery,
    limits: row.limits,
    keepOpen: row.keep_open,
    metadata: row.metadata,
    permissions: row.permissions,
    stats: {
      iterations: row.iterations,
      inputTokens: row.input_tokens,
      outputTokens: row.output_tokens,
      cacheReadTokens: row.cache_read_tokens,
      cacheWriteTokens: row.cache_write_tokens,
      reasoningTokens: row.reasoning_tokens,
      toolCalls: row.tool_calls,
      modelCalls: row.model_calls,
      costUsd: row.cost_usd,
    },
    error:
      row.error_code === null ? null : { code: row.error_code, message: row.error_message ?? "" },
    lastSeq: row.last_seq,
    parentId: row.parent_id,
    createdAt: row.created_at,
    startedAt: row.started_at,
    pausedAt: row.paused_at,
    completedAt: row.completed_at,
    lastActivityAt: row.last_activity_at,
    activeMs: row.active_ms,
    attempts: row.attempts,
  };
}

/** A row of `public.session_events`. */
export interface EventTableRow {
  readonly id: string;
  readonly session_id: string;
  readonly seq: number;
  readonly event_type: SessionEvent["type"];
  readonly event_data: JsonObject;
  readonly created_at: Date;
}

/** The first row of a result that must have one. */
export function onlyRow<T>(rows: readonly T[]): T {
  const row = rows[0];
  if (row === undefined) throw new Error("the database answered no row where one was due");
  return row;
}
