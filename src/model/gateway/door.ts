import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { StintError } from "../../core/error.ts";
import type { Logger } from "../../core/log.ts";
import { DOOR_ORIGIN_INSIDE, doorUrlsAt, type ModelDoor } from "../../core/model.ts";
import { findAccountOfRequest, refuseLogin } from "../account-login.ts";
import type { Egress } from "./egress.ts";
import { writeRefusal } from "./refusal.ts";
import { guessWire } from "./route.ts";

/** Longest path of a socket that every system and sandbox takes. */
export const SOCKET_PATH_BYTES_MAX = 100;

/** Time for a request's head, and for all of a request. */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 120_000;
const CONNECTIONS_MAX = 256;

/** What a sandbox has of its own, such as the server that an agent tests. */
const HOSTS_INSIDE = ["127.0.0.1", "localhost"];

/** What a door leads to. */
export interface DoorOptions {
  readonly handle: (request: Request) => Promise<Response>;
  readonly egress: Egress;
  /** The compiled bridge. */
  readonly bridgePath: string;
  readonly log: Logger;
  /** Told that an agent presents the login of an account where its token belongs. */
  readonly onLogin?: (error: StintError) => void;
  /** Where the private folder of the socket is made. @default the folder for temporary files */
  readonly runDir?: string;
}

/** A door that can be closed. */
export interface OpenDoor {
  readonly door: ModelDoor;
  /** Breaks off what is under way and removes the socket. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens the gateway of an attempt for programs: on a unix socket in a folder that only this user
 * may enter, and on a port of loopback. Both want the token; for the proxy a password does that opens
 * nothing else, since it stands in the environment of every command.
 */
export async function openDoor(options: DoorOptions): Promise<OpenDoor> {
  const [token, proxyToken] = [createToken(), createToken()];
  const folder = await makeFolder(options.runDir);
  const socketPath = join(folder, "model.sock");
  // Anybody on this host may knock at a port: without the token nobody ends an attempt by it.
  const onPortOptions = { ...options, onLogin: () => undefined };
  const tokens = { isToken: createTokenCheck(token), isProxyToken: createTokenCheck(proxyToken) };
  const servers = [serve(options, tokens), serve(onPortOptions, tokens)] as const;
  const [onSocket, onPort] = servers;
  const close = async (): Promise<void> => {
    options.egress.close();
    await Promise.all(servers.map(closeServer));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await listen(onSocket, { path: socketPath });
    await chmod(socketPath, 0o600);
    await listen(onPort, { port: 0, host: "127.0.0.1" });
  } catch (error) {
    await close();
    throw error;
  }
  const tcpUrl = `http://127.0.0.1:${(onPort.address() as AddressInfo).port}`;
  const door: ModelDoor = {
    socketPath,
    bridgePath: options.bridgePath,
    tcpUrl,
    token,
    urls: doorUrlsAt(tcpUrl),
    urlsAt: doorUrlsAt,
    proxyEnvironmentAt: (origin) => describeProxy(options.egress, origin, proxyToken),
  };
  let closing: Promise<void> | null = null;
  return { door, close: () => (closing ??= close()) };
}

function createToken(): string {
  return `stint-${randomBytes(32).toString("base64url")}`;
}

/** Programs differ in which case they heed; curl wants `http_proxy` in lower case. */
function describeProxy(egress: Egress, origin: string, token: string): Record<string, string> {
  if (!egress.isOpen) return {};
  const url = origin.replace("://", `://stint:${token}@`);
  // With a port where all of loopback would be too much: not every program reads that.
  const direct = new Set([...egress.listDirect(HOSTS_INSIDE), new URL(origin).host]);
  const values = { HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: [...direct].join(",") };
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => [
      [name, value],
      [name.toLowerCase(), value],
    ]),
  );
}

/** A long TMPDIR would make a path that no socket can have. */
async function makeFolder(runDir: string | undefined): Promise<string> {
  const places = [runDir ?? tmpdir(), "/tmp"];
  return mkdtemp(join(places.find(hasRoom) ?? "/tmp", "stint-"));
}

function hasRoom(place: string): boolean {
  return Buffer.byteLength(join(place, "stint-XXXXXX", "model.sock")) <= SOCKET_PATH_BYTES_MAX;
}

async function listen(
  server: Server,
  place: { readonly path: string } | { readonly port: number; readonly host: string },
): Promise<void> {
  server.listen(place);
  await once(server, "listening");
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}

interface TokenChecks {
  readonly isToken: (given: string | null) => boolean;
  readonly isProxyToken: (given: string | null) => boolean;
}

