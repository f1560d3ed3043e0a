import { hostname } from "node:os";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import type { Config } from "../core/config.ts";
import { silentLogger, type Logger } from "../core/log.ts";
import { describeSandbox } from "../core/sandbox.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { SnapshotStore } from "../core/snapshot-store.ts";
import type { WorkspaceDiff } from "../core/workspace.ts";
import type { WorkspaceReader } from "../core/workspace-reader.ts";
import { diffWorkspace } from "../workspace/diff.ts";
import { boundFileBytes, readFreeBytes } from "../workspace/disk-space.ts";
import { runAbandonable } from "../workspace/git.ts";
import { probeCustody } from "../workspace/probe.ts";
import type { Workspace } from "../workspace/storage.ts";
import { sweepEnvironment } from "../workspace/sweep.ts";
import { createWatchdog, type Watchdog } from "../workspace/watchdog.ts";
import type { OpenAttemptWorkspace } from "./attempt-workspace.ts";
import { readOrCreateFile } from "./create-once.ts";
import { DiskWatch } from "./disk-watch.ts";
import { readHostIdentity } from "./host-identity.ts";
import { openLocalAttempt, SESSION_COOKIE, type AttemptHost } from "./local-attempt.ts";
import { openNewestWorkspace } from "./newest-workspace.ts";
import { openSandboxes, type SandboxSettings } from "./sandboxes.ts";
import { SessionFiles } from "./session-files.ts";
import { SnapshotKeeper } from "./snapshot-keeper.ts";
import type { SnapshotStores } from "./snapshot-stores.ts";

