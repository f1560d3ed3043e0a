import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { silentLogger } from "../src/core/log.ts";
import { attachEmbeddedPostgres } from "../src/store/embedded/attach.ts";
import { migrateDatabase } from "../src/store/migrate.ts";
import { systemClock } from "./system-clock.ts";

/** A migrated, empty database of its own. */
export interface TestDatabase {
  readonly url: string;
  /** Cuts what is still connected and removes the database. */
  drop(): Promise<void>;
}

// Not STINT_…: the programs under test refuse settings they do not know.
export const RUN_FOLDER = "TEST_RUN_POSTGRES_FOLDER";
const RUN_NAME = "TEST_RUN_POSTGRES_NAME";

/** Postgres stays up between two test files; a run that was killed leaves it no longer than this. */
const STOP_DELAY_MS = 30_000;
const LOCK_KEY = 7_483_650_128;

let server: Promise<string> | undefined;

/**
 * Creates a migrated database: on the server of TEST_DATABASE_URL where that is set (its role may
 * create databases and roles), else on one embedded Postgres that all files of the run share and
 * the first one starts. Takes some 100 ms.
 */
export async function createTestDatabase(): Promise<TestDatabase> {
  return createDatabase((client) => ensureTemplate(client));
}

/** Creates a database without any tables. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  return createDatabase(() => Promise.resolve("template0"));
}

async function createDatabase(
  chooseTemplate: (client: Client) => Promise<string>,
): Promise<TestDatabase> {
  const serverUrl = await serverOf();
  const name = `${runName()}_${randomBytes(5).toString("hex")}`;
  await withClient(serverUrl, async (client) => {
    await client.query(`create database ${name} template ${await chooseTemplate(client)}`);
  });
  return {
    url: databaseUrl(serverUrl, name),
    drop: () =>
      withClient(serverUrl, async (client) => {
        await client.query(`drop database if exists ${name} with (force)`);
      }),
  };
}

/** Migrated once per run, by whoever comes first. */
async function ensureTemplate(client: Client): Promise<string> {
  const name = `${runName()}_template`;
  await client.query("select pg_advisory_lock($1)", [LOCK_KEY]);
  try {
    const { rowCount } = await client.query("select from pg_database where datname = $1", [name]);
    if (rowCount === 0) await createTemplate(client, name);
    return name;
  } finally {
    await client.query("select pg_advisory_unlock($1)", [LOCK_KEY]);
  }
}

async function createTemplate(client: Client, name: string): Promise<void> {
  const unfinished = `${name}_unfinished`;
  await client.query(`drop database if exists ${unfinished} with (force)`);
  await client.query(`create database ${unfinished} template template0`);
  const url = databaseUrl(await serverOf(), unfinished);
  await migrateDatabase({
    resolveUrl: () => Promise.resolve(url),
    clock: systemClock,
    logger: silentLogger,
  });
  await client.query(`alter database ${unfinished} rename to ${name}`);
}

function serverOf(): Promise<string> {
  server ??= findServer();
  return server;
}

async function findServer(): Promise<string> {
  const given = process.env["TEST_DATABASE_URL"];
  if (given !== undefined && given !== "") return given;
  const dataDir = process.env[RUN_FOLDER];
  if (dataDir === undefined) throw new Error("test/postgres.ts belongs to globalSetup");
  // Held until this process ends.
  return (await attachEmbeddedPostgres({ dataDir, stopDelayMs: STOP_DELAY_MS })).url;
}

/** Names the run's folder and databases; nothing is started before a test wants it. */
export function setup(): () => Promise<void> {
  const parent = mkdtempSync(join(tmpdir(), "stint-test-"));
  process.env[RUN_FOLDER] = join(parent, ".stint");
  process.env[RUN_NAME] = `stint_test_${randomBytes(4).toString("hex")}`;
  return async () => {
    await removeDatabases();
    rmSync(parent, { recursive: true, force: true });
  };
}

async function removeDatabases(): Promise<void> {
  const dataDir = process.env[RUN_FOLDER] as string;
  const given = process.env["TEST_DATABASE_URL"];
  if (given !== undefined && given !== "") await dropDatabasesOfRun(given);
  await stopPostgres(dataDir);
}

/** Ends the Postgres of a data folder, if one runs; whoever else held it must have ended. */
export async function stopPostgres(dataDir: string): Promise<void> {
  const postmasterFile = join(dataDir, "pg", "postmaster.pid");
  if (!existsSync(postmasterFile)) return;
  // The last holder says how soon Postgres stops.
  const postgres = await attachEmbeddedPostgres({ dataDir, stopDelayMs: 0 });
  await postgres.release();
  for (let waits = 0; existsSync(postmasterFile) && waits < 500; waits++) await delay(20);
}

async function dropDatabasesOfRun(url: string): Promise<void> {
  await withClient(url, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      "select datname as name from pg_database where starts_with(datname, $1)",
      [runName()],
    );
    for (const { name } of rows) await client.query(`drop database ${name} with (force)`);
  });
}

function runName(): string {
  return process.env[RUN_NAME] ?? "stint_test";
}

function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  client.on("error", () => undefined); // The query that it breaks says so.
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
