import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { StintError } from "../../core/error.ts";
import { boundLog, measureLog, readLogSince } from "./bounded-log.ts";
import type { DataFolder } from "./data-folder.ts";
import { explainFailure } from "./postgres-failure.ts";
import type { SupervisorArgument } from "./supervisor.ts";

/** Starts supervisors for one attach, one at a time. */
export interface SupervisorStarter {
  /**
   * Starts one where the last has ended. It may find that another process was faster; then it
   * ends. @throws {database_unavailable} when the last one failed before it could serve
   */
  start(): void;
  /** Whether this starter started the process with that id. */
  hasStarted(pid: number): boolean;
}

/** Prepares to start supervisors for a data folder. */
export function createSupervisorStarter(
  folder: DataFolder,
  settings: Omit<SupervisorArgument, "dataDir">,
): SupervisorStarter {
  const pids = new Set<number | undefined>();
  let isRunning = false;
  let failure: StintError | undefined;
  const start = (): void => {
    if (isRunning) return;
    if (failure !== undefined) throw failure;
    const logOffset = measureLog(folder.supervisorLog);
    const child = spawnSupervisor(folder, { ...settings, dataDir: folder.root });
    isRunning = true;
    pids.add(child.pid);
    const settle = (exitCode: number | null): void => {
      isRunning = false;
      // By signal (null): somebody killed it, and the next one may live.
      if (exitCode === null || exitCode === 0) return;
      const output = readLogSince(folder.supervisorLog, logOffset);
      failure = explainFailure("The supervisor of Postgres ended", output);
    };
    child.once("exit", settle);
    child.once("error", () => settle(1));
  };
  return { start, hasStarted: (pid) => pids.has(pid) };
}

/**
 * Starts the supervisor apart from us: in a session of its own, so that neither Ctrl-C nor the end
 * of our terminal reaches it, with none of our environment, writing to its log.
 */
function spawnSupervisor(folder: DataFolder, argument: SupervisorArgument) {
  boundLog(folder.supervisorLog);
  const log = openSync(folder.supervisorLog, "a", 0o600);
  try {
    const program = locateProgram();
    const args = ["--max-old-space-size=64", program, JSON.stringify(argument)];
    const child = spawn(process.execPath, args, {
      detached: true,
      cwd: "/",
      stdio: ["ignore", log, log],
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
    });
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

/** The compiled supervisor: beside this file, or in `dist` when the sources run uncompiled. */
function locateProgram(): string {
  const isSource = import.meta.url.endsWith(".ts");
  const place = isSource ? "../../../dist/store/embedded/supervisor.js" : "./supervisor.js";
  const program = fileURLToPath(new URL(place, import.meta.url));
  if (existsSync(program)) return program;
  throw new StintError("internal", `${program} is missing`, { remedy: "Run npm run build." });
}
