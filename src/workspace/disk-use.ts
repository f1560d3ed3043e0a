import { lstat, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { readFreeBytes, sumWrittenBytes } from "./disk-space.ts";
import { readFolder, toSystemPath } from "./path-bytes.ts";
import { openSnapshots } from "./snapshot.ts";
import { STORED, type Workspace } from "./storage.ts";

/** What one attempt takes of the disk. */
export interface DiskUse {
  /**
   * Bytes that it has put on the disk: the more of what its living processes have written, and of
   * what lies in files that were touched since it began. The second also knows of commands that have
   * ended, and of space that was reserved and not written. Within the bound of a second.
   */
  sumBytes(): Promise<number>;
  /**
   * Removes what no stored state holds, the largest first, until that much is free: nothing of the
   * attempt may live. In a copy alone. Returns how much it removed.
   */
  reclaim(freeBytesMin: number): Promise<number>;
}

/** A file and what it takes. */
interface TakenFile {
  readonly path: string;
  readonly bytes: number;
}

const LOOK_MS_MAX = 250;
const RECLAIM_MS_MAX = 60_000;
const BLOCK_BYTES = 512;
/** Small files are not what fills a disk. */
const RECLAIM_BYTES_MIN = 1_048_576;

/** Watches over what is written from now on. `cookie` and `value` name the processes. */
export async function openDiskUse(
  workspace: Workspace,
  cookie: string,
  value: string,
): Promise<DiskUse> {
  const { store, path, mode, snapshots } = workspace;
  // The folder was made for this attempt, by the clock of the file system.
  const { birthtimeMs, ctimeMs } = await stat(join(store, STORED.scratch));
  const sinceMs = birthtimeMs > 0 ? Math.min(birthtimeMs, ctimeMs) : ctimeMs;
  // What was moved there was written before.
  const kept = join(store, STORED.kept);
  const folders = mode === "copy" ? [store] : [store, path];
  return {
    async sumBytes() {
      const untilMs = performance.now() + LOOK_MS_MAX;
      const [written, files] = await Promise.all([
        sumWrittenBytes(cookie, value),
        listTouched(folders, sinceMs, untilMs, kept),
      ]);
      const lying = files.reduce((sum, { bytes }) => sum + bytes, 0);
      return Math.max(written, lying);
    },
    async reclaim(freeBytesMin) {
      if (mode !== "copy") return 0;
      const untilMs = performance.now() + RECLAIM_MS_MAX;
      const stored = await listStored(workspace);
      const shadow = join(store, snapshots === "git" ? STORED.shadow : STORED.plain);
      const files = (await listTouched(folders, sinceMs, untilMs, kept)).filter(
        ({ path: file, bytes }) =>
          isUnfinished(file) || (bytes >= RECLAIM_BYTES_MIN && !isBelow(file, shadow)),
      );
      let removed = 0;
      for (const isStored of [false, true]) {
        const these = files.filter((file) => stored.has(file.path) === isStored);
        for (const { path: file, bytes } of these.toSorted((a, b) => b.bytes - a.bytes)) {
          if ((await readFreeBytes(store)) >= freeBytesMin) return removed;
          // What cannot be removed stays; there may be other files.
          removed += await unlink(toSystemPath(file)).then(
            () => bytes,
            () => 0,
          );
        }
      }
      return removed;
    },
  };
}

/** Files whose content the last stored state holds, as it was or as it is. */
async function listStored(workspace: Workspace): Promise<ReadonlySet<string>> {
  const last = await openSnapshots(workspace).readLast();
  const entries = last === null ? new Map() : await openSnapshots(workspace).listEntries(last);
  return new Set([...entries.keys()].map((path: string) => join(workspace.path, path)));
}

/** Regular files that were changed since then, as far as the time reaches. Follows no link. */
async function listTouched(
  folders: readonly string[],
  sinceMs: number,
  untilMs: number,
  except: string,
): Promise<readonly TakenFile[]> {
  const touched: TakenFile[] = [];
  const left = [...folders];
  for (let folder = left.shift(); folder !== undefined; folder = left.shift()) {
    try {
      for await (const { name, entry } of readFolder(folder)) {
        if (performance.now() > untilMs) return touched;
        const path = join(folder, name);
        if (path === except) continue;
        if (entry.isDirectory()) left.push(path);
        if (!entry.isFile()) continue;
        const found = await lstat(toSystemPath(path)).catch(() => null);
        if (found === null || found.ctimeMs < sinceMs) continue;
        touched.push({ path, bytes: found.blocks * BLOCK_BYTES });
      }
    } catch {
      // Gone meanwhile, or locked.
    }
  }
  return touched;
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(`${folder}/`);
}

/** An object that a git was writing when it was killed. */
function isUnfinished(path: string): boolean {
  return /\/tmp_(?:obj|pack|idx)_[^/]*$/.test(path);
}
