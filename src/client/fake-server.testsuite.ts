/** A small server that speaks the HTTP interface from memory, for tests of the client and the CLI. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { JsonObject } from "../core/json.ts";
import type { Permission, Session, SessionEvent, SessionRequest } from "./wire.ts";

export const FAKE_TOKEN = "token-of-the-fake-server";

/** What one connection to a stream does; the default streams the log and stays open. */
export type StreamBehaviour = (connection: {
  readonly session: Session;
  readonly after: number;
  readonly response: ServerResponse;
  readonly server: FakeServer;
}) => void;

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: JsonObject | null;
}

export interface FakeServer {
  readonly url: string;
  readonly seen: SeenRequest[];
  /** Taken from the front by one stream connection each. */
  readonly behaviours: StreamBehaviour[];
  /** The next answer of any route but streams, once. */
  nextAnswer: { status: number; body: string; headers?: Record<string, string> } | null;
  diff: JsonObject;
  /** What the agent of any session asked leave for. */
  readonly permissions: Permission[];
  addSession(fields?: Partial<Session>): Session;
  session(id: string): Session;
  update(id: string, fields: Partial<Session>): void;
  append(id: string, type: SessionEvent["type"], data: JsonObject): SessionEvent;
  log(id: string): readonly SessionEvent[];
  close(): Promise<void>;
}

const TERMINAL = new Set(["completed", "failed", "expired"]);

export function sse(event: SessionEvent): string {
  return `id: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`;
}

export async function startFakeServer(): Promise<FakeServer> {
  const sessions = new Map<string, Session>();
  const logs = new Map<string, SessionEvent[]>();
  const listeners = new Set<(event: SessionEvent) => void>();
  const http = createServer((request, response) => {
    void answer(request, response);
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));

  const server: FakeServer = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    seen: [],
    behaviours: [],
    nextAnswer: null,
    permissions: [],
    diff: { files: [], additions: 0, deletions: 0, patch: "", truncated: false },
    addSession(fields = {}) {
      const session = makeSession(sessions.size + 1, fields);
      sessions.set(session.id, session);
      logs.set(session.id, []);
      return session;
    },
    session: (id) => sessions.get(id) as Session,
    update(id, fields) {
      sessions.set(id, { ...server.session(id), ...fields });
    },
    append(id, type, data) {
      const log = logs.get(id) as SessionEvent[];
      const event = makeEvent(id, log.length + 1, type, data);
      log.push(event);
      server.update(id, { lastSeq: event.seq });
      if (type === "state_changed") server.update(id, { status: data["to"] as Session["status"] });
      for (const listener of listeners) listener(event);
      return event;
    },
    log: (id) => logs.get(id) ?? [],
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve());
        http.closeAllConnections();
      }),
  };

  function find(prefix: string): Session | null {
    const found = [...sessions.values()].filter((session) => session.id.startsWith(prefix));
    return found.length === 1 ? (found[0] as Session) : null;
  }

  function stream(session: Session, after: number, response: ServerResponse): void {
    const behaviour = server.behaviours.shift();
    if (behaviour) return behaviour({ session, after, response, server });
    const log = server.log(session.id);
    if (TERMINAL.has(session.status) && after >= log.length) {
      response.writeHead(204).end();
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": hello\n\n");
    const send = (event: SessionEvent): void => {
      if (event.sessionId !== session.id || event.seq <= after) return;
      response.write(sse(event));
      if (TERMINAL.has(String(event.data["to"]))) response.end();
    };
    for (const event of log) send(event);
    listeners.add(send);
    response.on("close", () => listeners.delete(send));
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://fake");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const seen: SeenRequest = {
      method: request.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: text === "" ? null : (JSON.parse(text) as JsonObject),
    };
    server.seen.push(seen);
    if (server.nextAnswer && !url.pathname.endsWith("/stream")) {
      const { status, body, headers = { "content-type": "application/json" } } = server.nextAnswer;
      server.nextAnswer = null;
      response.writeHead(status, headers).end(body);
      return;
    }
    if (request.headers.authorization !== `Bearer ${FAKE_TOKEN}`) {
      return problem(response, 401, "unauthorized", "the token is wrong");
    }
    route(seen, response);
  }

  function route(seen: SeenRequest, response: ServerResponse): void {
    const [, , room, id, verb] = seen.path.split("/");
    if (seen.path === "/healthz") return json(response, 200, { status: "ok" });
    if (room === "workers") return json(response, 200, { workers: [makeWorker()] });
    if (room === "stats") return json(response, 200, makeStats([...sessions.values()]));
    if (room !== "sessions") return problem(response, 404, "not_found", "there is no such route");
    if (id === undefined) return collection(seen, response);
    const session = find(decodeURIComponent(id));
    if (!session) return problem(response, 404, "session_not_found", `there is no session ${id}`);
    item(seen, session, verb, response);
  }

  function collection(seen: SeenRequest, response: ServerResponse): void {
    if (seen.method === "POST") {
      const body = seen.body as unknown as SessionRequest;
      const session = server.addSession({ prompt: body.prompt, agent: body.agent ?? "builtin" });
      return json(response, 201, session);
    }
    const wanted = seen.query.get("status")?.split(",");
    const all = [...sessions.values()]
      .reverse()
      .filter((session) => !wanted || wanted.includes(session.status));
    const from = Number(seen.query.get("cursor") ?? 0);
    const to = from + Number(seen.query.get("limit") ?? 50);
    const nextCursor = to < all.length ? String(to) : null;
    json(response, 200, { sessions: all.slice(from, to), nextCursor });
  }

  function item(
    seen: SeenRequest,
    session: Session,
    verb: string | undefined,
    response: ServerResponse,
  ): void {
    const id = session.id;
    const after = Number(seen.query.get("after") ?? 0);
    if (verb === "stream") return stream(session, after, response);
    if (verb === "events") {
      const limit = Number(seen.query.get("limit") ?? 500);
      const types = seen.query.get("type")?.split(",");
      const rest = server
        .log(id)
        .filter((event) => event.seq > after && (!types || types.includes(event.type)));
      const events = rest.slice(0, limit);
      const nextCursor = rest.length > limit ? String(events.at(-1)?.seq) : null;
      return json(response, 200, { events, nextCursor });
    }
    if (verb === "permissions") return permission(seen, response);
    if (verb === "diff") return json(response, 200, server.diff);
    if (verb === "messages") {
      server.append(id, "user_message", { text: seen.body?.["text"] });
      return json(response, 200, server.session(id));
    }
    if (verb !== undefined) return command(session, verb, response);
    if (seen.method !== "DELETE") return json(response, 200, session);
    if (!TERMINAL.has(session.status)) {
      return problem(response, 409, "session_not_terminal", "the session has not ended");
    }
    sessions.delete(id);
    response.writeHead(204).end();
  }

  function permission(seen: SeenRequest, response: ServerResponse): void {
    const { permissions } = server;
    const start = seen.path.split("/")[5];
    if (start === undefined) return json(response, 200, { permissions });
    const place = permissions.findIndex(({ id }) => id.startsWith(start));
    const asked = permissions[place];
    if (!asked) return problem(response, 404, "permission_not_found", `nothing asked ${start}`);
    const status = seen.body?.["decision"] === "allow" ? "allowed" : "denied";
    json(response, 200, (permissions[place] = { ...asked, status, decidedBy: "user" }));
  }

  function command(session: Session, verb: string, response: ServerResponse): void {
    const to = { pause: "paused", resume: "paused", cancel: "failed" }[verb] ?? "";
    const isRefused = { pause: ["pending"], resume: ["pending", "active"] }[verb];
    if (TERMINAL.has(session.status) || isRefused?.includes(session.status)) {
      const text = `Invalid state transition: ${session.status} → ${to}`;
      return problem(response, 409, "illegal_transition", text);
    }
    server.update(session.id, { status: to as Session["status"] });
    json(response, 200, server.session(session.id));
  }

  return server;
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function problem(response: ServerResponse, status: number, code: string, detail: string): void {
  const body = { type: `urn:stint:error:${code}`, title: code, status, detail, code };
  response
    .writeHead(status, { "content-type": "application/problem+json" })
    .end(JSON.stringify(body));
}

