import { type ChildProcess } from "node:child_process";
import { mkdtempSync, openSync, closeSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client, type QueryResultRow } from "pg";
import { silentLogger } from "../../../src/core/log.ts";
import { findBinaries } from "../../../src/store/embedded/binaries.ts";
import { type ClusterTools, createCluster } from "../../../src/store/embedded/cluster.ts";
import { readPostmasterFile } from "../../../src/store/embedded/cluster-processes.ts";
import {
  createMissingPassword,
  DATABASE_NAME,
  prepareDataFolder,
} from "../../../src/store/embedded/data-folder.ts";
import {
  chooseLaunch,
  describeDataDirectory,
  launchProgram,
} from "../../../src/store/embedded/launch.ts";
import { probeSandbox } from "../../../src/store/embedded/sandbox-probe.ts";
import { listSettings } from "../../../src/store/embedded/settings.ts";
import { migrateDatabase } from "../../../src/store/migrate.ts";
import { typeParsers } from "../../../src/store/type-parsers.ts";
import { systemClock } from "../../system-clock.ts";
import { BackendPool } from "./backend-pool.ts";

const START_MS_MAX = 60_000;
const CONNECTIONS_MAX = 500;
/** Scenarios of one lane between two vacuums. */
const VACUUM_EVERY = 50;
/** Logins cost as much as the rest of a short life, and prove nothing here. */
const HBA_CONF = "local all all trust\nhost all all 127.0.0.1/32 trust\n";

/**
 * A Postgres of its own that may be shut down at any moment, without a goodbye to anybody: no other
 * test shares it. Its machine never loses power, so it need not wait for the disk (`fsync`); what is
 * committed is in the write-ahead log all the same.
 */
export class CrashPostgres {
  readonly port: number;
  /** What the connections of the scenarios share. */
  readonly backends: BackendPool;
  readonly #parent: string;
  readonly #tools: ClusterTools;
  #child: ChildProcess | null = null;
  #restarting: Promise<void> | null = null;
  /** Immediate shutdowns so far. */
  restarts = 0;

  private constructor(parent: string, tools: ClusterTools, port: number) {
    this.#parent = parent;
    this.#tools = tools;
    this.port = port;
    this.backends = new BackendPool(join(tools.folder.clusterDir, `.s.PGSQL.${port}`));
  }

  static async start(): Promise<CrashPostgres> {
    const parent = mkdtempSync(join(tmpdir(), "stint-scenarios-"));
    const folder = prepareDataFolder(join(parent, "data"));
    createMissingPassword(folder);
    const probe = probeSandbox();
    const launch = chooseLaunch(probe);
    const request = { folder, probe, launch, clusterVersion: undefined, onProgress: sayNothing };
    const tools = { folder, launch, binaries: await findBinaries(request) };
    await createCluster(tools);
    writeFileSync(join(folder.clusterDir, "pg_hba.conf"), HBA_CONF);
    const postgres = new CrashPostgres(parent, tools, await findFreePort());
    await postgres.#launch();
    await migrateDatabase({
      resolveUrl: () => Promise.resolve(postgres.urlOf(DATABASE_NAME)),
      clock: systemClock,
      logger: silentLogger,
    });
    return postgres;
  }

  urlOf(database: string): string {
    return `postgres://${DATABASE_NAME}@127.0.0.1:${this.port}/${database}`;
  }

  /** Makes a migrated, empty database. */
  async createDatabase(name: string): Promise<Lane> {
    const maintenance = new AdminLink(this.urlOf("postgres"));
    await maintenance.query(`create database ${name} template ${DATABASE_NAME}`);
    await maintenance.end();
    return new Lane(name, this, new AdminLink(this.urlOf(name)));
  }

  /** Shuts Postgres down in the middle of everything, and starts it again. */
  restart(): Promise<void> {
    this.#restarting ??= this.#restart().finally(() => (this.#restarting = null));
    return this.#restarting;
  }

