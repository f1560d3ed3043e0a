import type { Socket } from "node:net";
import { StintError, toStintError } from "../../core/error.ts";
import { findBinaries } from "./binaries.ts";
import { boundLog } from "./bounded-log.ts";
import {
  adoptCluster,
  type ClusterTools,
  createCluster,
  discardHalfMadeClusters,
  readClusterOwner,
  readClusterVersion,
  readSystemIdentifier,
  resetPassword,
} from "./cluster.ts";
import { type DataFolder, describeFolderError, readErrno } from "./data-folder.ts";
import { chooseLaunch } from "./launch.ts";
import { type Postmaster, startPostmaster } from "./postmaster.ts";
import {
  encodeFailure,
  PROTOCOL_VERSION,
  readMessages,
  sendMessage,
  type SupervisorMessage,
} from "./protocol.ts";
import { probeSandbox, type SandboxProbe } from "./sandbox-probe.ts";

const STOP_DELAY_MS_MAX = 24 * 60 * 60 * 1_000;
const LOG_CHECK_MS = 10_000;
const FAILURE_SHOWN_MS = 3_000;
const RESTARTS_MAX = 3;
const RESTART_WINDOW_MS = 60_000;

/** What a supervision starts from. */
export interface SupervisionOptions {
  readonly folder: DataFolder;
  /** Time that Postgres stays up without a holder. */
  readonly stopDelayMs: number;
  /** Facts about the host that are given, not probed. */
  readonly probe: Partial<SandboxProbe>;
  /** The password was made just now, so a cluster that is already there does not know it. */
  readonly isPasswordNew: boolean;
  readonly log: (message: string) => void;
}

/**
 * Keeps Postgres running while anybody holds a connection to us.
 *
 *     starting ──► ready ──(nobody for stopDelayMs)──► stopping ──► ended
 *        ▲           │                                    │
 *        └───────────┴── Postgres ended by itself         │
 *        └──────────────── somebody came meanwhile ───────┘
 */
export class Supervision {
  /** Resolves with the exit code of the process when there is nothing left to supervise. */
  readonly ended: Promise<number>;
  readonly #options: SupervisionOptions;
  readonly #holders = new Set<Socket>();
  readonly #restarts: number[] = [];
  #announcement: SupervisorMessage = { kind: "progress", step: "Starting Postgres" };
  #postmaster: Postmaster | undefined;
  #stopDelayMs: number;
  #wake: () => void = () => {};
  #isEnding = false;
  #isNewCluster = false;

  constructor(options: SupervisionOptions) {
    this.#options = options;
    this.#stopDelayMs = options.stopDelayMs;
    this.ended = this.#run();
  }

  /** Takes a connection; it holds Postgres up until it closes. */
  addHolder(socket: Socket): void {
    this.#holders.add(socket);
    socket.on("error", () => {
      // The `close` that follows is what counts.
    });
    socket.once("close", () => {
      this.#holders.delete(socket);
      this.#wake();
    });
    readMessages(socket, (message) => {
      const { stopDelayMs } = message as { stopDelayMs?: unknown };
      if (message.kind !== "hello" || typeof stopDelayMs !== "number") return;
      this.#stopDelayMs = clampDelay(stopDelayMs);
    });
    sendMessage(socket, this.#announcement);
    this.#wake();
  }

  /** Stops Postgres whoever still holds it, then ends. */
  end(): void {
    this.#isEnding = true;
    this.#wake();
  }

  /** Tells Postgres to end while this process is ending; for hosts without a death signal. */
  signalPostmaster(): void {
    try {
      if (this.#postmaster !== undefined) process.kill(this.#postmaster.pid, "SIGINT");
    } catch {
      // It has ended already.
    }
  }

  async #run(): Promise<number> {
    const { folder, log } = this.#options;
    const logTimer = setInterval(() => this.#boundLogs(), LOG_CHECK_MS);
    try {
      const tools = await this.#prepareCluster();
      const systemIdentifier = readSystemIdentifier(folder);
      while (true) {
        this.#announce({ kind: "progress", step: "Starting Postgres" });
        const postmaster = await startPostmaster(tools);
        this.#announceReady(postmaster, systemIdentifier);
        if (await this.#isUnwanted(postmaster)) {
          log("stopping Postgres");
          await postmaster.stop();
          // Somebody may have come while it stopped; then it starts again.
          if (this.#holders.size === 0 || this.#isEnding) return 0;
        } else {
          this.#countRestart();
          this.#requireCluster(systemIdentifier);
        }
      }
    } catch (error) {
      await this.#fail(error);
      return 1;
    } finally {
      clearInterval(logTimer);
    }
  }

  async #prepareCluster(): Promise<ClusterTools> {
    const { folder, isPasswordNew } = this.#options;
    const onProgress = (step: string): void => this.#announce({ kind: "progress", step });
    discardHalfMadeClusters(folder);
    const clusterVersion = readClusterVersion(folder);
    const isNew = clusterVersion === undefined;
    const probe = probeSandbox(this.#options.probe);
    const launch = chooseLaunch(probe, isNew ? undefined : readClusterOwner(folder));
    const binaries = await findBinaries({ folder, probe, launch, clusterVersion, onProgress });
    const tools = { folder, binaries, launch };
    if (isNew) {
      onProgress("Creating the database (first start only)");
      await createCluster(tools);
      this.#isNewCluster = true;
    } else {
      adoptCluster(folder, launch);
      if (isPasswordNew) await resetPassword(tools);
    }
    return tools;
  }

  #announceReady(postmaster: Postmaster, systemIdentifier: string): void {
    const { pid: supervisorPid } = process;
    const { port } = postmaster;
    this.#postmaster = postmaster;
    this.#options.log(`Postgres (pid ${postmaster.pid}) is ready on port ${port}`);
    this.#announce({
      kind: "ready",
      protocol: PROTOCOL_VERSION,
      firstStart: this.#isNewCluster,
      ...{ supervisorPid, port, systemIdentifier },
    });
  }

