import type { ChildProcess } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { StintError } from "../../core/error.ts";
import { boundLog, measureLog, readLogSince } from "./bounded-log.ts";
import type { ClusterTools } from "./cluster.ts";
import { endLeftoverPostgres, readPostmasterFile } from "./cluster-processes.ts";
import { chooseFreePort } from "./free-port.ts";
import { describeDataDirectory, launchProgram } from "./launch.ts";
import { explainFailure } from "./postgres-failure.ts";
import { listSettings } from "./settings.ts";

/** Long enough for the recovery after a crash, whose length the size of the log bounds. */
const START_TIMEOUT_MS = 120_000;
const LEFTOVER_RETRY_MS = 3_000;
const POLL_MS = 10;
const FAST_STOP_MS = 60_000;
const IMMEDIATE_STOP_MS = 10_000;
const PORT_ATTEMPTS_MAX = 5;
const KILLED_ATTEMPTS_MAX = 3;

/** A running Postgres. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<void>;
  /** Ends it: open transactions are rolled back, then everything is on disk. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts Postgres on the cluster and waits until it accepts connections. Whatever a crash left
 * behind is cleared away first; call it only while holding the supervisor lock.
 * @throws {disk_full} @throws {data_dir_unusable} @throws {database_unavailable}
 */
export async function startPostmaster(tools: ClusterTools): Promise<Postmaster> {
  const { folder } = tools;
  const startedAt = performance.now();
  let portAttempts = 0;
  let killedAttempts = 0;
  while (true) {
    await endLeftoverPostgres(folder.clusterDir);
    const port = await chooseFreePort(folder, portAttempts === 0);
    const started = await tryStart(tools, port);
    if ("port" in started) {
      writeFileSync(folder.portFile, `${port}\n`);
      return started;
    }
    const { output, isKilled } = started;
    const isPortTaken = /could not bind|could not create any TCP\/IP sockets/.test(output);
    const isLeftover = /lock file .* already exists|pre-existing shared memory/.test(output);
    const mayRetry =
      (isKilled && ++killedAttempts < KILLED_ATTEMPTS_MAX) ||
      (isPortTaken && ++portAttempts < PORT_ATTEMPTS_MAX) ||
      (isLeftover && performance.now() - startedAt < LEFTOVER_RETRY_MS);
    if (!mayRetry) throw explainFailure("Postgres did not start", output);
    await delay(100);
  }
}

/** A Postgres that ended before it was ready. */
interface FailedStart {
  readonly output: string;
  /** Somebody killed it, so its own words say nothing about the reason. */
  readonly isKilled: boolean;
}

/** One start. */
async function tryStart(tools: ClusterTools, port: number): Promise<Postmaster | FailedStart> {
  const { folder } = tools;
  boundLog(folder.postgresLog);
  const logOffset = measureLog(folder.postgresLog);
  const child = spawnPostgres(tools, port);
  let hasEnded = false;
  const ended = new Promise<void>((resolve) => {
    const settle = (): void => {
      hasEnded = true;
      resolve();
    };
    child.once("exit", settle);
    child.once("error", settle);
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!hasEnded) {
    const file = readPostmasterFile(folder.clusterDir);
    if (file?.isReady === true && file.pid === child.pid) {
      return { pid: file.pid, port, ended, stop: () => stopPostgres(child, ended) };
    }
    if (performance.now() > deadline) {
      await stopPostgres(child, ended);
      throw new StintError("database_unavailable", "Postgres was not ready within 2 minutes");
    }
    await Promise.race([ended, delay(POLL_MS)]);
  }
  const output = readLogSince(folder.postgresLog, logOffset);
  return { output, isKilled: child.signalCode !== null };
}

function spawnPostgres({ folder, binaries, launch }: ClusterTools, port: number): ChildProcess {
  const log = openSync(folder.postgresLog, "a", 0o600);
  try {
    const settings = listSettings(binaries.majorVersion, port);
    return launchProgram(launch, {
      program: join(binaries.binDir, "postgres"),
      args: ["-D", describeDataDirectory(launch, folder.clusterDir), ...settings],
      cwd: folder.clusterDir,
      stdio: ["ignore", log, log],
      deathSignal: "INT",
    });
  } finally {
    closeSync(log);
  }
}

async function stopPostgres(child: ChildProcess, ended: Promise<void>): Promise<void> {
  const steps = [
    { signal: "SIGINT", patienceMs: FAST_STOP_MS },
    { signal: "SIGQUIT", patienceMs: IMMEDIATE_STOP_MS },
  ] as const;
  for (const { signal, patienceMs } of steps) {
    child.kill(signal);
    const timeout = new AbortController();
    const lapsed = delay(patienceMs, "lapsed", { signal: timeout.signal }).catch(() => undefined);
    const outcome = await Promise.race([ended, lapsed]);
    timeout.abort();
    if (outcome !== "lapsed") return;
  }
  child.kill("SIGKILL");
  await ended;
}