function serve(
  { handle, egress, log, onLogin }: DoorOptions,
  { isToken, isProxyToken }: TokenChecks,
): Server {
  const mayProxy = (request: IncomingMessage): boolean => {
    const password = readProxyPassword(request);
    return isProxyToken(password) || isToken(password);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      log.warn({ error: (error as Error).message }, "A request at the door of models failed");
      response.destroy();
    });
  });
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const target = readOwnTarget(request.url ?? "");
    const isProxied = /^[a-z]+:\/\//i.test(target);
    if (isProxied) {
      if (!mayProxy(request)) sendText(response, 407, "the proxy wants its token");
      else await egress.forward(request, response);
      return;
    }
    const url = `http://door${target}`;
    const isPath = target.startsWith("/") && URL.canParse(url);
    if (!isPath) {
      sendText(response, 400, "no path");
    } else if (!isToken(readToken(request, new URL(url)))) {
      const wire = guessWire(new URL(url).pathname);
      const login = readLogin(request);
      if (login) onLogin?.(login);
      const refusal = login
        ? writeRefusal(wire, 403, `${login.code}: ${login.message}. ${login.remedy}`)
        : writeRefusal(wire, 401, "The token of this attempt is missing.");
      await sendResponse(response, refusal);
      request.resume();
    } else {
      await answerHere(handle, url, request, response);
    }
  };
  server.on("connect", (request: IncomingMessage, socket, head: Buffer) => {
    if (mayProxy(request)) void egress.tunnel(request, socket, head);
    else socket.end("HTTP/1.1 407 Proxy Authentication Required\r\nconnection: close\r\n\r\n");
  });
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = CONNECTIONS_MAX;
  return server;
}

/** A program that leaves nothing out of its proxy asks for models, too, as if they were elsewhere. */
function readOwnTarget(target: string): string {
  return target.startsWith(`${DOOR_ORIGIN_INSIDE}/`)
    ? target.slice(DOOR_ORIGIN_INSIDE.length)
    : target;
}

async function answerHere(
  handle: DoorOptions["handle"],
  url: string,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const controller = new AbortController();
  response.once("close", () => {
    // One that got all of its answer has not gone away.
    if (!response.writableFinished) controller.abort(new Error("The client went away."));
  });
  const method = incoming.method ?? "GET";
  const hasBody = method !== "GET" && method !== "HEAD";
  const request = new Request(url, {
    method: isMethod(method) ? method : "POST",
    headers: copyHeaders(incoming),
    signal: controller.signal,
    ...(hasBody && {
      body: Readable.toWeb(incoming) as ReadableStream<Uint8Array>,
      duplex: "half",
    }),
  } as RequestInit);
  await sendResponse(response, await handle(request));
  // What is left of a body that was refused is read and dropped, so that the answer arrives.
  incoming.resume();
}

/** Methods that fetch forbids never come to a route anyway. */
function isMethod(method: string): boolean {
  return !/^(CONNECT|TRACE|TRACK)$/i.test(method);
}

function copyHeaders(incoming: IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (typeof value === "string") headers.set(name, value);
  }
  return headers;
}

/** Sends an answer piece by piece, as fast as the client takes it; one that breaks off breaks off. */
async function sendResponse(response: ServerResponse, answer: Response): Promise<void> {
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (answer.body === null) {
    response.end();
    return;
  }
  response.flushHeaders();
  const reader = answer.body.getReader();
  // Cancelling ends a read that waits, so nothing hangs on a client that has gone.
  const onClose = (): void => void reader.cancel().catch(() => undefined);
  response.once("close", onClose);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (response.destroyed) return;
      if (done) break;
      if (!response.write(value)) await waitWritable(response);
    }
    response.off("close", onClose);
    response.end();
  } catch {
    // The reason is recorded with the call; the client sees that the answer is cut.
    response.destroy();
  }
}

/** Resolves when more may be written, or when there is nobody any more. */
function waitWritable(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off("drain", settle);
      response.off("close", settle);
      resolve();
    };
    response.on("drain", settle);
    response.on("close", settle);
    if (response.destroyed) settle();
  });
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response
    .writeHead(status, { "content-type": "text/plain", connection: "close" })
    .end(`${text}\n`);
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function createTokenCheck(token: string): (given: string | null) => boolean {
  const expected = digest(token);
  return (given) => given !== null && timingSafeEqual(digest(given), expected);
}

/** Wherever the agents of each kind put their key. */
function readToken({ headers }: IncomingMessage, url: URL): string | null {
  const bearer = /^bearer\s+(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  const given = bearer ?? headers["x-api-key"] ?? headers["x-goog-api-key"] ?? headers["api-key"];
  return typeof given === "string" ? given : url.searchParams.get("key");
}

function readLogin({ headers }: IncomingMessage): StintError | null {
  const account = findAccountOfRequest(headers);
  return account === null ? null : refuseLogin(`the agent presents the login of ${account}`);
}

function readProxyPassword({ headers }: IncomingMessage): string | null {
  const [scheme, value = ""] = (headers["proxy-authorization"] ?? "").split(/\s+/);
  if (/^bearer$/i.test(scheme ?? "")) return value;
  const plain = Buffer.from(value, "base64").toString("utf8");
  return plain.includes(":") ? plain.slice(plain.indexOf(":") + 1) : null;
}