  /** Waits until Postgres is to be stopped (true) or has ended by itself (false). */
  async #isUnwanted(postmaster: Postmaster): Promise<boolean> {
    let hasEnded = false;
    const watchEnd = async (): Promise<void> => {
      await postmaster.ended;
      hasEnded = true;
      this.#postmaster = undefined;
      this.#wake();
    };
    void watchEnd();
    while (!hasEnded && !this.#isEnding) {
      const isIdle = this.#holders.size === 0;
      const isLapsed = await this.#sleep(isIdle ? this.#stopDelayMs : undefined);
      if (isLapsed && this.#holders.size === 0) return true;
    }
    return !hasEnded;
  }

  /** Sleeps until something happens (false) or the time has passed (true). */
  #sleep(durationMs: number | undefined): Promise<boolean> {
    return new Promise((resolve) => {
      const timer =
        durationMs === undefined ? undefined : setTimeout(() => resolve(true), durationMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(false);
      };
    });
  }

  #countRestart(): void {
    const now = performance.now();
    this.#options.log("Postgres ended by itself");
    this.#restarts.push(now);
    const recent = this.#restarts.filter((at) => now - at < RESTART_WINDOW_MS);
    if (recent.length <= RESTARTS_MAX) return;
    throw new StintError("database_unavailable", "Postgres ends again and again by itself", {
      remedy: `Read ${this.#options.folder.postgresLog}.`,
    });
  }

  /** A cluster that was removed under us is not made again: its holders believe in their data. */
  #requireCluster(systemIdentifier: string): void {
    const { folder } = this.#options;
    try {
      if (readSystemIdentifier(folder) === systemIdentifier) return;
    } catch (error) {
      if (readErrno(error) !== "ENOENT") throw error;
    }
    throw new StintError("data_dir_unusable", `${folder.clusterDir} was removed or replaced`);
  }

  /** Tells every holder, and all who come later. A holder that reads another port attaches anew. */
  #announce(message: SupervisorMessage): void {
    const { kind } = message;
    const last = this.#announcement;
    if (kind === "progress" && last.kind === kind && last.step === message.step) return;
    this.#announcement = message;
    for (const socket of this.#holders) sendMessage(socket, message);
  }

  async #fail(thrown: unknown): Promise<void> {
    const error =
      readErrno(thrown) === undefined
        ? toStintError(thrown)
        : describeFolderError(this.#options.folder.root, thrown);
    this.#options.log(`failed: ${error.code}: ${error.message}`);
    this.#announce(encodeFailure(error));
    // Whoever started us may not have connected yet, and should learn the reason.
    if (this.#holders.size === 0) await this.#sleep(FAILURE_SHOWN_MS);
    await Promise.all([...this.#holders].map((socket) => endSocket(socket)));
  }

  #boundLogs(): void {
    const { folder, log } = this.#options;
    try {
      boundLog(folder.postgresLog);
      boundLog(folder.supervisorLog);
    } catch (error) {
      log(`cannot bound the logs: ${String(error)}`);
    }
  }
}

function clampDelay(delayMs: number): number {
  return Math.min(Math.max(0, delayMs), STOP_DELAY_MS_MAX) || 0;
}

/** Closes a connection after what was written to it, within a second. */
function endSocket(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1_000);
    socket.end(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
