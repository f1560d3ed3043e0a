import { SESSION_STATES, type SessionState } from "../core/state.ts";
import type { StoreStats } from "../core/store.ts";
import type { Queryable } from "./connection-pool.ts";

/**
 * The four figures to monitor, in the words that operators paste into psql. They read public
 * tables only, so row-level security narrows them to what a user may see.
 */
export const MONITORING_QUERIES = {
  stateDistribution: `SELECT status, COUNT(*) FROM coding_sessions
WHERE created_at > NOW() - INTERVAL '24 hours'
GROUP BY status;`,
  averageDuration: `SELECT AVG(EXTRACT(EPOCH FROM (completed_at - created_at)))
FROM coding_sessions
WHERE status IN ('completed', 'failed');`,
  expirationRate: `SELECT
  COUNT(*) FILTER (WHERE status = 'expired') * 100.0 / COUNT(*)
FROM coding_sessions
WHERE created_at > NOW() - INTERVAL '24 hours';`,
  eventVolume: `SELECT event_type, COUNT(*) FROM session_events
WHERE created_at > NOW() - INTERVAL '1 hour'
GROUP BY event_type
ORDER BY COUNT(*) DESC;`,
} as const;

type SessionFigures = Omit<StoreStats, "workers" | "slots">;

export async function selectSessionFigures(client: Queryable): Promise<SessionFigures> {
  const states = await client.query<{ status: SessionState; count: number }>(
    MONITORING_QUERIES.stateDistribution,
  );
  const seconds = await selectNumber(client, MONITORING_QUERIES.averageDuration);
  const hasSessions = states.rows.length > 0;
  const volume = await client.query<{ event_type: string; count: number }>(
    MONITORING_QUERIES.eventVolume,
  );
  return {
    sessions: toCounts(states.rows),
    averageDurationMs: seconds === null ? null : Math.round(seconds * 1000),
    // Without a session of the last day the rate has no meaning, and SQL would divide by zero.
    expirationRatePercent: hasSessions
      ? await selectNumber(client, MONITORING_QUERIES.expirationRate)
      : null,
    eventVolume: Object.fromEntries(volume.rows.map((row) => [row.event_type, row.count])),
  };
}

/** Workers whose lease lives, and their slots. */
export async function selectWorkerFigures(
  client: Queryable,
): Promise<Pick<StoreStats, "workers" | "slots">> {
  const { rows } = await client.query<{ workers: number; slots: number }>(
    `select count(*) as workers, coalesce(sum(slots), 0)::bigint as slots from stint.workers
     where lease_expires_at > clock_timestamp()`,
  );
  return rows[0] ?? { workers: 0, slots: 0 };
}

async function selectNumber(client: Queryable, query: string): Promise<number | null> {
  const { rows } = await client.query<Record<string, string | null>>(query);
  const value = Object.values(rows[0] ?? {})[0] ?? null;
  return value === null ? null : Number(value);
}

function toCounts(
  rows: readonly { status: SessionState; count: number }[],
): Record<SessionState, number> {
  const counts = Object.fromEntries(SESSION_STATES.map((state) => [state, 0]));
  for (const { status, count } of rows) counts[status] = count;
  return counts as Record<SessionState, number>;
}
