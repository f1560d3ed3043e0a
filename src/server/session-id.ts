import { z } from "@hono/zod-openapi";
import { StintError } from "../core/error.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { Store, Viewer } from "../core/store.ts";
import type { AppContext } from "./route.ts";
import { shortenName } from "./validation.ts";

/** Fewest hexadecimal characters that stand for a session. */
const PREFIX_CHARS_MIN = 4;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The path parameter that names a session. */
export const sessionIdParams = z.object({
  id: z.string().openapi({
    param: { name: "id", in: "path" },
    description: "The id of a session, or a unique beginning of at least 4 characters of it.",
    example: "7f3a91c2",
  }),
});

/** Finds the session that a route's path names. @throws {session_not_found} {id_ambiguous} */
export function findRequested(
  c: AppContext,
  store: Pick<Store, "getSession" | "listSessions">,
  viewer: Viewer,
): Promise<SessionSnapshot> {
  return findSession(store, c.req.param("id") ?? "", viewer);
}

/**
 * Finds the session that an id or the beginning of one stands for, as this viewer sees it.
 * @throws {session_not_found} also when it is another user's. @throws {id_ambiguous}
 */
async function findSession(
  store: Pick<Store, "getSession" | "listSessions">,
  given: string,
  viewer: Viewer,
): Promise<SessionSnapshot> {
  const id = given.toLowerCase();
  if (UUID.test(id)) {
    const session = await store.getSession(id, viewer);
    if (session === null) throw notFound(given);
    return session;
  }
  if (!isIdPrefix(id)) throw notFound(given);
  const { items } = await store.listSessions({ idPrefix: id, limit: 2 }, viewer);
  if (items.length > 1) {
    throw new StintError("id_ambiguous", `several sessions begin with "${id}"`);
  }
  if (items[0] === undefined) throw notFound(given);
  return items[0];
}

function isIdPrefix(id: string): boolean {
  return /^[0-9a-f-]{4,36}$/.test(id) && id.replaceAll("-", "").length >= PREFIX_CHARS_MIN;
}

function notFound(given: string): StintError {
  const isShort = /^[0-9a-f]{1,3}$/i.test(given);
  const hint = isShort ? `; give at least ${PREFIX_CHARS_MIN} characters of its id` : "";
  return new StintError("session_not_found", `there is no session "${shortenName(given)}"${hint}`);
}
