import { join } from "node:path";
import { AttemptStopped } from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { SnapshotId } from "../core/workspace.ts";
import { createCustody, type Custody } from "../workspace/custody.ts";
import { diffWorkspace } from "../workspace/diff.ts";
import { openDiskUse, type DiskUse } from "../workspace/disk-use.ts";
import { buildAgentEnvironment } from "../workspace/environment.ts";
import {
  discardExitRecords,
  openExitRecords,
  readCommandEnd,
  type ExitRecords,
} from "../workspace/exit-record.ts";
import { openWorkspaceFiles } from "../workspace/files.ts";
import { FrozenTime } from "../workspace/frozen-time.ts";
import { restoreHome } from "../workspace/home-restore.ts";
import type { CustodyProbe } from "../workspace/probe.ts";
import { restoreSnapshot, type RestoreResult } from "../workspace/restore.ts";
import { createSnapshot } from "../workspace/snapshot.ts";
import type { Workspace } from "../workspace/storage.ts";
import { WORKER_COOKIE } from "../workspace/watchdog.ts";
import { AbandonableWork } from "./abandonable-work.ts";
import type { AttemptWorkspace } from "./attempt-workspace.ts";
import { openBootMark } from "./boot-mark.ts";
import type { DiskWatch } from "./disk-watch.ts";
import { bridgeToDoor, type AttemptSandbox, type Sandboxes } from "./sandboxes.ts";
import type { SnapshotKeeper } from "./snapshot-keeper.ts";

/**
 * Carried by every process of a session, whatever the attempt: so that a new attempt finds what an
 * earlier one left, while an old owner that ends late finds only its own.
 */
export const SESSION_COOKIE = "STINT_SESSION";

