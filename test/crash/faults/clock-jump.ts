import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "pg";
import { findProcesses, poll } from "../../e2e/stint-process.ts";
import { makeDataFolder } from "../../data-template.ts";
import { readEmbeddedUrl } from "./embedded-url.ts";
import { LEASE_MS, SHORT_LEASE } from "./lost-lease.ts";
import type { Scene } from "./scene.ts";
import { defineFault, promise } from "./system-fault.ts";
import { WorkingSession } from "./working-session.ts";

const PROGRAM = fileURLToPath(new URL("./jumping-clock.fixture.mjs", import.meta.url));
const HOUR_MS = 3_600_000;

/**
 * Wall clocks of workers are an hour off, and jump. Leases are judged by the database's clock alone:
 * nobody loses a session to another's clock; a worker that seems to have slept for an hour gives up
 * what it had, and only that.
 */
export const clockJumpFault = defineFault(
  "wall clock off by an hour, jumping",
  ["git", "bwrap"],
  async (scene) => {
    const dataDir = await makeDataFolder(join(scene.folder, "data"));
    const client = await scene.start(["server"], dataDir, SHORT_LEASE).connect();
    const url = readEmbeddedUrl(dataDir);
    const database = new Client({ connectionString: url });
    await database.connect();
    scene.onEnd(() => database.end());
    const holder = await startWorker(scene, dataDir, 0);
    const session = await WorkingSession.createEndless(client, 2);
    session.read(client);
    await session.waitForBegin(client, 0);

    // Others with wrong clocks sweep, and the holder's own goes back and forth, for several leases.
    const fast = await startWorker(scene, dataDir, HOUR_MS);
    const slow = await startWorker(scene, dataDir, -HOUR_MS);
    await holder.setClock(-HOUR_MS);
    await outliveLeases(database, 2);
    await requireLeasesOfDatabase(database, 3);
    const { epoch } = await client.sessions.get(session.id);
    promise(epoch === 1, `a wrong clock of somebody else took the session: epoch ${epoch}`);

    const jumpedAt = Date.now();
    await holder.setClock(HOUR_MS);
    await holder.waitFor("Worker lease lost");
    const resumedAt = await session.waitForResume(client, 1);
    const orphans = scene.countOrphans(session.id, 1);
    promise(orphans === 0, `${orphans} processes live on beside the next attempt`);
    await session.waitForBegin(client, 1);
    await requireLeasesOfDatabase(database, 3);
    const { workerId } = await client.sessions.get(session.id);
    promise(workerId !== null, "nobody holds the session after the jump");
    for (const each of [holder, fast, slow]) each.child.kill("SIGTERM");
    await client.sessions.cancel(session.id);
    await poll(async () => {
      const { status } = await client.sessions.get(session.id);
      return status === "failed" ? true : null;
    }, 30_000);
    await session.stopReading();
    const events = await session.check(client);
    const stamps = events.map(({ createdAt }) => Math.abs(Date.parse(createdAt) - Date.now()));
    promise(Math.max(...stamps) < HOUR_MS / 2, "an event has the time of a wrong clock");
    promise(findProcesses(`STINT_SESSION=${session.id}`).length === 0, "a process lives on");
    return {
      orphans,
      resumeMs: resumedAt - jumpedAt,
      detail: "±1 h beside and at the holder: no lease lost by it; +1 h jump: given up and resumed",
    };
  },
);

interface JumpingWorker {
  readonly child: ChildProcess;
  waitFor(msg: string): Promise<void>;
  setClock(offsetMs: number): Promise<void>;
}

async function startWorker(
  scene: Scene,
  dataDir: string,
  offsetMs: number,
): Promise<JumpingWorker> {
  const url = readEmbeddedUrl(dataDir);
  const options = { url, dataDir, offsetMs, leaseDurationMs: LEASE_MS };
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(options)], {
    env: { PATH, HOME, STINT_DATA: dataDir },
    stdio: ["pipe", "pipe", "inherit"],
  });
  scene.onEnd(() => child.kill("SIGKILL"));
  const heard: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    heard.push(String((JSON.parse(line) as { msg: unknown }).msg));
  });
  const waitFor = async (msg: string): Promise<void> => {
    await poll(() => Promise.resolve(heard.includes(msg) ? true : null), 30_000);
  };
  const setClock = async (next: number): Promise<void> => {
    heard.splice(0);
    child.stdin.write(`${next}\n`);
    await waitFor("clock set");
  };
  await waitFor("ready");
  return { child, waitFor, setClock };
}

/** Waits, by the database's clock, until every lease has been renewed again and again. */
async function outliveLeases(database: Client, leases: number): Promise<void> {
  await database.query("select pg_sleep($1)", [(leases * LEASE_MS) / 1_000]);
}

/** Every live lease ends within its duration from now, by the clock of the database. */
async function requireLeasesOfDatabase(database: Client, workers: number): Promise<void> {
  const { rows } = await database.query<{ left_ms: number }>(
    `select extract(epoch from lease_expires_at - now())::float8 * 1000 as left_ms
     from stint.workers where lease_expires_at > now()`,
  );
  const left = rows.map(({ left_ms }) => Math.round(left_ms));
  promise(left.length === workers, `${left.length} leases live: ${left.join(", ")} ms`);
  promise(Math.max(...left) <= LEASE_MS, `a lease lasts ${Math.max(...left)} ms`);
}
