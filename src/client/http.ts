import { cancelOnAbort, linkAbort } from "./abort-link.ts";
import { readProblem, StintApiError } from "./api-error.ts";

/** Largest answer that is read into memory, in bytes. */
const ANSWER_BYTES_MAX = 64 * 1_048_576;

/** Longest wait for an answer; streams have none. */
const ANSWER_TIMEOUT_MS = 30_000;

/** How to reach a server. */
export interface Transport {
  /** Base URL, without a slash at the end. */
  readonly url: string;
  readonly token: string | null;
  readonly fetch: typeof globalThis.fetch;
}

/** One call of the interface. */
export interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  /** Path from the base URL, with a leading slash. */
  readonly path: string;
  /** Left out where undefined; lists are joined by commas. */
  readonly query?: Readonly<Record<string, string | number | readonly string[] | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Makes a transport. @throws {TypeError} for a URL that is none. */
export function createTransport(options: {
  readonly url: string;
  readonly token?: string | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}): Transport {
  const url = new URL(options.url);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new TypeError(`the URL of a server starts with http:// or https://: ${options.url}`);
  }
  const fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  const base = `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
  return { url: base, token: options.token ?? null, fetch };
}

/**
 * Makes a call and reads its JSON answer; undefined where the answer has no body.
 * @throws {StintApiError} for a refusal, and as `server_unreachable` where nothing answers.
 */
export async function requestJson<T>(transport: Transport, call: Call): Promise<T> {
  const deadline = new AbortController();
  const unlink = linkAbort(deadline, call.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS));
  try {
    const response = await send(
      transport,
      { ...call, signal: deadline.signal },
      "application/json",
    );
    const body = await readBody(transport, response, deadline.signal);
    if (!response.ok) throw readProblem(response, body);
    return body === "" ? (undefined as T) : parseAnswer<T>(transport, response, body);
  } finally {
    unlink();
  }
}

function parseAnswer<T>(transport: Transport, response: Response, body: string): T {
  try {
    return JSON.parse(body) as T;
  } catch (cause) {
    throw new StintApiError({
      code: "server_unreachable",
      message: `${transport.url} answers, but not as a Stint server`,
      status: response.status,
      retryable: false,
      cause,
    });
  }
}

/**
 * Opens a stream; the body of the answer is still to be read. Null for 204: there is no more.
 * @throws {StintApiError} as `requestJson` does.
 */
export async function openStream(
  transport: Transport,
  call: Call & { readonly signal: AbortSignal },
): Promise<Response | null> {
  const response = await send(transport, call, "text/event-stream");
  if (response.status === 204) return null;
  if (response.ok && response.headers.get("content-type")?.startsWith("text/event-stream")) {
    return response;
  }
  const body = await readBody(transport, response, call.signal);
  if (!response.ok) throw readProblem(response, body);
  throw new StintApiError({
    code: "server_unreachable",
    message: `${transport.url} answers, but not with a stream of events`,
    status: response.status,
    retryable: false,
  });
}

async function send(transport: Transport, call: Call, accept: string): Promise<Response> {
  const headers: Record<string, string> = { accept, ...call.headers };
  if (transport.token !== null) headers["authorization"] = `Bearer ${transport.token}`;
  if (call.body !== undefined) headers["content-type"] = "application/json";
  try {
    return await transport.fetch(formatUrl(transport.url, call), {
      method: call.method,
      headers,
      // A redirect would carry the token elsewhere.
      redirect: "error",
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      ...(call.signal ? { signal: call.signal } : {}),
    });
  } catch (error) {
    throw toNetworkError(transport.url, error, call.signal);
  }
}

function formatUrl(base: string, call: Call): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(call.query ?? {})) {
    if (value === undefined) continue;
    params.set(key, typeof value === "object" ? value.join(",") : String(value));
  }
  const query = params.toString();
  return `${base}${call.path}${query === "" ? "" : `?${query}`}`;
}

async function readBody(
  transport: Transport,
  response: Response,
  signal: AbortSignal,
): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  const release = cancelOnAbort(reader, signal);
  let text = "";
  let bytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done && signal.aborted) throw signal.reason;
      if (done) return text + decoder.decode();
      bytes += value.byteLength;
      if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer is over ${ANSWER_BYTES_MAX} bytes`);
      text += decoder.decode(value, { stream: true });
    }
  } catch (error) {
    await reader.cancel().catch(() => undefined); // the connection is broken already
    throw toNetworkError(transport.url, error, signal);
  } finally {
    release();
  }
}

/**
 * What a failed connection means to the caller. An abort by the caller's own signal stays what it is.
 */
export function toNetworkError(url: string, error: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted && !isTimeout(signal.reason)) return signal.reason;
  if (error instanceof StintApiError) return error;
  const why = isTimeout(error) ? "no answer in time" : describeCause(error);
  return new StintApiError({
    code: "server_unreachable",
    message: `no Stint server answers at ${url} (${why})`,
    status: 0,
    cause: error,
  });
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === "TimeoutError";
}

/** `fetch failed` says nothing; its cause does. */
function describeCause(error: unknown): string {
  const cause: unknown = error instanceof Error ? (error.cause ?? error) : error;
  const code = (cause as { code?: unknown } | null)?.code;
  if (typeof code === "string") return KNOWN_CAUSES[code] ?? code;
  return cause instanceof Error && cause.message !== "" ? cause.message : "the connection failed";
}

const KNOWN_CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection lost",
  UND_ERR_SOCKET: "connection lost",
  ENOTFOUND: "no such host",
  ETIMEDOUT: "no answer in time",
  EHOSTUNREACH: "no route to the host",
};
