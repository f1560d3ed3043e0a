import { resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { StintError } from "../../core/error.ts";
import { readSystemIdentifier } from "./cluster.ts";
import {
  DATABASE_NAME,
  type DataFolder,
  prepareDataFolder,
  readErrno,
  readPassword,
} from "./data-folder.ts";
import type { SandboxProbe } from "./sandbox-probe.ts";
import { openSupervisorLink, type SupervisorLink } from "./supervisor-link.ts";
import { createSupervisorStarter } from "./supervisor-start.ts";

/** Covers a first start on a slow disk, and a recovery after a crash. */
const ATTACH_TIMEOUT_MS = 180_000;
const VERIFY_TIMEOUT_MS = 10_000;
const RETRY_MS = 20;

/** How to attach to the embedded Postgres. */
export interface AttachOptions {
  /** The data folder (STINT_DATA); created where it is missing. */
  readonly dataDir: string;
  /** Told what is being done, in words for a person; several times at a first start. */
  readonly onProgress?: (step: string) => void;
  /**
   * How long Postgres stays up after its last holder has left, in milliseconds. Where holders
   * differ, the one who came last decides.
   * @default 5_000
   */
  readonly stopDelayMs?: number;
  /**
   * How long a supervisor that accepts us may keep silent, in milliseconds. It greets at once.
   * @default 10_000
   */
  readonly greetingTimeoutMs?: number;
  /** Facts about the host to take as given. For tests. */
  readonly probe?: Partial<SandboxProbe>;
}

/** A hold on the embedded Postgres of a data folder. Postgres runs while anybody has one. */
export interface EmbeddedPostgres {
  /** URL of the database, with the password of its superuser. Good until the hold is lost. */
  readonly url: string;
  /** The number that Postgres gave the data when it was made. */
  readonly systemIdentifier: string;
  /** This call started Postgres. */
  readonly started: boolean;
  /** This call made the database. */
  readonly firstStart: boolean;
  /** Gives up the hold; so does the end of the process, however it comes. Idempotent. */
  release(): Promise<void>;
  /**
   * Calls the listener once when Postgres or its supervisor is gone though we held it: attach
   * anew; the URL may have changed. Never called after `release`.
   */
  onLost(listener: () => void): void;
}

/**
 * Attaches to the embedded Postgres of a data folder, and starts it where it does not run. Any
 * number of processes may do so at once: one Postgres serves them all, and the death of one of
 * them disturbs no other.
 *
 * @throws {data_dir_unusable} {disk_full} {postgres_missing} {database_newer} {database_outdated}
 *   {database_auth_failed} {database_unavailable}
 */
export async function attachEmbeddedPostgres(options: AttachOptions): Promise<EmbeddedPostgres> {
  requireSupportedPlatform();
  const { stopDelayMs = 5_000, greetingTimeoutMs = 10_000 } = options;
  const { probe = {}, onProgress = () => {} } = options;
  const folder = prepareDataFolder(resolve(options.dataDir));
  const starter = createSupervisorStarter(folder, { stopDelayMs, probe });
  const deadline = performance.now() + ATTACH_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const link = await openSupervisorLink(folder, { stopDelayMs, greetingTimeoutMs, onProgress });
    if (link === undefined) {
      starter.start();
      await delay(RETRY_MS);
    } else if (await verifyLink(folder, link)) {
      return describePostgres(folder, link, starter.hasStarted(link.ready.supervisorPid));
    }
  }
  throw new StintError("database_unavailable", "The embedded Postgres did not start in 3 minutes", {
    fields: { log: folder.supervisorLog },
    remedy: `Read ${folder.postgresLog} and ${folder.supervisorLog}.`,
  });
}

function requireSupportedPlatform(): void {
  if (process.platform !== "win32") return;
  throw new StintError("postgres_missing", "The embedded Postgres does not run on Windows yet", {
    remedy: "Set DATABASE_URL, or run stint in WSL.",
  });
}

function describePostgres(
  folder: DataFolder,
  link: SupervisorLink,
  started: boolean,
): EmbeddedPostgres {
  const { port, systemIdentifier, firstStart } = link.ready;
  return {
    url: buildUrl(folder, port),
    systemIdentifier,
    started,
    firstStart: started && firstStart,
    release: () => link.close(),
    onLost: (listener) => link.onLost(listener),
  };
}

function buildUrl(folder: DataFolder, port: number): string {
  const password = readPassword(folder);
  if (password === undefined) throw describeWrongPassword(folder);
  return `postgres://${DATABASE_NAME}:${password}@127.0.0.1:${port}/${DATABASE_NAME}`;
}

/**
 * Makes sure that what answers at the port is the Postgres that runs this folder's data. Returns
 * false when the supervisor ended meanwhile. Closes the link unless it returns true.
 */
async function verifyLink(folder: DataFolder, link: SupervisorLink): Promise<boolean> {
  const deadline = performance.now() + VERIFY_TIMEOUT_MS;
  try {
    while (!link.isClosed()) {
      const served = await readServedIdentifier(buildUrl(folder, link.ready.port)).catch(
        (error: unknown) => {
          if (performance.now() < deadline && isPassing(error)) return undefined;
          throw describeRefusal(folder, error);
        },
      );
      if (served !== undefined) {
        requireSameData(folder, [link.ready.systemIdentifier, served]);
        return true;
      }
      await delay(RETRY_MS);
    }
    return false;
  } catch (error) {
    await link.close();
    throw error;
  }
}

async function readServedIdentifier(url: string): Promise<string> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on("error", () => {
    // The query below fails with it.
  });
  try {
    await client.connect();
    const { rows } = await client.query<{ id: string }>(
      "select system_identifier::text as id from pg_control_system()",
    );
    return rows[0]?.id ?? "";
  } finally {
    await client.end().catch(() => undefined); // It may never have been connected.
  }
}

function requireSameData(folder: DataFolder, identifiers: readonly string[]): void {
  const onDisk = readSystemIdentifier(folder);
  if (identifiers.every((identifier) => identifier === onDisk)) return;
  throw new StintError(
    "database_unavailable",
    `The Postgres that answers for ${folder.root} runs other data than ${folder.clusterDir} holds`,
    {
      fields: { onDisk, served: identifiers.join(", ") },
      remedy: "Stop the other stint processes of this data folder, then try again.",
    },
  );
}

/**
 * Whether trying again soon makes sense: Postgres is starting, stopping or coming back. Only what
 * it says about login and database stays as it is.
 */
function isPassing(error: unknown): boolean {
  return !(error instanceof StintError) && !/^(28|3D|42)/.test(readErrno(error) ?? "");
}

function describeRefusal(folder: DataFolder, error: unknown): StintError {
  if (error instanceof StintError) return error;
  if (readErrno(error) === "28P01") return describeWrongPassword(folder, error);
  const reason = error instanceof Error ? error.message : String(error);
  return new StintError("database_unavailable", `The embedded Postgres refuses: ${reason}`, {
    cause: error,
    remedy: `Read ${folder.postgresLog}.`,
  });
}

function describeWrongPassword(folder: DataFolder, cause?: unknown): StintError {
  return new StintError("database_auth_failed", `${folder.passwordFile} is not the password`, {
    cause,
    remedy: "Stop all stint processes of this folder, remove that file, and start again.",
  });
}
