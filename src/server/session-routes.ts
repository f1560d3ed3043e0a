/** The routes that create, show and list sessions and show their changes. */
import { z } from "@hono/zod-openapi";
import { StintError } from "../core/error.ts";
import type { SessionSnapshot } from "../core/session.ts";
import { SESSION_STATES, type SessionState } from "../core/state.ts";
import type { SessionQuery, Store, Viewer } from "../core/store.ts";
import type { WorkspaceReader } from "../core/workspace-reader.ts";
import { idempotencyHeaders, readIdempotencyKey } from "./idempotency.ts";
import { readBody } from "./request-body.ts";
import { answerJson, type AppContext, type RouteTable } from "./route.ts";
import { diffSchema, sessionListSchema, sessionSchema } from "./schema.ts";
import {
  hashRequest,
  prepareSession,
  SESSION_BYTES_MAX,
  sessionBodySchema,
  sessionRequestSchema,
  type SessionFactory,
} from "./session-creation.ts";
import { findRequested, sessionIdParams } from "./session-id.ts";
import { showSessions, toSessionJson } from "./session-json.ts";
import { checkInput, checkNames } from "./validation.ts";

/** What the routes of sessions need. */
export interface SessionRouteOptions extends SessionFactory {
  readonly store: Store;
  readonly diffs?: WorkspaceReader;
}

const listQuery = z.strictObject({
  status: z
    .string()
    .optional()
    .openapi({ description: `States, separated by commas: ${SESSION_STATES.join(", ")}.` }),
  agent: z.string().min(1).max(64).optional(),
  cursor: z.string().max(200).optional(),
  limit: z.coerce.number().int().min(1).max(500).optional().openapi({ description: "Default 50." }),
});

const snapshotId = z
  .string()
  .regex(/^[\w-]{1,128}$/, "is no id of a snapshot")
  .optional();
const diffQuery = z.strictObject({ from: snapshotId, to: snapshotId });

const byId = { params: sessionIdParams };
const anId = ["session_not_found", "id_ambiguous"] as const;

/** Adds the routes of sessions. */
export function addSessionRoutes(routes: RouteTable, options: SessionRouteOptions): void {
  addCreation(routes, options);
  addReads(routes, options);
  addDiff(routes, options);
}

function addCreation(routes: RouteTable, options: SessionRouteOptions): void {
  routes.add(
    {
      method: "post",
      path: "/v1/sessions",
      access: "viewer",
      tag: "sessions",
      summary: "Creates a session, to be claimed by a worker.",
      description:
        "With an Idempotency-Key, a repeated request answers the first session and the header Idempotency-Replayed.",
      request: {
        headers: idempotencyHeaders,
        body: { required: true, content: { "application/json": { schema: sessionRequestSchema } } },
      },
      answers: { 201: answerJson("The pending session.", sessionSchema) },
      errors: [
        "prompt_empty",
        "prompt_too_large",
        "payload_too_large",
        "agent_unknown",
        "model_unknown",
        "model_key_missing",
        "script_invalid",
        "script_missing",
        "workspace_missing",
        "workspace_invalid",
        "workspace_outside_roots",
        "workspace_busy",
        "idempotency_key_reused",
      ],
    },
    (c, viewer) => createSession(c, viewer, options),
  );
}

async function createSession(
  c: AppContext,
  viewer: Viewer,
  options: SessionRouteOptions,
): Promise<Response> {
  const key = readIdempotencyKey(c);
  const body = await readBody(c, sessionBodySchema, SESSION_BYTES_MAX);
  const idempotency = key === undefined ? undefined : { key, requestHash: hashRequest(body) };
  const created =
    (await findFirst(viewer, options.store, idempotency)) ??
    (await options.store.createSession(await prepareSession(body, viewer, options), idempotency));
  if (created.isReplay) c.header("idempotency-replayed", "true");
  c.header("location", `/v1/sessions/${created.session.id}`);
  return c.json(toSessionJson(created.session), 201);
}

/** The first session of a key: what has vanished from the machine since then does not count. */
async function findFirst(
  viewer: Viewer,
  store: Store,
  idempotency: { readonly key: string; readonly requestHash: string } | undefined,
): Promise<{ readonly session: SessionSnapshot; readonly isReplay: true } | null> {
  if (idempotency === undefined) return null;
  const session = await store.findRepeated(viewer.userId, idempotency);
  return session && { session, isReplay: true };
}

function addReads(routes: RouteTable, { store }: SessionRouteOptions): void {
  routes.add(
    {
      method: "get",
      path: "/v1/sessions",
      access: "viewer",
      tag: "sessions",
      summary: "Lists sessions, newest first.",
      request: { query: listQuery },
      answers: { 200: answerJson("A page of sessions.", sessionListSchema) },
      errors: ["cursor_invalid"],
    },
    async (c, viewer) => {
      const page = await store.listSessions(readListQuery(c), viewer);
      const sessions = await showSessions(store, page.items);
      return c.json({ sessions, nextCursor: page.nextCursor });
    },
  );
  routes.add(
    {
      method: "get",
      path: "/v1/sessions/{id}",
      access: "viewer",
      tag: "sessions",
      summary: "Shows a session.",
      request: byId,
      answers: { 200: answerJson("The session.", sessionSchema) },
      errors: anId,
    },
    async (c, viewer) => {
      const session = await findRequested(c, store, viewer);
      return c.json((await showSessions(store, [session]))[0]);
    },
  );
}

function readListQuery(c: AppContext): SessionQuery {
  const query = checkInput(listQuery, c.req.query(), "query");
  const status = checkNames("status", query.status, SESSION_STATES);
  return {
    ...(status === undefined ? {} : { status: status as SessionState[] }),
    ...(query.agent === undefined ? {} : { agent: query.agent }),
    ...(query.cursor === undefined ? {} : { cursor: query.cursor }),
    ...(query.limit === undefined ? {} : { limit: query.limit }),
  };
}

function addDiff(routes: RouteTable, { store, diffs }: SessionRouteOptions): void {
  routes.add(
    {
      method: "get",
      path: "/v1/sessions/{id}/diff",
      access: "viewer",
      tag: "sessions",
      summary: "Shows what a session changed in its workspace.",
      request: { ...byId, query: diffQuery },
      answers: { 200: answerJson("The changes.", diffSchema) },
      errors: [...anId, "workspace_gone", "workspace_elsewhere", "snapshot_store_failed"],
    },
    async (c, viewer) => {
      const session = await findRequested(c, store, viewer);
      const { from, to } = checkInput(diffQuery, c.req.query(), "query");
      if (diffs === undefined) {
        throw new StintError("workspace_gone", "this server has no workspaces");
      }
      return c.json({ ...(await diffs.diff(session, from, to)) });
    },
  );
}
