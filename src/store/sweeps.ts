import type { Reason, SessionState } from "../core/state.ts";
import type { TransitionNotice } from "../core/store.ts";
import type { Queryable } from "./connection-pool.ts";
import { onlyRow } from "./rows.ts";

/** Sessions that one statement looks at, so that no transaction holds many locks for long. */
export const SWEEP_LIMIT = 1_000;

interface NoticeRow {
  readonly session_id: string;
  readonly from_state: SessionState;
  readonly to_state: SessionState;
  readonly reason: Reason;
  readonly epoch: number;
  readonly last_seq: number;
}

/** What a sweep did to one session, with the seq up to which its log has grown. */
export interface SweepNotice extends TransitionNotice {
  readonly lastSeq: number;
}

export async function sweepLostLeases(client: Queryable): Promise<readonly SweepNotice[]> {
  const { rows } = await client.query<NoticeRow>("select * from stint.sweep_lost_leases()");
  return rows.map(toNotice);
}

/** `due`: how many sessions were looked at; at the limit there may be more. */
export async function sweepIdleSessions(
  client: Queryable,
): Promise<{ due: number; notices: readonly SweepNotice[] }> {
  const { rows } = await client.query<{ due_count: number; notices: NoticeRow[] }>(
    "select due_count, notices from stint.sweep_idle_sessions($1)",
    [SWEEP_LIMIT],
  );
  const { due_count: due, notices } = onlyRow(rows);
  return { due, notices: notices.map(toNotice) };
}

/** `silenceMs`: how long an owner may leave a request lying before it is done over its head. */
export async function sweepControlRequests(
  client: Queryable,
  silenceMs: number,
): Promise<readonly SweepNotice[]> {
  const { rows } = await client.query<NoticeRow>("select * from stint.sweep_control_requests($1)", [
    silenceMs,
  ]);
  return rows.map(toNotice);
}

function toNotice(row: NoticeRow): SweepNotice {
  return {
    sessionId: row.session_id,
    from: row.from_state,
    to: row.to_state,
    reason: row.reason,
    epoch: row.epoch,
    lastSeq: row.last_seq,
  };
}
