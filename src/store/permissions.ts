import type { Json } from "../core/json.ts";
import type { PermissionRequest, StoredPermission } from "../core/permission.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { PermissionAnswer } from "../core/store.ts";
import type { Queryable } from "./connection-pool.ts";
import { decodeOpaque, toStorableText } from "./opaque-json.ts";
import { onlyRow, sessionColumns, type SessionRow, toSnapshot } from "./rows.ts";

/** Read at once: the newest. */
const PERMISSIONS_MAX = 1_000;
const EXPIRED_MAX = 1_000;

/** Requests of a session, oldest first; with `isOpen` only those that no intent has acted upon. */
export async function selectPermissions(
  client: Queryable,
  sessionId: string,
  options: { readonly isOpen?: boolean } = {},
): Promise<readonly StoredPermission[]> {
  const { rows } = await client.query<StoredPermission & { request: Json }>(
    `select id, session_id as "sessionId", request_hash as "requestHash", request, status,
       decided_by as "decidedBy", note, call_id as "callId", told_at is not null as "isTold", asked_at as "askedAt",
       expires_at as "expiresAt", decided_at as "decidedAt"
     from stint.permissions
     where session_id = $1 and (not $2 or (used_at is null and status <> 'lapsed'))
     order by position desc limit ${PERMISSIONS_MAX}`,
    [sessionId, options.isOpen ?? false],
  );
  return rows.reverse().map(({ request, ...row }) => ({
    ...row,
    ...(decodeOpaque(request) as unknown as PermissionRequest),
  }));
}

export async function selectAskingSessions(
  client: Queryable,
  sessionIds: readonly string[],
): Promise<readonly string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select distinct session_id as id from stint.permissions
     where session_id = any ($1::uuid[]) and status = 'pending'`,
    [sessionIds],
  );
  return rows.map(({ id }) => id);
}

/** @throws what the database answers: no such request, or another decision stands. */
export async function decidePermission(
  client: Queryable,
  answer: PermissionAnswer,
): Promise<SessionSnapshot> {
  const { sessionId, permissionId, decision, note, userId } = answer;
  const { rows } = await client.query<SessionRow>(
    `select ${sessionColumns()} from stint.decide_permission($1, $2, $3, $4, $5)`,
    [
      sessionId,
      permissionId,
      decision === "allow" ? "allowed" : "denied",
      note === null ? null : toStorableText(note),
      userId,
    ],
  );
  return toSnapshot(onlyRow(rows));
}

/** Decides what nobody has answered in time. Returns the sessions. */
export async function expirePermissions(client: Queryable): Promise<readonly string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select stint.expire_permissions(${EXPIRED_MAX}) as id`,
  );
  return rows.map(({ id }) => id);
}