  async stop(): Promise<void> {
    await this.#restarting;
    this.backends.close();
    await this.#quit();
    await rm(this.#parent, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  async #restart(): Promise<void> {
    this.restarts++;
    await this.#quit();
    await this.#launch();
  }

  /** As `pg_ctl stop -m immediate`. */
  async #quit(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGQUIT");
    await ended;
  }

  async #launch(): Promise<void> {
    const { folder, launch, binaries } = this.#tools;
    const settings = {
      ...{ max_connections: CONNECTIONS_MAX, fsync: "off", autovacuum: "off" },
      // What is in the hands of the kernel is whole, whatever becomes of Postgres.
      full_page_writes: "off",
      ...{ restart_after_crash: "on", max_wal_senders: 0, wal_level: "minimal" },
      // That of the data directory, which it works in.
      unix_socket_directories: ".",
    };
    const log = openSync(folder.postgresLog, "a", 0o600);
    const child = launchProgram(launch, {
      program: join(binaries.binDir, "postgres"),
      args: [
        ...["-D", describeDataDirectory(launch, folder.clusterDir)],
        ...listSettings(binaries.majorVersion, this.port),
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      cwd: folder.clusterDir,
      stdio: ["ignore", log, log],
      deathSignal: "KILL",
    });
    closeSync(log);
    this.#child = child;
    const giveUpAt = performance.now() + START_MS_MAX;
    for (;;) {
      const file = readPostmasterFile(folder.clusterDir);
      if (file?.isReady === true && file.pid === child.pid) return;
      if (child.exitCode !== null || performance.now() > giveUpAt) {
        throw new Error(`Postgres did not start; see ${folder.postgresLog}`);
      }
      await delay(5);
    }
  }
}

/** A database on which one scenario runs at a time, with a look behind the scenes. */
export class Lane {
  readonly name: string;
  readonly postgres: CrashPostgres;
  readonly #admin: AdminLink;
  #tidied = 0;

  constructor(name: string, postgres: CrashPostgres, admin: AdminLink) {
    this.name = name;
    this.postgres = postgres;
    this.#admin = admin;
  }

  /** Rows of a query of the superuser, repeated while Postgres is away: give it what may be. */
  query<T extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<T[]> {
    return this.#admin.query<T>(text, values);
  }

  /**
   * Removes what would make each further scenario dearer: sweeps look at every worker that there
   * ever was, and nobody else vacuums.
   */
  async tidy(): Promise<void> {
    await this.query("delete from stint.workers");
    if (++this.#tidied % VACUUM_EVERY === 0) await this.query("vacuum (analyze)");
  }

  close(): Promise<void> {
    return this.#admin.end();
  }
}

const ADMIN_MS_MAX = 30_000;

/** One connection that comes back after each restart. */
class AdminLink {
  readonly #url: string;
  #client: Promise<Client> | null = null;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(url: string) {
    this.#url = url;
  }

  /** One statement after the other. */
  query<T extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<T[]> {
    const answer = this.#tail.then(() => this.#query<T>(text, values));
    this.#tail = answer.catch(() => undefined);
    return answer;
  }

  async #query<T extends QueryResultRow>(text: string, values: readonly unknown[]): Promise<T[]> {
    const giveUpAt = performance.now() + ADMIN_MS_MAX;
    for (;;) {
      try {
        this.#client ??= this.#connect();
        return (await (await this.#client).query<T>(text, [...values])).rows;
      } catch (error) {
        // An error of the statement itself stays one.
        const { code = "" } = error as { code?: string };
        const isAway = !/^[0-9A-Z]{5}$/.test(code) || /^(57P|08|ECONN|EPIPE)/.test(code);
        if (!isAway || performance.now() > giveUpAt) throw error;
        this.#client = null;
        await delay(20);
      }
    }
  }

  async end(): Promise<void> {
    const client = await this.#client?.catch(() => null);
    await client?.end().catch(() => undefined); // It may be gone already.
  }

  async #connect(): Promise<Client> {
    const client = new Client({ connectionString: this.#url, types: typeParsers });
    client.on("error", () => (this.#client = null));
    await client.connect();
    return client;
  }
}

function sayNothing(): void {
  // A first start takes some seconds; nobody watches.
}

async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
