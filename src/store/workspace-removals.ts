import type { ConnectionPool } from "./connection-pool.ts";

/** What the database knows of files that hosts still hold of sessions which were deleted. */
export interface WorkspaceRemovals {
  /** At most this many are listed in one call. */
  readonly listMax: number;
  /**
   * Deleted sessions which an attempt on this host has worked on, by id, those after `after` alone.
   * Only what the database has recorded: to one that is new or another's no session is deleted.
   */
  list(workspaceHost: string, after: string): Promise<readonly string[]>;
  /** Nothing of them lies on this host any more. Also drops what waits for hosts long gone. */
  finish(workspaceHost: string, sessionIds: readonly string[]): Promise<void>;
  /** Those of these ids, at most `listMax`, whose sessions this database holds. */
  listExisting(sessionIds: readonly string[]): Promise<readonly string[]>;
}

const LIST_MAX = 100;

/** Asks over a pool of its owner's. */
export function createWorkspaceRemovals(pool: ConnectionPool): WorkspaceRemovals {
  const readIds = async (text: string, values: unknown[]): Promise<readonly string[]> => {
    const { rows } = await pool.read((client) => client.query<{ id: string }>(text, values));
    return rows.map(({ id }) => id);
  };
  return {
    listMax: LIST_MAX,
    list: (workspaceHost, after) =>
      readIds(
        `select r.session_id as id from stint.workspace_removals r
         where r.workspace_host = $1 and r.session_id > $2::uuid
           and not exists (select from public.coding_sessions s where s.id = r.session_id)
         order by r.session_id limit $3`,
        [workspaceHost, after, LIST_MAX],
      ),
    async finish(workspaceHost, sessionIds) {
      await pool.run((client) =>
        client.query("select stint.finish_workspace_removals($1, $2::uuid[])", [
          workspaceHost,
          sessionIds,
        ]),
      );
    },
    listExisting: (sessionIds) =>
      readIds("select id from public.coding_sessions where id = any ($1::uuid[])", [
        sessionIds.slice(0, LIST_MAX),
      ]),
  };
}