export function makeEvent(
  sessionId: string,
  seq: number,
  type: SessionEvent["type"],
  data: JsonObject,
): SessionEvent {
  const id = `00000000-0000-4000-8000-${String(seq).padStart(12, "0")}`;
  return { id, sessionId, seq, type, data, createdAt: "2026-01-02T03:04:05.678Z" };
}

function makeSession(number: number, fields: Partial<Session>): Session {
  return {
    id: `${number.toString(16).padStart(8, "a")}-0000-4000-8000-000000000000`,
    userId: "00000000-0000-4000-8000-000000000001",
    status: "pending",
    reason: "created",
    waitingFor: null,
    resumeAt: null,
    frozenUntil: null,
    epoch: 0,
    workerId: null,
    agent: "builtin",
    model: "scripted",
    prompt: "Fix the failing test",
    workspace: {
      ...{ mode: "copy", source: null, ref: null, path: null },
      ...{ host: null, snapshotId: null, snapshotStore: null },
    },
    recovery: "restore",
    limits: {
      idleTimeoutMs: 1_800_000,
      pausedTimeoutMs: 604_800_000,
      queueTimeoutMs: 86_400_000,
      deadlineMs: null,
      commandTimeoutMs: 600_000,
      modelCallTimeoutMs: 600_000,
      outputBytesMax: 1_048_576,
      maxIterations: 100,
      tokensMax: null,
      costUsdMax: null,
      modelCallsMax: null,
    },
    keepOpen: false,
    metadata: {},
    permissions: [],
    sandbox: null,
    stats: {
      iterations: 0,
      inputTokens: 0,
      outputTokens: 0,
      cacheReadTokens: 0,
      cacheWriteTokens: 0,
      reasoningTokens: 0,
      toolCalls: 0,
      modelCalls: 0,
      costUsd: null,
    },
    error: null,
    lastSeq: 0,
    parentId: null,
    createdAt: "2026-01-02T03:04:05.678Z",
    startedAt: null,
    pausedAt: null,
    completedAt: null,
    lastActivityAt: "2026-01-02T03:04:05.678Z",
    activeMs: 0,
    attempts: 0,
    ...fields,
  };
}

function makeWorker(): JsonObject {
  return {
    id: "11111111-0000-4000-8000-000000000000",
    name: "wkr_local",
    host: "here",
    pid: 4242,
    version: "0.1.0",
    slots: 2,
    agents: ["builtin"],
    activeSessions: 1,
    startedAt: "2026-01-02T03:04:05.678Z",
    heartbeatAt: "2026-01-02T03:04:05.678Z",
    leaseExpiresAt: "2026-01-02T03:04:20.678Z",
    isLive: true,
  };
}

function makeStats(sessions: readonly Session[]): JsonObject {
  const counts = { pending: 0, active: 0, paused: 0, completed: 0, failed: 0, expired: 0 };
  for (const session of sessions) counts[session.status] += 1;
  return {
    sessions: counts,
    averageDurationMs: 61_000,
    expirationRatePercent: 2.5,
    eventVolume: { terminal: 12 },
    workers: 1,
    slots: 2,
  };
}