/** What the attempts on this host share. */
export interface AttemptHost {
  readonly sandboxes: Sandboxes;
  readonly probe: CustodyProbe;
  readonly disk: DiskWatch;
  /** Names the present start of the host. */
  readonly bootId: string;
  /** Carried by every process that this worker starts. */
  readonly workerCookie: string;
  /** The environment of this process; only names of `environment` go on to commands. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly environment: readonly string[];
  /** Reads how large a file a command that starts now may write. @default no bound */
  readonly readFileBytesMax?: () => Promise<number>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** One attempt, and its files. */
export interface LocalAttemptOptions {
  readonly session: SessionSnapshot;
  readonly signal: AbortSignal;
  readonly workspace: Workspace;
  readonly isMoved: boolean;
  /** Stores its states off this host; null: they stay. */
  readonly keeper: SnapshotKeeper | null;
  /** Told that the attempt goes on under another epoch. */
  readonly onRenewed: (session: SessionSnapshot) => void;
}

/** Of a change between two states no more is read than events can tell. */
const TOLD_BOUNDS = { patchBytesMax: 2_097_152 };
const doNothing = (): void => undefined;

/** Opens the files and processes of one attempt. The files are in their place already. */
export async function openLocalAttempt(
  host: AttemptHost,
  options: LocalAttemptOptions,
): Promise<AttemptWorkspace> {
  const { session, workspace, keeper } = options;
  const { clock, sandboxes } = host;
  const boot = await openBootMark(join(workspace.store, "boot"), host.bootId, clock.newId());
  const exits = { records: await openExitRecords(workspace.store, session.epoch) };
  const bounds = await sandboxes.open(workspace, `${session.id}.${session.epoch}`);
  const { sandbox } = bounds;
  const diskUse = await openDiskUse(workspace, SESSION_COOKIE, session.id);
  const frozenTime = new FrozenTime(clock);
  const custody = openCustody(host, options, { bounds, exits, frozenTime });
  const work = new AbandonableWork();
  abandonWhenLost(work, options.signal);
  const { promise: diskShort, stopWatching } = watchDisk(host.disk, diskUse, () => {
    // Neither a grace for its commands nor a copy of what they wrote: both would take more.
    work.abandon(new StintError("disk_full", "the disk is short"));
    void custody.close().catch(() => undefined); // told by the one who waits for it
  });
  return {
    ...(bounds.canFreeze && { freezing: createFreezing(options, { bounds, exits, frozenTime }) }),
    path: sandbox.workspace,
    hostPath: workspace.path,
    home: sandbox.home,
    sandbox: sandboxes.report,
    diskShort,
    reclaimDisk: () => diskUse.reclaim(host.disk.freeBytesWanted),
    hasNetwork: sandbox.hasNetwork,
    showDoor: (door) => bounds.showDoor(door),
    custodyLevel: custody.level,
    files: openWorkspaceFiles(workspace.path),
    homeFiles: openWorkspaceFiles(workspace.home),
    spawn: (spec, door) => custody.spawn(door ? bridgeToDoor(sandbox, door, spec) : spec),
    readCommandEnd: (call) => readCommandEnd(workspace.store, call),
    forgetCommand: (callId) => exits.records.forget(callId),
    discardRecords: (keep) =>
      discardExitRecords(workspace.store, new Set([...keep, session.epoch])),
    base: workspace.base,
    isMoved: options.isMoved,
    isRestarted: boot.isRestarted,
    async takeSnapshot() {
      const isPortable = keeper?.isTrying ?? false;
      const id = await work.run(() => createSnapshot(workspace, { isPortable }));
      await boot.settle();
      return id;
    },
    ...(keeper !== null && { storeSnapshot: (id: SnapshotId) => keeper.keep(id) }),
    async restore(id) {
      const restored = await work.run(() => restoreSnapshot(workspace, id));
      tellRestored(host.logger, session.id, id, restored);
      await boot.settle();
    },
    restoreHome: (id) => work.run(() => restoreHome(workspace, id)),
    readChanges: (from, to) =>
      work.run(() => diffWorkspace(workspace, { from, to, ...TOLD_BOUNDS })),
    async close() {
      work.close();
      stopWatching();
      await custody.close();
      await bounds.close();
      // What an attempt does to its files ends before the next one begins.
      await work.settle();
    },
  };
}

/** What the processes of an attempt are held with. */
interface Holding {
  readonly bounds: AttemptSandbox;
  /** Those of the present epoch. */
  readonly exits: { records: ExitRecords };
  readonly frozenTime: FrozenTime;
}

function openCustody(
  host: AttemptHost,
  { session, workspace }: LocalAttemptOptions,
  { bounds, exits, frozenTime }: Holding,
): Custody {
  const { probe, clock, logger, env, environment, readFileBytesMax } = host;
  const { home } = workspace;
  const agentEnv = buildAgentEnvironment({ inherit: env, home, names: environment });
  const cookies = { [SESSION_COOKIE]: session.id, [WORKER_COOKIE]: host.workerCookie };
  return createCustody({
    exits: { begin: (callId) => exits.records.begin(callId) },
    frozenTime,
    probe,
    attemptCookie: `${session.id}.${session.epoch}`,
    sandbox: bounds.sandbox,
    group: bounds.group,
    onRefused: (cause) =>
      logger.error(
        { sessionId: session.id, error: String(cause) },
        "A command was killed: its control group could not be entered",
      ),
    ...(readFileBytesMax && { readFileBytesMax }),
    env: { ...agentEnv, ...cookies },
    clock,
  });
}

function createFreezing(
  { session, workspace, keeper, onRenewed }: LocalAttemptOptions,
  { bounds: { group }, exits, frozenTime }: Holding,
): NonNullable<AttemptWorkspace["freezing"]> {
  return {
    async freeze() {
      const isFrozen = (await group?.freeze()) ?? false;
      if (isFrozen) frozenTime.begin();
      return isFrozen;
    },
    async thaw(present) {
      if (present.epoch !== session.epoch) {
        exits.records = await openExitRecords(workspace.store, present.epoch);
        keeper?.renew(present.epoch);
        onRenewed(present);
      }
      await group?.thaw();
      frozenTime.end();
    },
  };
}

/** Where people find what a restore has undone. */
function tellRestored(
  logger: Logger,
  sessionId: string,
  snapshotId: SnapshotId,
  { written, removed, undo, kept }: RestoreResult,
): void {
  if (written.length + removed.length === 0 && kept === null) return;
  const counts = { written: written.length, removed: removed.length };
  logger.info(
    { sessionId, snapshotId, undo, ...(kept !== null && { kept }), ...counts },
    "The files were brought back to what the log says; how they were is stored",
  );
}

/** What is another's now is left alone at once: two gits must not meet on one index. */
function abandonWhenLost(work: AbandonableWork, signal: AbortSignal): void {
  const leave = (): void => {
    const { reason } = signal;
    if (reason instanceof AttemptStopped && reason.request.kind === "lost") work.abandon(reason);
  };
  signal.addEventListener("abort", leave, { once: true, signal: work.signal });
}

/** Puts one attempt under the watch over the disk; the promise tells why it has to end. */
function watchDisk(
  disk: DiskWatch,
  use: DiskUse,
  end: () => void,
): { readonly promise: Promise<string>; readonly stopWatching: () => void } {
  let stopWatching = doNothing;
  const promise = new Promise<string>((resolve) => {
    const onDiskShort = (message: string): void => {
      resolve(message);
      end();
    };
    stopWatching = disk.add({ sumBytes: () => use.sumBytes(), onDiskShort });
  });
  return { promise, stopWatching };
}
