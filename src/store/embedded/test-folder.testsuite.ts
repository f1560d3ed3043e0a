import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client, type QueryResult } from "pg";
import { makeDataFolder } from "../../../test/data-template.ts";
import { type AttachOptions, attachEmbeddedPostgres, type EmbeddedPostgres } from "./attach.ts";
import { listClusterProcesses } from "./cluster-processes.ts";
import { type DataFolder, describeDataFolder } from "./data-folder.ts";

/** Short, so that tests see Postgres stop; long enough to outlive a hand-over. */
export const STOP_DELAY_MS = 300;

/** A holder in a process of its own. */
export interface HolderProcess {
  readonly pid: number;
  /** What it printed next: `attached`, `failed` or `lost`. */
  next(): Promise<Record<string, unknown>>;
  kill(): Promise<void>;
}

/** A data folder of one test, with everything that the test starts on it. */
export class TestFolder {
  readonly parent = mkdtempSync(join(tmpdir(), "stint-embedded-"));
  readonly dataDir: string;
  readonly folder: DataFolder;
  readonly #children: ChildProcess[] = [];
  readonly #held: EmbeddedPostgres[] = [];

  constructor(name = ".stint") {
    this.dataDir = join(this.parent, name);
    this.folder = describeDataFolder(this.dataDir);
  }

  /** Puts a database into it that was made before, where a test is not about making one. */
  async fill(): Promise<void> {
    await makeDataFolder(this.dataDir);
  }

  async attach(options: Partial<AttachOptions> = {}): Promise<EmbeddedPostgres> {
    const { dataDir } = this;
    const postgres = await attachEmbeddedPostgres({
      dataDir,
      stopDelayMs: STOP_DELAY_MS,
      ...options,
    });
    this.#held.push(postgres);
    return postgres;
  }

  startHolder(options: Partial<AttachOptions> = {}): HolderProcess {
    const program = fileURLToPath(new URL("./holder.fixture.mjs", import.meta.url));
    const settings = { dataDir: this.dataDir, stopDelayMs: STOP_DELAY_MS, ...options };
    const child = spawn(process.execPath, [program, JSON.stringify(settings)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#children.push(child);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return {
      pid: child.pid ?? 0,
      next: async () => JSON.parse((await lines.next()).value as string) as Record<string, unknown>,
      kill: () => killProcess(child),
    };
  }

  /** Ends all holders, waits until nothing runs on the folder, and removes it. */
  async remove(): Promise<void> {
    await Promise.all(this.#held.map((postgres) => postgres.release()));
    await Promise.all(this.#children.map(killProcess));
    await this.waitUntilStopped();
    rmSync(this.parent, { recursive: true, force: true });
  }

  async waitUntilStopped(): Promise<void> {
    await waitUntil("everything has stopped", () => this.listProcesses().length === 0);
  }

  /** Process ids of the folder's supervisors and of its Postgres. */
  listProcesses(): readonly number[] {
    return [...listSupervisors(this.folder), ...listClusterProcesses(this.folder.clusterDir)];
  }

  supervisorPid(): number {
    const [pid, ...others] = listSupervisors(this.folder);
    if (pid === undefined || others.length > 0) throw new Error("There is not one supervisor");
    return pid;
  }
}

/**
 * Supervisors keep the folder's log open as their output and lead their session; a program that
 * they are starting has that output for a moment too.
 */
function listSupervisors({ supervisorLog }: DataFolder): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/1`) === supervisorLog && readSession(pid) === pid;
      } catch {
        return false; // It ended meanwhile.
      }
    })
    .map(Number);
}

/** The session of a process, by its leader. */
function readSession(pid: string): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3];
}

async function killProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

/** Until a condition holds: work, on however busy a machine, and no promise. */
const PATIENCE_MS = 60_000;

/** Waits for a condition that nothing announces. */
export async function waitUntil(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Not within ${PATIENCE_MS} ms: ${what}`);
    await delay(10);
  }
}

/** Runs statements on a connection of their own and returns the rows of the last one. */
export async function runSql(url: unknown, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client(String(url));
  await client.connect();
  try {
    const results = await client.query(sql);
    const last = Array.isArray(results) ? (results.at(-1) as QueryResult) : results;
    return last.rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

/** Whether anything listens on a port of 127.0.0.1. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "127.0.0.1" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
