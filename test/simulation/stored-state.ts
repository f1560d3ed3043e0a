import type { Client } from "pg";
import type { OracleDatabase } from "./oracle-database.ts";

/** What is compared of a database: everything but ids that it makes itself, and times. */
type State = Readonly<Record<string, unknown>>;

const GRAIN_MS = 10_000;

function shift(...columns: readonly string[]): string {
  return columns.map((name) => `${name} = ${name} - $1 * interval '1 millisecond'`).join(", ");
}

/** Moves all that a database has written down into the past: as if that time had gone by. */
export async function shiftPostgres(admin: Client, byMs: number): Promise<void> {
  const statements = [
    `update public.coding_sessions set ${shift("created_at", "resume_at", "deadline_at", "paused_at", "hold_until")},
      ${shift("active_since", "last_activity_at", "sweep_at", "started_at")} where completed_at is null`,
    `update stint.inbox set ${shift("created_at")}`,
    // Not their starts: an attempt that began before Postgres did is another case.
    `update stint.attempts set ${shift("ended_at")}`,
    `update stint.steps set ${shift("deadline_at")}`,
    `update stint.tool_calls set ${shift("opened_at", "deadline_at")}`,
    `update stint.model_calls set ${shift("opened_at", "deadline_at")}`,
    `update stint.permissions set ${shift("asked_at", "expires_at")}`,
    // Short, so that the age of this Postgres does not matter.
    `update stint.workers set ${shift("lease_expires_at", "heartbeat_at")}, lease_duration_ms = 1`,
  ];
  for (const statement of statements) await admin.query(statement, [byMs]);
}

/** Removes every session and worker. */
export async function clearPostgres(admin: Client): Promise<void> {
  await admin.query("update coding_sessions set status = 'expired' where completed_at is null");
  await admin.query("delete from coding_sessions");
  await admin.query("delete from stint.workers");
  await admin.query("delete from stint.workspace_removals");
}

const SESSIONS = `
  select c.id, status, reason, waiting_for, epoch, last_seq, worker_id, attempts, keep_open,
    iterations, input_tokens, output_tokens, cache_read_tokens, tool_calls, model_calls, cost_usd,
    error_code, error_message, hold_worker, hold_until > now() as "isFrozen",
    workspace_path, workspace_host, snapshot_id, snapshot_store, agent_session_id, active_ms / ${GRAIN_MS} as active,
    resume_at is not null as "isDue", started_at is not null as "isStarted",
    completed_at is not null as "isOver", sweep_at is not null as "isSwept",
    (select jsonb_agg(jsonb_build_array(seq, event_type, event_data) order by seq)
      from session_events where session_id = c.id) as events,
    (select jsonb_agg(jsonb_build_array(kind, body, consumed_at is not null, consumed_epoch,
      delivered_iteration) order by position) from stint.inbox where session_id = c.id) as inbox,
    (select jsonb_agg(jsonb_build_array(epoch, worker_id, workspace_host, ended_state,
      ended_reason, refunded, progress) order by epoch) from stint.attempts where session_id = c.id) as attempts_made,
    (select jsonb_agg(jsonb_build_array(iteration, epoch, inputs, response, finished_at is not null)
      order by iteration) from stint.steps where session_id = c.id) as steps,
    (select jsonb_agg(jsonb_build_array(id, epoch, status, result, is_error, snapshot_id,
      has_effect) order by iteration, ordinal) from stint.tool_calls where session_id = c.id) as calls,
    (select jsonb_agg(jsonb_build_array(id, epoch, status, usage, cost_usd) order by id)
      from stint.model_calls where session_id = c.id) as model_calls_made,
    (select jsonb_agg(jsonb_build_array(id, request_hash, status, decided_by, note,
      call_id, told_at is not null, used_at is not null) order by position)
      from stint.permissions where session_id = c.id) as permissions
  from coding_sessions c order by c.id`;

/** The whole state of a Postgres. */
export async function readPostgres(admin: Client): Promise<State> {
  const { rows: sessions } = await admin.query<Record<string, unknown>>(SESSIONS);
  const { rows: workers } = await admin.query<Record<string, unknown>>(
    `select id, dead_at is not null as "isDead", lease_expires_at > clock_timestamp() as "isLive"
     from stint.workers order by id`,
  );
  const { rows: removals } = await admin.query<{ removal: string }>(
    "select session_id || ' ' || workspace_host as removal from stint.workspace_removals",
  );
  return {
    sessions: sessions.map(sortKeys),
    workers: workers.map(sortKeys),
    workspaceRemovals: removals.map(({ removal }) => removal).sort(),
  };
}

