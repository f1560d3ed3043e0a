import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Client, type ClientConfig } from "pg";
import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import { toConnectionError } from "./database-error.ts";
import { typeParsers } from "./type-parsers.ts";

/** The role as which a running Stint works; it changes tables only through functions. */
export const SERVICE_ROLE = "service_role";

const CONNECT_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_DELAY_MS = 10_000;

/** Where connections come from. */
export interface ConnectionSource {
  /** Asked for each new connection: an embedded Postgres may have moved to another port. */
  readonly resolveUrl: () => Promise<string>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Makes the socket of each connection, not connected yet. @default one of the network */
  readonly createSocket?: () => Duplex;
}

/** Settings of one connection, fixed when it is opened. */
export interface ConnectionSettings {
  /** Null: stay the role that connected. @default "service_role" */
  readonly role?: string | null;
  readonly statementTimeoutMs: number;
  /** How long a statement waits for a row. @default no limit */
  readonly lockTimeoutMs?: number;
  /** False for writes that may be lost in a crash. @default true */
  readonly isDurable?: boolean;
  /** Queries are sent without waiting for the answers of earlier ones. @default false */
  readonly pipeline?: boolean;
}

/** A URL without its password and options, for messages. */
export function describeHost(url: string): string {
  const parsed = parseUrl(url);
  const socket = parsed.searchParams.get("host");
  const host = socket ?? (parsed.hostname || "localhost");
  return `Postgres at ${host}:${parsed.port || "5432"}${parsed.pathname}`;
}

/**
 * Opens a connection with its settings in place. The caller listens to its `error` and `end`
 * events through `onConnectionLost`, and ends it.
 * @throws {database_unavailable} {database_auth_failed} {database_outdated} {config_invalid}
 */
export async function openConnection(
  source: ConnectionSource,
  settings: ConnectionSettings,
): Promise<Client> {
  const url = await source.resolveUrl();
  const where = describeHost(url);
  try {
    return await openAtStartup(source, url, settings);
  } catch (error) {
    if (!isOptionsRefused(error)) throw toConnectionError(error, where);
    source.logger.debug({ where }, "the pooler takes no startup options: setting them afterwards");
  }
  try {
    return await openThenSet(source, url, settings);
  } catch (error) {
    throw toConnectionError(error, where);
  }
}

/** Calls back once when the connection is gone, for whatever reason. */
export function onConnectionLost(client: Client, callback: (error?: Error) => void): void {
  let isTold = false;
  const tell = (error?: Error): void => {
    if (isTold) return;
    isTold = true;
    callback(error);
  };
  client.on("error", tell);
  client.on("end", () => tell());
}

/** Drops a connection at once, whatever it is doing; its queries fail. Idempotent. */
export function cutConnection(client: Client): void {
  const { connection } = client as unknown as { connection: { stream: Socket } };
  connection.stream.destroy();
}

/** Says goodbye; one that does not answer within `timeoutMs` is cut. Never rejects. */
export async function endConnection(
  client: Client,
  clock: Clock,
  timeoutMs = 1_000,
): Promise<void> {
  const timer = clock.setTimer(() => cutConnection(client), timeoutMs);
  await client.end().catch(() => cutConnection(client));
  timer.cancel();
}

/**
 * Runs work on a connection and cuts it when there is no answer in time: a peer that fell silent
 * without closing would otherwise hold the caller for a quarter of an hour.
 */
export async function withAnswerLimit<T>(
  client: Client,
  clock: Clock,
  limitMs: number,
  work: () => Promise<T>,
): Promise<T> {
  const timer = clock.setTimer(() => cutConnection(client), limitMs);
  try {
    return await work();
  } finally {
    timer.cancel();
  }
}

async function openAtStartup(
  source: ConnectionSource,
  url: string,
  settings: ConnectionSettings,
): Promise<Client> {
  const parsed = parseUrl(url);
  const own = listSettings(settings).map(([name, value]) => `-c ${name}=${value}`);
  const given = parsed.searchParams.get("options");
  parsed.searchParams.delete("options");
  const options = [...(given === null ? [] : [given]), ...own].join(" ");
  return start({ ...baseConfig(source, parsed, settings), options });
}

async function openThenSet(
  source: ConnectionSource,
  url: string,
  settings: ConnectionSettings,
): Promise<Client> {
  const client = await start(baseConfig(source, parseUrl(url), settings));
  try {
    for (const [name, value] of listSettings(settings)) {
      await client.query("select set_config($1, $2, false)", [name, value]);
    }
    return client;
  } catch (error) {
    cutConnection(client);
    throw error;
  }
}

async function start(config: ClientConfig): Promise<Client> {
  const client = new Client(config);
  client.on("error", () => undefined); // Lost connections are told by onConnectionLost.
  await client.connect();
  return client;
}

function baseConfig(
  { createSocket }: ConnectionSource,
  url: URL,
  settings: ConnectionSettings,
): ClientConfig {
  return {
    connectionString: url.href,
    application_name: "stint",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_DELAY_MS,
    types: typeParsers,
    pipeline: settings.pipeline ?? false,
    ...(createSocket && { stream: createSocket }),
  };
}

function listSettings(settings: ConnectionSettings): [name: string, value: string][] {
  const { role = SERVICE_ROLE, lockTimeoutMs, isDurable = true } = settings;
  return [
    ...(role === null ? [] : ([["role", role]] as [string, string][])),
    ["statement_timeout", String(settings.statementTimeoutMs)],
    ...(lockTimeoutMs === undefined
      ? []
      : ([["lock_timeout", String(lockTimeoutMs)]] as [string, string][])),
    ...(isDurable ? [] : ([["synchronous_commit", "off"]] as [string, string][])),
  ];
}

/** PgBouncer and its kin answer so to a startup packet with `options`. */
function isOptionsRefused(error: unknown): boolean {
  return error instanceof Error && /unsupported startup parameter/i.test(error.message);
}

function parseUrl(url: string): URL {
  try {
    const parsed = new URL(url);
    if (/^postgres(ql)?:$/.test(parsed.protocol)) return parsed;
  } catch {
    // Told below, without the text: it may hold a password.
  }
  throw new StintError("config_invalid", "DATABASE_URL is no URL like postgres://user@host/name");
}
