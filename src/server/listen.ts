/** From an application to a listening port, and back. */
import { createServer as createHttpServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import { isLoopback } from "./origin.ts";
import { SUBSCRIBERS_MAX } from "./stream-pool.ts";

/** The port of a server that was told none. */
export const DEFAULT_PORT = 4_700;

/** Ports tried one after the other when none was asked for. */
const PORTS_TRIED = 100;

/** Time for a client to send a request whole, and its headers. */
const REQUEST_MS_MAX = 30_000;
const HEADERS_MS_MAX = 10_000;

/** Connections beside those of the event streams. */
const CONNECTIONS_MAX = SUBSCRIBERS_MAX + 1_000;

/** Where to listen. */
export interface ListenOptions {
  readonly host: string;
  /** 0 takes any free one. @default 4700 */
  readonly port?: number;
  /** Whether a person chose the port; otherwise the next free one is taken. @default false */
  readonly portIsExplicit?: boolean;
}

/** A server that listens. */
export interface ListeningServer {
  /** Where to reach it, without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** Stops within the bound that the server was created with; idempotent. */
  close(): Promise<void>;
}

/** What a listening server serves, and how it stops. */
export interface ListenerOptions {
  readonly fetch: Parameters<typeof getRequestListener>[0];
  /** Answers what is no valid request. */
  readonly answerError: (error: unknown) => Response;
  readonly clock: Clock;
  /** Called at the start of a close: ends what would never end by itself. */
  readonly onClose: () => void;
  /** After this time connections that are still open are cut. */
  readonly closeMs: number;
}

/**
 * Listens for requests.
 * @throws {port_taken} when the chosen port, or every one tried, is in use.
 * @throws {config_invalid} when the host is no address of this machine.
 */
export async function listenForRequests(
  options: ListenOptions,
  listener: ListenerOptions,
): Promise<ListeningServer> {
  const { host, port = DEFAULT_PORT, portIsExplicit = false } = options;
  const server = createNodeServer(listener);
  const lastPort = portIsExplicit || port === 0 ? port : Math.min(port + PORTS_TRIED - 1, 65_535);
  for (let candidate = port; !(await tryListen(server, host, candidate)); candidate++) {
    if (candidate === lastPort) throw portTaken(host, port, lastPort);
  }
  const address = server.address() as AddressInfo;
  let closing: Promise<void> | null = null;
  return {
    url: `http://${reachableName(host)}:${address.port}`,
    port: address.port,
    close: () => (closing ??= closeServer(server, listener)),
  };
}

function createNodeServer({ fetch, answerError }: ListenerOptions): Server {
  const listener = getRequestListener(fetch, {
    overrideGlobalObjects: false,
    errorHandler: answerError,
  });
  const server = createHttpServer(
    { requestTimeout: REQUEST_MS_MAX, headersTimeout: HEADERS_MS_MAX, keepAlive: true },
    (incoming, outgoing) => void listener(incoming, outgoing),
  );
  server.maxConnections = CONNECTIONS_MAX;
  // Once it listens no more, a connection whose answer has ended is of no use to anybody.
  server.on("request", (_, outgoing) =>
    outgoing.once("close", () => server.listening || server.closeIdleConnections()),
  );
  return server;
}

/** True when it listens; false when the port is in use. */
function tryListen(server: Server, host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      server.off("listening", onListening);
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(explainListenError(error, host, port));
    };
    const onListening = (): void => {
      server.off("error", onError);
      resolve(true);
    };
    server.once("error", onError);
    server.once("listening", onListening);
    server.listen(port, host.replace(/^\[|\]$/g, ""));
  });
}

async function closeServer(server: Server, { clock, onClose, closeMs }: ListenerOptions) {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  onClose();
  const timer = clock.setTimer(() => server.closeAllConnections(), closeMs);
  await closed;
  timer.cancel();
}

function portTaken(host: string, port: number, lastPort: number): StintError {
  const ports = port === lastPort ? `port ${port}` : `every port from ${port} to ${lastPort}`;
  return new StintError("port_taken", `${ports} of ${host} is in use`, { fields: { host, port } });
}

function explainListenError(error: NodeJS.ErrnoException, host: string, port: number): StintError {
  return new StintError("config_invalid", `cannot listen on ${host}:${port}: ${error.message}`, {
    cause: error,
  });
}

/** The name under which this machine reaches a server that listens on `host`. */
function reachableName(host: string): string {
  const name = host.replace(/^\[|\]$/g, "");
  if (name === "0.0.0.0" || name === "::") return "127.0.0.1";
  return name.includes(":") && !isLoopback(name) ? `[${name}]` : name === "::1" ? "[::1]" : name;
}