/** What is not asked for is not bounded. */
const NO_SANDBOX: Omit<SandboxSettings, "dataDir"> = {
  ...({
    sandbox: "none",
    sandboxNetwork: "host",
    sandboxReadPaths: [],
    sandboxWritePaths: [],
  } as const),
  ...{ memoryBytesMax: null, processesMax: 2_048, cpusMax: null },
};
/** What the workspaces of this host need. */
export interface LocalWorkspacesOptions {
  readonly config: Pick<
    Config,
    "dataDir" | "allowedRoots" | "environment" | "ignoredBytesMax" | "logLevel"
  > &
    Partial<Omit<SandboxSettings, "dataDir">> &
    Partial<Pick<Config, "snapshotBytesMax" | "fileBytesMax" | "freeDiskBytesMin">>;
  /** Places off this host for states of workspaces. @default none: sessions stay on their host */
  readonly snapshots?: Pick<SnapshotStores, "target" | "readable">;
  /** Told what keeps a session on this host. @default nobody */
  readonly logger?: Logger;
  /** The environment of this process; only allow-listed names go on to commands. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

/** The workspaces of sessions on this host. */
export interface LocalWorkspaces extends WorkspaceReader {
  readonly open: OpenAttemptWorkspace;
  /** Names this data folder: workers that share it share its workspaces. */
  readonly hostId: string;
  /** How commands are held here, for people. */
  readonly description: string;
  /**
   * Says how long what was started here may still run. When that time passes unrenewed, a process
   * beside this one kills all of it: also while this one is frozen.
   */
  keepAlive(leaseLeftMs: number): void;
  /** Ends whatever still runs. */
  close(): Promise<void>;
}

/** Opens the workspaces below the data folder of this host. */
export async function createLocalWorkspaces(
  options: LocalWorkspacesOptions,
): Promise<LocalWorkspaces> {
  const { config, env, clock, logger = silentLogger } = options;
  const { dataDir, ignoredBytesMax, allowedRoots, environment, fileBytesMax } = config;
  const { target = null, readable = [] } = options.snapshots ?? {};
  const bytesMax = config.snapshotBytesMax ?? Number.MAX_SAFE_INTEGER;
  const probe = await probeCustody();
  const sandboxes = await openSandboxes({ ...NO_SANDBOX, ...config }, probe);
  const freeBytesMin = config.freeDiskBytesMin ?? 0;
  const readFree = (): Promise<number> => readFreeBytes(dataDir);
  const disk = new DiskWatch({ readFreeBytes: readFree, freeBytesMin, clock });
  const readFileBytesMax = async (fileBytesMax: number): Promise<number> => {
    const freeBytes = await readFree().catch(() => Number.MAX_SAFE_INTEGER); // the setting holds
    return boundFileBytes(freeBytes, { fileBytesMax, freeBytesMin });
  };
  const workerCookie = clock.newId();
  const life = new BoundedLife(workerCookie, clock);
  const hostId = await readHostId(dataDir, clock);
  const places = { dataDir, hostId, target, readable };
  const files = new SessionFiles({ ...places, ignoredBytesMax, allowedRoots, clock });
  // Without the namespace of pids: the files outlive that.
  const [bootId = ""] = (await readHostIdentity()).bootId.split(" ");
  const host: AttemptHost = {
    ...{ sandboxes, probe, disk, bootId, workerCookie, env, environment, clock, logger },
    ...(fileBytesMax !== undefined && { readFileBytesMax: () => readFileBytesMax(fileBytesMax) }),
  };

  const openKeeper = (session: SessionSnapshot, workspace: Workspace): SnapshotKeeper | null => {
    if (target === null || !files.mayMove(session)) return null;
    const owner = { sessionId: session.id, epoch: session.epoch };
    return new SnapshotKeeper({ store: target, workspace, owner, bytesMax, clock, logger });
  };

  const onRenewed = (session: SessionSnapshot): void => files.renew(session);
  const open: OpenAttemptWorkspace = async (session, signal) => {
    life.begin();
    await sweepEnvironment(SESSION_COOKIE, session.id);
    signal.throwIfAborted();
    // What was prepared so far is no loss: a stop does not wait for the rest.
    const opened = await runAbandonable(signal, () => files.open(session, signal));
    const keeper = openKeeper(session, opened.workspace);
    return openLocalAttempt(host, { session, signal, ...opened, keeper, onRenewed });
  };

  const openReadable = (): Promise<readonly SnapshotStore[]> => Promise.resolve(readable);
  const diff = async (
    session: SessionSnapshot,
    from?: string,
    to?: string,
  ): Promise<WorkspaceDiff> => {
    const newest = await openNewestWorkspace({ session, dataDir, hostId, openReadable });
    const last = to ?? newest.to;
    return diffWorkspace(newest.workspace, { ...(from && { from }), ...(last && { to: last }) });
  };

  const kept = target === null ? "" : ` · snapshots: ${target.name.replace(/:.*/, "")}`;
  const description = `custody: ${probe.level} · sandbox: ${describeSandbox(sandboxes.report)}${kept}`;
  const keepAlive = (leaseLeftMs: number): void => life.renew(leaseLeftMs);
  return { open, diff, hostId, description, keepAlive, close: () => life.end() };
}

/** How long what was started here may still run, told to a process beside this one. */
class BoundedLife {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #watchdog: Watchdog;
  #aliveUntil = Number.POSITIVE_INFINITY;
  #hasBegun = false;

  constructor(workerCookie: string, clock: Pick<Clock, "monotonic">) {
    this.#watchdog = createWatchdog(workerCookie);
    this.#clock = clock;
  }

  /** Until a session is opened there is nothing to watch over, and no need for another process. */
  begin(): void {
    this.#hasBegun = true;
    if (!Number.isFinite(this.#aliveUntil)) return;
    this.#watchdog.feed(this.#aliveUntil - this.#clock.monotonic());
  }

  renew(leaseLeftMs: number): void {
    this.#aliveUntil = this.#clock.monotonic() + leaseLeftMs;
    if (this.#hasBegun) this.begin();
  }

  end(): Promise<void> {
    return this.#watchdog.close();
  }
}

/** Names a data folder for ever. People are told it: it says on which machine the folder began. */
export function readHostId(dataDir: string, clock: Pick<Clock, "newId">): Promise<string> {
  const name = `${hostname().slice(0, 200)}/${clock.newId()}`;
  return readOrCreateFile(join(dataDir, "host-id"), name, clock.newId());
}
