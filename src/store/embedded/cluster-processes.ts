import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { StintError } from "../../core/error.ts";
import { readErrno } from "./data-folder.ts";
import type { LaunchOwner } from "./launch.ts";

const POLL_MS = 20;
const LIST_MS_MAX = 10_000;

/** What `postmaster.pid` says. */
export interface PostmasterFile {
  readonly pid: number;
  /** Postgres accepts connections. */
  readonly isReady: boolean;
}

/** Reads `postmaster.pid`; undefined where there is none or it is half written. */
export function readPostmasterFile(clusterDir: string): PostmasterFile | undefined {
  try {
    const lines = readFileSync(join(clusterDir, "postmaster.pid"), "utf8").split("\n");
    const pid = Number.parseInt(lines[0] ?? "", 10);
    return pid > 0 ? { pid, isReady: lines[7]?.trim() === "ready" } : undefined;
  } catch (error) {
    if (readErrno(error) === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * The living Postgres processes of a cluster, its postmaster and all it started. They are known by
 * their working directory, which every one of them keeps; a process id in a file may since have
 * gone to somebody else, or be a dead process that nobody has collected.
 */
export function listClusterProcesses(clusterDir: string): readonly number[] {
  if (!existsSync("/proc/self/stat")) return listByPostmasterFile(clusterDir);
  const cluster = statSync(clusterDir, { throwIfNoEntry: false });
  if (cluster === undefined) return [];
  const seen = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && isPostgresIn(`/proc/${name}`, cluster))
    .map(Number);
  return seen.length > 0 ? seen : listAsOwner(clusterDir, cluster);
}

function isPostgresIn(proc: string, cluster: { dev: number; ino: number }): boolean {
  try {
    const program = basename(readlinkSync(`${proc}/exe`)).replace(" (deleted)", "");
    if (program !== "postgres") return false;
    const cwd = statSync(`${proc}/cwd`);
    return cwd.dev === cluster.dev && cwd.ino === cluster.ino;
  } catch {
    return false; // It ended meanwhile, is dead, or belongs to another user.
  }
}

/** Prints the ids of the processes called postgres that work where the shell does. */
const LIST_POSTGRES_HERE = `for proc in /proc/[0-9]*; do
  [ "$proc/cwd" -ef . ] && read -r name < "$proc/comm" && [ "$name" = postgres ] && echo "\${proc#/proc/}"
done 2> /dev/null; :`;

/**
 * The same, asked as the owner of the cluster: root of a container may run Postgres as another user
 * and yet not look into that user's processes.
 */
function listAsOwner(clusterDir: string, { uid, gid }: LaunchOwner): readonly number[] {
  if (process.getuid?.() !== 0 || uid === 0) return [];
  const options = { cwd: clusterDir, uid, gid, timeout: LIST_MS_MAX, encoding: "utf8" } as const;
  const { stdout, error } = spawnSync("/bin/sh", ["-c", LIST_POSTGRES_HERE], options);
  if (error !== undefined) throw error;
  return stdout.split("\n").filter(Boolean).map(Number);
}

function listByPostmasterFile(clusterDir: string): readonly number[] {
  const file = readPostmasterFile(clusterDir);
  if (file === undefined) return [];
  const { stdout } = spawnSync("ps", ["-o", "stat=,comm=", "-p", String(file.pid)], {
    encoding: "utf8",
  });
  return /^[^Z]\S*\s+.*postgres\s*$/.test(stdout) ? [file.pid] : [];
}

/**
 * Ends every Postgres process of the cluster, for a starter that alone may run it: its supervisor
 * died, so it is ending already or has lost its own postmaster. Each step is harder than the last,
 * none loses what was committed. Then removes a `postmaster.pid` that nobody answers for.
 * @throws {database_unavailable} when a process cannot be ended
 */
export async function endLeftoverPostgres(clusterDir: string): Promise<void> {
  const steps = [
    { signal: "SIGINT", patienceMs: 15_000, isForAll: false },
    { signal: "SIGQUIT", patienceMs: 5_000, isForAll: true },
    { signal: "SIGKILL", patienceMs: 5_000, isForAll: true },
  ] as const;
  for (const { signal, patienceMs, isForAll } of steps) {
    const alive = listClusterProcesses(clusterDir);
    const postmaster = readPostmasterFile(clusterDir)?.pid;
    signalAll(isForAll ? alive : alive.filter((pid) => pid === postmaster), signal);
    // Without a postmaster the others have nobody to tell them to end in an orderly way.
    const isOrphaned = !isForAll && !alive.includes(postmaster ?? 0);
    if (await waitUntilEnded(clusterDir, isOrphaned ? 500 : patienceMs)) {
      rmSync(join(clusterDir, "postmaster.pid"), { force: true });
      return;
    }
  }
  const pids = listClusterProcesses(clusterDir).join(", ");
  throw new StintError("database_unavailable", `Processes ${pids} hold ${clusterDir} and stay`);
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (readErrno(error) !== "ESRCH") throw error;
    }
  }
}

async function waitUntilEnded(clusterDir: string, patienceMs: number): Promise<boolean> {
  const deadline = performance.now() + patienceMs;
  while (listClusterProcesses(clusterDir).length > 0) {
    if (performance.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}
