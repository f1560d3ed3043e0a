/** The routes that read logs: a page at a time, or as a stream. */
import { z } from "@hono/zod-openapi";
import type { Clock } from "../core/clock.ts";
import { parseSeq } from "../core/cursor.ts";
import { StintError } from "../core/error.ts";
import { SESSION_EVENT_TYPES } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { SessionSnapshot } from "../core/session.ts";
import { isTerminal } from "../core/state.ts";
import type { EventRow, Store, Viewer } from "../core/store.ts";
import { toEventJson } from "./event-json.ts";
import { LogReader, type LogSource } from "./log-reader.ts";
import { answerJson, type AppContext, type AppEnv, type RouteTable } from "./route.ts";
import { eventListSchema } from "./schema.ts";
import { findRequested, sessionIdParams } from "./session-id.ts";
import type { StreamPool } from "./stream-pool.ts";
import { checkInput, checkNames } from "./validation.ts";

/** What the routes of events need. */
export interface EventRouteOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly streams: StreamPool;
}

const PAGE_EVENTS_DEFAULT = 500;
const PAGE_EVENTS_MAX = 5_000;

/** A page ends early when its payloads have this size; its cursor leads on. */
const PAGE_CHARS = 8_388_608;

const after = z.string().optional().openapi({ description: "The seq to read on from." });

const eventQuery = z.strictObject({
  after,
  limit: z.coerce.number().int().min(1).max(PAGE_EVENTS_MAX).optional(),
  type: z
    .string()
    .optional()
    .openapi({ description: `Types, separated by commas: ${SESSION_EVENT_TYPES.join(", ")}.` }),
});

/** Adds the routes of events. */
export function addEventRoutes(routes: RouteTable, options: EventRouteOptions): void {
  routes.add(
    {
      method: "get",
      path: "/v1/sessions/{id}/events",
      access: "viewer",
      tag: "events",
      summary: "Reads a page of a session's log, in order of seq.",
      request: { params: sessionIdParams, query: eventQuery },
      answers: { 200: answerJson("A page of events.", eventListSchema) },
      errors: ["session_not_found", "id_ambiguous", "cursor_invalid", "resync_required"],
    },
    (c, viewer) => answerPage(c, viewer, options),
  );
  routes.add(
    {
      method: "get",
      path: "/v1/sessions/{id}/stream",
      access: "viewer-by-query",
      tag: "events",
      summary: "Streams a session's log and what comes, until its terminal event.",
      description:
        "Server-sent events without a name: the id is the seq, the data an Event. Last-Event-ID goes before `after`.",
      request: {
        params: sessionIdParams,
        query: z.object({ after }),
        headers: z.object({ "last-event-id": z.string().optional() }),
      },
      answers: {
        200: {
          description: "A stream of events.",
          content: { "text/event-stream": { schema: z.string() } },
        },
        204: { description: "The session has ended and the reader has all of it: come no more." },
      },
      errors: [
        "session_not_found",
        "id_ambiguous",
        "cursor_invalid",
        "resync_required",
        "overloaded",
      ],
    },
    (c, viewer) => answerStream(c, viewer, options),
  );
}

async function answerPage(
  c: AppContext,
  viewer: Viewer,
  { store }: EventRouteOptions,
): Promise<Response> {
  const session = await findRequested(c, store, viewer);
  const query = checkInput(eventQuery, c.req.query(), "query");
  const types = checkNames("type", query.type, SESSION_EVENT_TYPES);
  const source = { store, sessionId: session.id, viewer, ...(types && { types }) };
  const page = await readPage(
    source,
    checkCursor(session, query.after),
    query.limit ?? PAGE_EVENTS_DEFAULT,
  );
  const events = page.rows.map((row) => toEventJson(session.id, row)).join(",");
  c.header("content-type", "application/json");
  return c.body(`{"events":[${events}],"nextCursor":${JSON.stringify(page.nextCursor)}}`);
}

async function readPage(
  source: LogSource,
  cursor: number,
  limit: number,
): Promise<{ rows: readonly EventRow[]; nextCursor: string | null }> {
  const reader = new LogReader(source, cursor);
  const rows: EventRow[] = [];
  let chars = 0;
  for (;;) {
    // One more than asked for: it tells whether anything follows.
    const slice = await reader.readSlice(limit + 1 - rows.length);
    rows.push(...slice.rows);
    chars += slice.rows.reduce((sum, row) => sum + row.dataJson.length, 0);
    if (rows.length > limit) return cutPage(rows.slice(0, limit));
    if (!slice.isFull) return { rows, nextCursor: null };
    if (chars >= PAGE_CHARS) return cutPage(rows);
  }
}

function cutPage(rows: readonly EventRow[]): { rows: readonly EventRow[]; nextCursor: string } {
  return { rows, nextCursor: String(rows.at(-1)?.seq ?? 0) };
}

async function answerStream(
  c: AppContext,
  viewer: Viewer,
  { store, clock, logger, streams }: EventRouteOptions,
): Promise<Response> {
  const session = await findRequested(c, store, viewer);
  const cursor = checkCursor(session, c.req.header("last-event-id") || c.req.query("after"));
  // EventSource reconnects for ever, unless it is told that nothing will come.
  if (isTerminal(session.status) && cursor >= session.lastSeq) return c.body(null, 204);
  const headers = {
    "content-type": "text/event-stream",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
  };
  if (c.req.method === "HEAD") return c.body(null, 200, headers);
  const stream = await streams.open({
    store,
    clock,
    logger,
    sessionId: session.id,
    viewer,
    after: cursor,
    disconnect: () => {
      // Called directly, without a connection, an application has no environment at all.
      const env = c.env as AppEnv["Bindings"] | undefined;
      env?.outgoing?.destroy();
    },
  });
  return c.body(stream.body, 200, headers);
}

/** @throws {cursor_invalid} when it is no place in this log: no event has been there. */
function checkCursor(session: SessionSnapshot, given: string | undefined): number {
  const cursor = parseSeq(given);
  if (cursor <= session.lastSeq) return cursor;
  throw new StintError("cursor_invalid", `the log of ${session.id} ends before ${cursor}`, {
    fields: { lastSeq: session.lastSeq },
  });
}
