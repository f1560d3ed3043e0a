import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

const PATIENCE_MS = 10_000;

/**
 * Kills every process that works in a folder or names it in its command line or as its data folder,
 * and waits until they are gone. Reads /proc alone, so the folder may lie on a disk that is dead.
 */
export async function endProcessesUnder(folder: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const pids = listProcessesUnder(folder);
    if (pids.length === 0) return;
    if (performance.now() > deadline) throw new Error(`processes ${pids.join(", ")} stay`);
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended meanwhile.
      }
    }
    await delay(10);
  }
}

function listProcessesUnder(folder: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => isUnder(`/proc/${pid}`, folder));
}

function isUnder(proc: string, folder: string): boolean {
  try {
    const stat = readFileSync(`${proc}/stat`, "utf8");
    if (stat.slice(stat.lastIndexOf(")") + 2)[0] === "Z") return false;
    return (
      readlinkSync(`${proc}/cwd`).startsWith(folder) ||
      readFileSync(`${proc}/cmdline`).includes(folder) ||
      readFileSync(`${proc}/environ`).includes(`STINT_DATA=${folder}`)
    );
  } catch {
    return false; // It ended meanwhile.
  }
}