/** As `jsonb_agg` tells of no rows. */
function orNull(list: readonly unknown[]): unknown {
  return list.length === 0 ? null : list;
}

function byId<T extends { readonly id: string }>(rows: readonly T[]): T[] {
  return [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The whole state of an oracle, in the same form. */
export function readOracle({ sessions, workers, workspaceRemovals, now }: OracleDatabase): State {
  const stored = byId([...sessions.values()].map((one) => ({ ...one, id: one.row.id })));
  return {
    sessions: stored.map(({ row, events, inbox, attempts, steps, calls, permissions, ...more }) =>
      sortKeys({
        ...{ id: row.id, status: row.status, reason: row.reason, waiting_for: row.waitingFor },
        ...{ epoch: row.epoch, last_seq: row.lastSeq, worker_id: row.workerId },
        ...{ attempts: row.attempts, keep_open: row.keepOpen, iterations: row.stats.iterations },
        ...{ input_tokens: row.stats.inputTokens, output_tokens: row.stats.outputTokens },
        ...{ cache_read_tokens: row.stats.cacheReadTokens, tool_calls: row.stats.toolCalls },
        ...{ model_calls: row.stats.modelCalls, cost_usd: row.stats.costUsd },
        hold_worker: row.holdWorker,
        isFrozen: row.holdUntil === null ? null : row.holdUntil > now,
        ...{ error_code: row.errorCode, error_message: row.errorMessage },
        ...{ workspace_path: row.workspacePath, workspace_host: row.workspaceHost },
        ...{ snapshot_id: row.snapshotId, snapshot_store: row.snapshotStore },
        agent_session_id: row.agentSessionId,
        active: Math.floor(row.activeMs / GRAIN_MS),
        ...{ isDue: row.resumeAt !== null, isStarted: row.startedAt !== null },
        ...{ isOver: row.completedAt !== null, isSwept: row.sweepAt !== null },
        events: orNull(events.map(({ seq, type, data }) => [seq, type, data])),
        inbox: orNull(
          inbox.map((item) => [
            ...[item.kind, item.text, item.consumedAt !== null],
            ...[item.consumedEpoch, item.deliveredIteration],
          ]),
        ),
        attempts_made: orNull(
          attempts.map((one) => [
            ...[one.epoch, one.workerId, one.workspaceHost, one.endedState],
            ...[one.endedReason, one.refunded, one.progress],
          ]),
        ),
        steps: orNull(
          [...steps]
            .sort((a, b) => a.iteration - b.iteration)
            .map((step) => [
              ...[step.iteration, step.epoch, step.inputs, step.response, step.isFinished],
            ]),
        ),
        calls: orNull(
          [...calls]
            .sort((a, b) => a.iteration - b.iteration || a.ordinal - b.ordinal)
            .map((call) => [
              ...[call.callId, call.epoch, call.status, call.result, call.isError],
              ...[call.snapshotId, call.hasEffect],
            ]),
        ),
        model_calls_made: orNull(
          byId(more.modelCalls.map((call) => ({ ...call, id: call.callId }))).map((call) => [
            ...[call.id, call.epoch, call.status, call.usage, call.costUsd],
          ]),
        ),
        permissions: orNull(
          permissions.map((one) => [
            ...[one.id, one.requestHash, one.status, one.decidedBy, one.note],
            ...[one.callId, one.isTold, one.isUsed],
          ]),
        ),
      }),
    ),
    workers: byId([...workers.values()]).map((worker) =>
      sortKeys({
        ...{ id: worker.id, isDead: worker.deadAt !== null },
        isLive: worker.leaseExpiresAt > now,
      }),
    ),
    workspaceRemovals: [...workspaceRemovals].sort(),
  };
}

/** Replaces times by whether they are set; durations by how many grains they have. */
export function stripTimes(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null), (key, one: unknown) => {
    if (key.endsWith("At") || key === "frozenUntil") return one !== null;
    if (key === "activeMs" || key === "queuedMs") return Math.floor(Number(one) / GRAIN_MS);
    if (!isPlain(one)) return one;
    // Why a commit was refused is told in the words of the database; the code must be the same.
    return sortKeys(one["status"] === "rejected" ? { ...one, message: "" } : one);
  }) as unknown;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sortKeys(value: Record<string, unknown>): Record<string, unknown> {
  const sorted = (one: unknown): unknown => {
    if (Array.isArray(one)) return one.map(sorted);
    return isPlain(one) ? sortKeys(one) : one;
  };
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((key) => [key, sorted(value[key])]));
}
