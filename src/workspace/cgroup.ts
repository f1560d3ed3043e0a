import { access, constants, mkdir, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { findFreezer, freezeGroup, thawGroup, type Freezer } from "./freezer.ts";

/** What the processes of one attempt may use together; null means no bound. */
export interface ResourceBounds {
  /** Bytes of memory. @default three quarters of the machine's */
  readonly memoryBytesMax: number | null;
  /** Processes and threads. @default 2_048 */
  readonly processesMax: number | null;
  /** Cores. @default all of them, behind everything else */
  readonly cpusMax: number | null;
}

/** The control groups of one attempt. */
export interface ResourceGroup {
  /** Takes processes in; what they start is in it from the beginning. */
  enter(pids: readonly number[]): Promise<void>;
  /**
   * Freezes everything in it. False when that is not possible here, or something could not be frozen
   * in time: then everything runs on.
   */
  freeze(): Promise<boolean>;
  /** Lets everything run on. Idempotent. */
  thaw(): Promise<void>;
  /** Removes the groups, once nothing lives in them. Never rejects. */
  close(): Promise<void>;
}

/** Makes groups, where this host lets us. */
export interface ResourceControl {
  /** Whether its groups bound what is in them. */
  readonly isBounding: boolean;
  /** Whether its groups can be frozen. */
  readonly canFreeze: boolean;
  create(name: string): Promise<ResourceGroup>;
}

/** One hierarchy and what is written into a group of it. */
interface Hierarchy {
  readonly folder: string;
  readonly writes: readonly (readonly [file: string, value: string])[];
}

const ROOT = "/sys/fs/cgroup";
/** The folder of all our groups in a hierarchy. */
const PARENT = "stint";
const CPU_PERIOD_US = 100_000;
/** Against each other all sessions count alike. */
const CPU_SHARES = 512;
const CPU_WEIGHT = 50;
/**
 * All sessions together, against one other process of the host: as much. With less, processes that
 * are killed would not get the time to end within that of a cancel.
 */
const CPU_SHARES_ALL = 1_024;
const CPU_WEIGHT_ALL = 100;
/** Each needs another worker that starts in the very same moment. */
const ENTER_ATTEMPTS = 50;
const REMOVE_ATTEMPTS = 20;
const REMOVE_DELAY_MS = 10;

/** Bounds that protect a machine from its agents without standing in their way. */
export function defaultBounds(): ResourceBounds {
  return { memoryBytesMax: Math.floor(totalmem() * 0.75), processesMax: 2_048, cpusMax: null };
}

/**
 * Control groups where they can be written: version 2 with its controllers handed on, else the
 * hierarchies of version 1. Freezing needs no controller, only a group. Null where nothing can be
 * bounded nor frozen. Without bounds they only freeze.
 */
export async function probeResourceControl(
  bounds: ResourceBounds | null,
  root = ROOT,
): Promise<ResourceControl | null> {
  const bounding =
    bounds === null ? [] : ((await findUnified(root, bounds)) ?? (await findSplit(root, bounds)));
  const freezer = await findFreezer(root);
  const isThere = bounding.some(({ folder }) => folder === freezer?.folder);
  const own = freezer === null || isThere ? [] : [{ folder: freezer.folder, writes: [] }];
  const hierarchies = [...bounding, ...own];
  if (hierarchies.length === 0) return null;
  for (const { folder } of hierarchies) await removeAbandoned(folder);
  return {
    isBounding: bounding.length > 0,
    canFreeze: freezer !== null,
    create: (name) => createGroup(hierarchies, freezer, name),
  };
}

async function findUnified(root: string, bounds: ResourceBounds): Promise<Hierarchy[] | null> {
  const controllers = await read(join(root, "cgroup.controllers"));
  if (controllers === null || !/\bpids\b/.test(controllers)) return null;
  const parent = join(root, PARENT);
  try {
    await mkdir(parent, { recursive: true });
    await writeFile(join(root, "cgroup.subtree_control"), "+memory +pids +cpu");
    await writeFile(join(parent, "cgroup.subtree_control"), "+memory +pids +cpu");
    await writeFile(join(parent, "cpu.weight"), String(CPU_WEIGHT_ALL));
  } catch {
    return null; // read-only, or handed to somebody else
  }
  const { memoryBytesMax, processesMax, cpusMax } = bounds;
  const writes: [string, string][] = [["cpu.weight", String(CPU_WEIGHT)]];
  if (memoryBytesMax !== null) writes.push(["memory.max", String(memoryBytesMax)]);
  if (processesMax !== null) writes.push(["pids.max", String(processesMax)]);
  if (cpusMax !== null) {
    writes.push(["cpu.max", `${Math.round(cpusMax * CPU_PERIOD_US)} ${CPU_PERIOD_US}`]);
  }
  return [{ folder: parent, writes }];
}

async function findSplit(root: string, bounds: ResourceBounds): Promise<Hierarchy[]> {
  const { memoryBytesMax, processesMax, cpusMax } = bounds;
  const quota = Math.round((cpusMax ?? availableParallelism()) * CPU_PERIOD_US);
  const wanted: Record<string, [string, string][]> = {
    memory: memoryBytesMax === null ? [] : [["memory.limit_in_bytes", String(memoryBytesMax)]],
    pids: processesMax === null ? [] : [["pids.max", String(processesMax)]],
    cpu: [
      ["cpu.shares", String(CPU_SHARES)],
      ...(cpusMax === null ? [] : ([["cpu.cfs_quota_us", String(quota)]] as [string, string][])),
    ],
  };
  const found: Hierarchy[] = [];
  for (const [controller, writes] of Object.entries(wanted)) {
    const folder = join(root, controller, PARENT);
    if (!(await makeFolder(folder))) continue;
    if (controller === "cpu") await writeFile(join(folder, "cpu.shares"), String(CPU_SHARES_ALL));
    found.push({ folder, writes });
  }
  // Half a bound is no bound: a fork bomb must not get past it.
  return found.length === Object.keys(wanted).length ? found : [];
}

async function makeFolder(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, { recursive: true });
    await access(join(folder, "cgroup.procs"), constants.W_OK);
    return true;
  } catch {
    return false; // no such controller, or not ours to write
  }
}

