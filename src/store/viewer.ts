import type { Viewer } from "../core/store.ts";
import type { Queryable } from "./connection-pool.ts";

/**
 * Runs a read as its viewer. A user's read happens in a transaction as `authenticated` with their
 * claims, so that row-level security decides what exists; an operator, like Stint itself, reads as
 * the service.
 */
export async function readAs<T>(
  client: Queryable,
  viewer: Viewer | undefined,
  work: (client: Queryable) => Promise<T>,
): Promise<T> {
  if (viewer === undefined || viewer.role === "operator") return work(client);
  const claims = JSON.stringify({ sub: viewer.userId, role: "authenticated" });
  // Sent together, answered together. Should any of them fail, the caller gets no rows at all.
  const statements = [
    client.query("begin read only"),
    client.query(
      `select pg_catalog.set_config('role', 'authenticated', true),
         pg_catalog.set_config('request.jwt.claims', $1, true)`,
      [claims],
    ),
    work(client).finally(() => client.query("commit")),
  ] as const;
  const [, , result] = await settleAll(statements);
  return result;
}

/** Waits for all, so that none is still running when the first one fails. */
async function settleAll<T extends readonly Promise<unknown>[]>(
  promises: T,
): Promise<{ -readonly [P in keyof T]: Awaited<T[P]> }> {
  await Promise.allSettled(promises);
  return (await Promise.all(promises)) as { -readonly [P in keyof T]: Awaited<T[P]> };
}
