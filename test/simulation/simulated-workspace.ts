import type { CustodyProcess, SpawnSpec } from "../../src/core/attempt.ts";
import { type Clock, delay } from "../../src/core/clock.ts";
import { StintError } from "../../src/core/error.ts";
import type { SessionSnapshot } from "../../src/core/session.ts";
import type { WorkspaceFiles } from "../../src/core/workspace.ts";
import type { AttemptWorkspace } from "../../src/worker/attempt-workspace.ts";
import type { CommandPlan, HostDisk, HostWire, Incarnation } from "./host-disk.ts";
import type { SimulatedProcess } from "./simulated-worker.ts";

/** The host as one worker sees it. */
export interface HostAccess {
  readonly process: SimulatedProcess;
  readonly disk: HostDisk;
  readonly wire: HostWire;
  /** The time of commands, which goes on when that of their worker has ended. */
  readonly commandClock: Pick<Clock, "setTimer">;
}

/** Opens the files of a session on a simulated host. */
export async function openSimulatedWorkspace(
  { process, disk, wire, commandClock }: HostAccess,
  { id: sessionId, epoch }: SessionSnapshot,
): Promise<AttemptWorkspace> {
  const owner = { sessionId, epoch };
  await delay(process, process.chance.between(5, 300));
  const base = await wire({ command: "openWorkspace" }, () => disk.open(owner));
  const files = openFiles({ process, disk, wire, commandClock }, owner);
  const takeSnapshot = async (): Promise<string> => {
    const taken = await wire({ command: "takeSnapshot" }, () => disk.takeSnapshot(sessionId));
    const stored = delay(process, process.chance.pick(disk.storeMs)).then(() =>
      wire({ command: "storeSnapshot" }, taken.store),
    );
    if (disk.isHasty) stored.catch(() => undefined);
    else await stored;
    return taken.id;
  };
  const spawn = async ({ args, callId = "" }: SpawnSpec): Promise<CustodyProcess> => {
    const plan = JSON.parse(args.at(-1) ?? "") as CommandPlan;
    let started: CustodyProcess | null = null;
    try {
      return await wire({ command: "spawn" }, () => {
        started = disk.spawn(owner, callId, plan, commandClock as Clock);
        return started;
      });
    } catch (error) {
      // What was started and then could not be taken into custody is ended.
      await (started as CustodyProcess | null)?.stop();
      throw error;
    }
  };
  return {
    ...{ path: `/workspaces/${sessionId}`, home: "/home", custodyLevel: "none", base },
    ...{ files, homeFiles: files, takeSnapshot, spawn },
    restoreHome: () => Promise.resolve(false),
    readCommandEnd: ({ callId }) =>
      wire({ command: "readCommandEnd" }, () => disk.readCommandEnd(callId)),
    forgetCommand: () => Promise.resolve(),
    discardRecords: () => Promise.resolve(),
    async restore(id) {
      await delay(process, process.chance.between(5, 100));
      await wire({ command: "restore" }, () => disk.restore(sessionId, id));
    },
    readChanges: () => Promise.resolve({ files: [] }),
    async close() {
      await delay(process, process.chance.between(0, 20));
      await wire({ command: "close" }, () => disk.close(owner));
    },
  };
}

function openFiles({ process, disk, wire }: HostAccess, owner: Incarnation): WorkspaceFiles {
  return {
    async read(path) {
      const text = await wire({ command: "readFile" }, () => disk.read(owner.sessionId, path));
      if (text === null) throw new StintError("not_found", `there is no ${path}`);
      const bytes = Buffer.from(text);
      return { bytes, sizeBytes: bytes.length, truncated: false };
    },
    async write(path, bytes) {
      const text = Buffer.from(bytes).toString();
      const action = await wire({ command: "writeFile" }, () => disk.write(owner, path, text));
      await delay(process, process.chance.pick(disk.storeMs));
      return action;
    },
    resolve: (path) => Promise.resolve(path),
    list: () => Promise.resolve({ entries: [], truncated: false }),
    search: () => Promise.resolve({ matches: [], truncated: false }),
  };
}
