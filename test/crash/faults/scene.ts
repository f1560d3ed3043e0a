import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProcesses, StintProcess } from "../../e2e/stint-process.ts";
import { endProcessesUnder } from "../../processes-under.ts";

const TOOL_MS_MAX = 60_000;

/** Where a fault is played: a folder, processes, and how all of it is cleared away. */
export class Scene {
  /** A folder of the scene's own, outside of any disk that fails. */
  readonly folder = mkdtempSync(join(tmpdir(), "stint-fault-"));
  orphans = 0;
  readonly #cleanups: (() => unknown)[] = [];
  readonly #processes: StintProcess[] = [];
  readonly #dataDirs: string[] = [];

  /** Called at the end, last one first, whatever happened. */
  onEnd(cleanup: () => unknown): void {
    this.#cleanups.push(cleanup);
  }

  /** A service with a data folder; `within` is a command line that runs it. */
  start(
    args: readonly string[],
    dataDir: string,
    env: Record<string, string> = {},
    within: readonly string[] = [],
  ): StintProcess {
    const started = new StintProcess([...args, "--json"], dataDir, env, within);
    this.#processes.push(started);
    this.#dataDirs.push(dataDir);
    this.onEnd(() => started.stop("SIGKILL"));
    return started;
  }

  /** Counts what lives of an attempt that is over, told by the epoch of its claim. */
  countOrphans(sessionId: string, epoch: number): number {
    const pids = findProcesses(`STINT_ATTEMPT=${sessionId}.${epoch}`);
    this.orphans += pids.length;
    return pids.length;
  }

  /** Undoes everything; says what could not be undone. */
  async end(): Promise<string[]> {
    const failures: string[] = [];
    const attempt = async (cleanup: () => unknown): Promise<void> => {
      try {
        await cleanup();
      } catch (error) {
        failures.push(`clearing away: ${String(error)}`);
      }
    };
    for (const cleanup of this.#cleanups.splice(0).reverse()) await attempt(cleanup);
    await attempt(() => removeFolder(this.folder));
    return failures;
  }

  /** The last words of every service, for a failure. */
  describe(): string {
    const services = this.#processes.map(({ pid, lines, stderr }) => {
      const last = lines.slice(-6).map((line) => JSON.stringify(line));
      return `[${pid}] ${last.join("\n  ")} ${stderr.slice(-1_000)}`;
    });
    const folders = [...new Set(this.#dataDirs)];
    return [...services, ...folders.map(readPostgresLog)].join("\n");
  }
}

/** Removes a folder and ends who works in it. One who was just being started may write once more. */
async function removeFolder(folder: string): Promise<void> {
  for (let triesLeft = 5; ; triesLeft--) {
    await endProcessesUnder(folder);
    try {
      return rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    } catch (error) {
      if (triesLeft === 1) throw error;
    }
  }
}

function readPostgresLog(dataDir: string): string {
  try {
    return readFileSync(join(dataDir, "log", "postgres.log"), "utf8")
      .split("\n")
      .filter((line) => !line.includes("in recovery mode"))
      .slice(-40)
      .join("\n");
  } catch (error) {
    return String(error); // The disk it lies on has failed.
  }
}

/** Runs a program of the system to its end and returns what it printed. @throws with its complaint */
export function runTool(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: TOOL_MS_MAX,
      killSignal: "SIGKILL",
    });
    let output = "";
    let complaint = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) return resolve(output.trim());
      const end = `ended with ${String(code ?? signal)}: ${complaint.trim()}`;
      reject(new Error(`${program} ${args.join(" ")} ${end}`));
    });
  });
}