async function createGroup(
  hierarchies: readonly Hierarchy[],
  freezer: Freezer | null,
  name: string,
): Promise<ResourceGroup> {
  for (const hierarchy of hierarchies) await makeGroup(hierarchy, name);
  return {
    freeze: async () => freezer !== null && freezeGroup(freezer, name),
    thaw: async () => {
      if (freezer !== null) await thawGroup(freezer, name);
    },
    async enter(pids) {
      for (const hierarchy of hierarchies) {
        for (const pid of pids) await enterGroup(hierarchy, name, pid);
      }
    },
    async close() {
      for (const { folder } of hierarchies) await removeGroup(join(folder, name));
    },
  };
}

async function makeGroup({ folder, writes }: Hierarchy, name: string): Promise<void> {
  const group = join(folder, name);
  await retryWhileRemoved(async () => {
    await mkdir(group, { recursive: true });
    for (const [file, value] of writes) await writeFile(join(group, file), value);
  });
}

async function enterGroup(hierarchy: Hierarchy, name: string, pid: number): Promise<void> {
  const file = join(hierarchy.folder, name, "cgroup.procs");
  await retryWhileRemoved(async (attempt) => {
    if (attempt > 1) await makeGroup(hierarchy, name);
    await writeFile(file, String(pid)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ESRCH") throw error; // it has ended already
    });
  });
}

/**
 * Does again what met a group that was just removed: a worker that starts takes each group that is
 * empty for abandoned, also one that is being made, or lies between two commands.
 */
async function retryWhileRemoved(work: (attempt: number) => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Gone before it was opened, or between the opening and the write.
      const isGone = code === "ENOENT" || code === "ENODEV";
      if (!isGone || attempt === ENTER_ATTEMPTS) throw error;
    }
  }
}

/** The kernel lets go of a group a moment after its last process has ended. */
async function removeGroup(folder: string): Promise<void> {
  for (let attempt = 0; attempt < REMOVE_ATTEMPTS; attempt++) {
    try {
      await rmdir(folder);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    }
    await new Promise((resolve) => setTimeout(resolve, REMOVE_DELAY_MS));
  }
}

/** What a worker has left that was killed; a group in which something lives cannot be removed. */
async function removeAbandoned(parent: string): Promise<void> {
  for (const entry of await readdir(parent, { withFileTypes: true })) {
    if (entry.isDirectory()) await rmdir(join(parent, entry.name)).catch(() => undefined); // in use
  }
}

async function read(file: string): Promise<string | null> {
  return readFile(file, "utf8").catch(() => null); // not there
}
