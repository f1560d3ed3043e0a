import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { StintError } from "../core/error.ts";
import { ATTEMPT_COOKIE } from "./environment.ts";
import { listPids, mapPids, readProcess, signalProcess } from "./process-table.ts";
import type { ProcessEntry } from "./process-table.ts";

const SWEEP_MS_MAX = 30_000;
const PAUSE_MS = 5;

/** Bounds of a sweep. */
export interface SweepOptions {
  /** @default 30_000 (30 s): a process stuck in the kernel cannot be killed */
  readonly timeoutMs?: number;
}

/**
 * Kills every process of an attempt, wherever it went and whoever started it: scans the
 * environments under /proc for the attempt's cookie and sends SIGKILL until none is left. Returns
 * how many processes it killed. Finds nothing that cleared its own environment, or belongs to
 * another user; a pid namespace holds those.
 * @throws {custody_unavailable} when something lives on after `timeoutMs`.
 */
export function sweepAttempt(cookie: string, options: SweepOptions = {}): Promise<number> {
  return sweepEnvironment(ATTEMPT_COOKIE, cookie, options);
}

/** The same for any variable of the environment. */
export async function sweepEnvironment(
  name: string,
  value: string,
  options: SweepOptions = {},
): Promise<number> {
  if (value === "") throw new StintError("invalid_request", "a sweep needs a cookie");
  const timeoutMs = options.timeoutMs ?? SWEEP_MS_MAX;
  const startedAt = performance.now();
  const killed = new Set<string>();
  for (;;) {
    const living = await listBearers(name, value);
    if (living.length === 0) return killed.size;
    for (const entry of living) {
      if (signalProcess(entry.pid, "SIGKILL")) killed.add(`${entry.pid}/${entry.startTicks}`);
    }
    if (performance.now() - startedAt > timeoutMs) {
      const pids = living.map((entry) => entry.pid).join(", ");
      throw new StintError("custody_unavailable", `processes ${pids} survive SIGKILL`, {
        fields: { pids },
      });
    }
    await sleep(PAUSE_MS);
  }
}

/** Living processes that carry a variable with exactly this value, ourselves excepted. */
export async function listBearers(name: string, value: string): Promise<ProcessEntry[]> {
  const wanted = Buffer.from(`${name}=${value}`);
  return mapPids(await listPids(), async (pid) => {
    if (pid === process.pid) return null;
    // Gone meanwhile, or another user's: then it is none that we started.
    const environ = await readFile(`/proc/${pid}/environ`).catch(() => null);
    if (environ === null || !holdsEntry(environ, wanted)) return null;
    const entry = await readProcess(pid);
    return entry === null || entry.isZombie ? null : entry;
  });
}

function holdsEntry(environ: Buffer, wanted: Buffer): boolean {
  for (let at = environ.indexOf(wanted); at !== -1; at = environ.indexOf(wanted, at + 1)) {
    const end = at + wanted.length;
    const startsEntry = at === 0 || environ[at - 1] === 0;
    if (startsEntry && (end === environ.length || environ[end] === 0)) return true;
  }
  return false;
}
