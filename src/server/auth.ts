/** Who asks: the seam between a token and a viewer. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Context } from "hono";
import { StintError } from "../core/error.ts";
import { LOCAL_USER_ID } from "../core/session.ts";
import type { Viewer } from "../core/store.ts";

/** Longest token that is looked at, in characters. */
const TOKEN_CHARS_MAX = 8_192;

/** Says whom a token stands for. */
export interface Authenticator {
  /** The viewer, or null when the token is not valid here. */
  authenticate(token: string): Promise<Viewer | null>;
}

/** Knows one token: that of the local owner, who is an operator. */
export function createOwnerAuthenticator(token: string): Authenticator {
  const expected = digest(token);
  const owner: Viewer = { userId: LOCAL_USER_ID, role: "operator" };
  return {
    authenticate: (given) =>
      Promise.resolve(timingSafeEqual(digest(given), expected) ? owner : null),
  };
}

/** Where a route takes its token from. */
export type TokenSource = "header" | "header-or-query";

/**
 * Finds the viewer of a request. A token in the query is for EventSource, which can send no header.
 * @throws {unauthorized}
 */
export async function authenticateRequest(
  c: Context,
  authenticator: Authenticator,
  source: TokenSource,
): Promise<Viewer> {
  const token = readBearer(c) ?? (source === "header-or-query" ? c.req.query("access_token") : "");
  if (!token) throw new StintError("unauthorized", "the request carries no bearer token");
  const viewer = token.length > TOKEN_CHARS_MAX ? null : await authenticator.authenticate(token);
  if (viewer === null) throw new StintError("unauthorized", "the token is not valid here");
  return viewer;
}

/** @throws {forbidden} when the viewer is no operator. */
export function assertOperator(viewer: Viewer): void {
  if (viewer.role === "operator") return;
  throw new StintError("forbidden", "this route is for operators");
}

function readBearer(c: Context): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "")?.[1];
}

/** Digests have one length, so comparing them tells nothing about the token's. */
function digest(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}
