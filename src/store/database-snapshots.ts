import { createHash } from "node:crypto";
import { StintError } from "../core/error.ts";
import type { JsonObject } from "../core/json.ts";
import {
  DATABASE_SNAPSHOTS,
  FOLDER_PREFIX,
  type SnapshotPart,
  type SnapshotStore,
} from "../core/snapshot-store.ts";
import type { Ownership } from "../core/store.ts";
import type { ConnectionSource } from "./connect.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { createWorkspaceRemovals, type WorkspaceRemovals } from "./workspace-removals.ts";

const CHUNK_BYTES_MAX = 1_048_576;
const CONNECTIONS_MAX = 2;
const WAITERS_MAX = 1_000;
const IDLE_TIMEOUT_MS = 30_000;
const STATEMENT_TIMEOUT_MS = 30_000;
const REMOVALS_MAX = 100;

/** Sessions that were deleted while a folder held states of theirs. */
export interface SnapshotRemovals {
  /** Some of those whose states still lie in the folder of this name. */
  listRemovals(folder: string): Promise<readonly string[]>;
  /** They lie there no more. */
  finishRemovals(sessionIds: readonly string[]): Promise<void>;
}

/** Where the database keeps states of workspaces, and what it knows of other places. */
export type DatabaseSnapshots = SnapshotStore &
  SnapshotRemovals & { readonly workspaces: WorkspaceRemovals };

/**
 * Keeps states of workspaces in the database: rows of at most 1 MiB, deleted with their session,
 * readable by Stint alone. Its connections are its own, so that no upload holds up anything else;
 * they are opened when needed.
 */
export function createDatabaseSnapshots(source: ConnectionSource): DatabaseSnapshots {
  const pool = new ConnectionPool(source, {
    connectionsMax: CONNECTIONS_MAX,
    waitersMax: WAITERS_MAX,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
  });

  const putChunk = async (owner: Ownership, partId: string, place: number, bytes: Buffer) => {
    const values = [owner.sessionId, owner.epoch, partId, place, bytes];
    await pool.run((client) =>
      client.query("select stint.put_snapshot_chunk($1, $2, $3, $4, $5)", values),
    );
  };

  return {
    name: DATABASE_SNAPSHOTS,
    async listParts(sessionId) {
      const { rows } = await pool.read((client) =>
        client.query<SnapshotPart & { about: JsonObject }>(
          `select id, snapshot_id as "snapshotId", size_bytes as "sizeBytes", sha256, about
           from stint.snapshot_parts where session_id = $1 order by position`,
          [sessionId],
        ),
      );
      return rows;
    },
    async putPart(owner, part, content) {
      const { id, snapshotId, sizeBytes, sha256, about } = part;
      const hash = createHash("sha256");
      let ordinal = 0;
      for await (const bytes of regroup(content, CHUNK_BYTES_MAX)) {
        hash.update(bytes);
        await putChunk(owner, id, ordinal++, bytes);
      }
      if (hash.digest("hex") !== sha256) {
        throw new StintError("snapshot_store_failed", `part ${id} changed while it was stored`);
      }
      const values = [id, snapshotId, sizeBytes, sha256, JSON.stringify(about)];
      await pool.run((client) =>
        client.query("select stint.finish_snapshot_part($1, $2, $3, $4, $5, $6, $7::jsonb)", [
          owner.sessionId,
          owner.epoch,
          ...values,
        ]),
      );
    },
    async *readPart(sessionId, partId) {
      for (let ordinal = 0; ; ordinal++) {
        const { rows } = await pool.read((client) =>
          client.query<{ bytes: Buffer | null }>(
            `select c.bytes from stint.snapshot_parts p left join stint.snapshot_chunks c
               on c.session_id = p.session_id and c.part_id = p.id and c.ordinal = $3
             where p.session_id = $1 and p.id = $2`,
            [sessionId, partId, ordinal],
          ),
        );
        const [row] = rows;
        if (row === undefined) {
          throw new StintError("workspace_gone", `the database holds no part ${partId}`);
        }
        if (row.bytes === null) return;
        yield row.bytes;
      }
    },
    async removeParts(owner, partIds) {
      await pool.run((client) =>
        client.query("select stint.remove_snapshot_parts($1, $2, $3::uuid[])", [
          owner.sessionId,
          owner.epoch,
          partIds,
        ]),
      );
    },
    async listRemovals(folder) {
      if (!folder.startsWith(FOLDER_PREFIX)) return [];
      const { rows } = await pool.read((client) =>
        client.query<{ id: string }>(
          `select session_id as id from stint.snapshot_removals where folder = $1
           order by created_at limit $2`,
          [folder, REMOVALS_MAX],
        ),
      );
      return rows.map(({ id }) => id);
    },
    async finishRemovals(sessionIds) {
      await pool.run((client) =>
        client.query("select stint.finish_snapshot_removals($1::uuid[])", [sessionIds]),
      );
    },
    workspaces: createWorkspaceRemovals(pool),
    close: () => pool.close(),
  };
}

/** The same bytes in pieces of one size, the last one shorter; none is empty. */
async function* regroup(
  content: AsyncIterable<Uint8Array>,
  sizeBytes: number,
): AsyncGenerator<Buffer> {
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  for await (const piece of content) {
    waiting.push(piece);
    waitingBytes += piece.length;
    if (waitingBytes < sizeBytes) continue;
    const joined = Buffer.concat(waiting);
    const end = joined.length - (joined.length % sizeBytes);
    for (let at = 0; at < end; at += sizeBytes) yield joined.subarray(at, at + sizeBytes);
    waiting = [joined.subarray(end)];
    waitingBytes = joined.length - end;
  }
  if (waitingBytes > 0) yield Buffer.concat(waiting);
}
