import type { Script } from "../core/script.ts";
import type {
  ClaimedSession,
  Ownership,
  WorkerPeer,
  WorkerRegistration,
  WorkerSnapshot,
} from "../core/store.ts";
import type { Queryable } from "./connection-pool.ts";
import { onlyRow, sessionColumns, type SessionRow, toSnapshot } from "./rows.ts";

const CLAIM_SESSIONS = `
  select ${sessionColumns("(c.session).")}, (c.session).script, c.queued_ms
  from stint.claim_sessions($1, $2, $3, $4) c order by c.queued_ms desc`;

export async function insertWorker(client: Queryable, worker: WorkerRegistration): Promise<void> {
  await client.query("select stint.register_worker($1::jsonb)", [JSON.stringify(worker)]);
}

export async function renewLease(
  client: Queryable,
  workerId: string,
  leaseDurationMs: number,
): Promise<{ isLive: boolean; held: readonly Ownership[] }> {
  const { rows } = await client.query<{
    is_live: boolean;
    session_ids: string[];
    epochs: number[];
  }>("select is_live, session_ids, epochs from stint.heartbeat($1, $2)", [
    workerId,
    leaseDurationMs,
  ]);
  const { is_live: isLive, session_ids: ids, epochs } = onlyRow(rows);
  return {
    isLive,
    held: ids.map((sessionId, place) => ({ sessionId, epoch: epochs[place] as number })),
  };
}

export async function deleteWorker(client: Queryable, workerId: string): Promise<void> {
  await client.query("select stint.remove_worker($1)", [workerId]);
}

export async function selectPeers(
  client: Queryable,
  bootId: string,
): Promise<readonly WorkerPeer[]> {
  const { rows } = await client.query<WorkerPeer>(
    `select id, pid, pid_start_time as "pidStartTime" from stint.workers
     where boot_id = $1 and dead_at is null order by heartbeat_at desc limit 1000`,
    [bootId],
  );
  return rows;
}

export async function buryWorker(
  client: Queryable,
  workerId: string,
  bootId: string,
): Promise<boolean> {
  const { rows } = await client.query<{ buried: boolean }>(
    "select stint.bury_worker($1, $2) as buried",
    [workerId, bootId],
  );
  return onlyRow(rows).buried;
}

export async function selectWorkers(client: Queryable): Promise<readonly WorkerSnapshot[]> {
  const { rows } = await client.query<WorkerSnapshot>(
    `select w.id, w.name, w.host, w.pid, w.version, w.slots, w.agents,
       (select count(*) from public.coding_sessions s
         where s.worker_id = w.id and s.status = 'active') as "activeSessions",
       w.started_at as "startedAt", w.heartbeat_at as "heartbeatAt",
       w.lease_expires_at as "leaseExpiresAt",
       w.lease_expires_at > clock_timestamp() and w.dead_at is null as "isLive"
     from stint.workers w order by w.started_at, w.id limit 1000`,
  );
  return rows;
}

export async function claimSessions(
  client: Queryable,
  request: {
    readonly workerId: string;
    readonly limit: number;
    readonly sessionId?: string;
    readonly agents?: readonly string[];
  },
): Promise<readonly ClaimedSession[]> {
  const { rows } = await client.query<SessionRow & { script: Script | null; queued_ms: number }>(
    CLAIM_SESSIONS,
    [request.workerId, request.limit, request.sessionId ?? null, request.agents ?? null],
  );
  return rows.map((row) => ({
    session: toSnapshot(row),
    script: row.script,
    queuedMs: row.queued_ms,
  }));
}

export async function touchSessions(
  client: Queryable,
  owners: readonly Ownership[],
): Promise<void> {
  await client.query("select stint.record_activity($1::uuid[], $2::bigint[])", [
    owners.map(({ sessionId }) => sessionId),
    owners.map(({ epoch }) => epoch),
  ]);
}
