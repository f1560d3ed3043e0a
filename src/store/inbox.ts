import type { SessionSnapshot } from "../core/session.ts";
import type { InboxItem } from "../core/store.ts";
import type { Queryable } from "./connection-pool.ts";
import { onlyRow, sessionColumns, type SessionRow, toSnapshot } from "./rows.ts";

/** Read at once; the rest comes with the next reading. */
const ITEMS_MAX = 5_000;

export async function insertMessage(
  client: Queryable,
  message: {
    readonly id: string;
    readonly sessionId: string;
    readonly userId: string | null;
    readonly text: string;
  },
  itemsMax: number,
): Promise<SessionSnapshot> {
  const { rows } = await client.query<SessionRow>(
    `select ${sessionColumns()} from stint.send_message($1, $2, $3, $4, $5)`,
    [message.sessionId, message.id, message.userId, message.text, itemsMax],
  );
  return toSnapshot(onlyRow(rows));
}

export async function selectInbox(
  client: Queryable,
  sessionIds: readonly string[],
): Promise<readonly InboxItem[]> {
  const { rows } = await client.query<InboxItem>(
    `select id, session_id as "sessionId", kind, body as text, user_id as "userId",
       created_at as "createdAt"
     from stint.inbox where session_id = any ($1::uuid[]) and consumed_at is null
     order by position limit ${ITEMS_MAX}`,
    [sessionIds],
  );
  return rows;
}
