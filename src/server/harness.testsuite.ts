/** A server on a store in memory, with time and log in the hands of the test. */
import { randomUUID } from "node:crypto";
import { loadConfig } from "../core/config.ts";
import { ManualClock } from "../core/manual-clock.ts";
import { LOCAL_USER_ID } from "../core/session.ts";
import type { Viewer } from "../core/store.ts";
import { createServer, type ServerOptions, type StintServer } from "./app.ts";
import { createPrometheusMetrics } from "./prometheus.ts";
import { MemoryStore } from "./memory-store.testsuite.ts";

export const TOKEN = "owner-token-0123456789";
export const STRANGER_TOKEN = "stranger-token-0123456789";

/** A user who is no operator and owns nothing. */
const STRANGER: Viewer = { userId: randomUUID(), role: "authenticated" };

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Harness extends StintServer {
  readonly options: ServerOptions;
  readonly store: MemoryStore;
  readonly clock: ManualClock;
  readonly lines: LogLine[];
  /** Requests as the owner; an object becomes a JSON body. */
  call(method: string, path: string, body?: unknown, headers?: object): Promise<Response>;
  /** Creates a session and answers its id. */
  create(body?: object): Promise<string>;
}

export function startHarness(overrides: Partial<ServerOptions> = {}): Harness {
  const store = new MemoryStore();
  const clock = new ManualClock();
  const lines: LogLine[] = [];
  const write = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, message, fields: { ...fields } });
  const options: ServerOptions = {
    store: store.asStore(),
    config: loadConfig(),
    clock,
    logger: {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
    },
    metrics: createPrometheusMetrics(),
    agents: ["builtin", "acp"],
    token: TOKEN,
    authenticator: {
      authenticate: (token) => Promise.resolve(VIEWERS[token] ?? null),
    },
    version: "0.0.0",
    ...overrides,
  };
  const server = createServer(options);
  const call: Harness["call"] = async (method, path, body, headers) =>
    await server.app.request(path, {
      method,
      headers: {
        authorization: `Bearer ${TOKEN}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
  const create = async (body: object = {}): Promise<string> => {
    const response = await call("POST", "/v1/sessions", { prompt: "do it", ...body });
    return ((await response.json()) as { id: string }).id;
  };
  return { ...server, options, store, clock, lines, call, create };
}

const VIEWERS: Readonly<Record<string, Viewer>> = {
  [TOKEN]: { userId: LOCAL_USER_ID, role: "operator" },
  [STRANGER_TOKEN]: STRANGER,
};

/** Waits until something is so, giving way to everything else in between. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
