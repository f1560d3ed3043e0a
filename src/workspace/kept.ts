import { chmod, mkdir, readdir, rename, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { missing, reach } from "./file-access.ts";
import { toSystemPath } from "./path-bytes.ts";
import { removeFolder } from "./remove.ts";
import { STORED, makePrivateFolder } from "./storage.ts";

/** How many restores keep what stood in their way; after that the oldest is dropped. */
const KEPT_MAX = 16;
/** How many whole workspaces that another host had gone on from are among them. */
const REPLACED_MAX = 2;
const REPLACED = "-replaced";
const KEPT_NAME = /^(\d+)(?:-replaced)?$/;
const NUMBER_DIGITS = 8;
const OWN = 0o700;

/**
 * Where a restore puts what stands in its way and is in no snapshot. Each restore that meets
 * something has a folder of its own, numbered upwards, in which everything has its former path.
 */
export interface KeptPlace {
  /**
   * Moves what is at a path below `root` aside, by one rename: after a crash it is either there or
   * here. Follows no link. An empty directory is removed instead: it holds nothing. Harmless when
   * nothing is there.
   */
  keep(root: string, path: string): Promise<void>;
  /** The folder of this restore; null while nothing had to be kept. */
  locate(): Promise<string | null>;
}

/** Opens the place of one restore; no folder is made before something has to be kept. */
export function openKeptPlace(store: string): KeptPlace {
  let making: Promise<string> | null = null;
  return {
    locate: async () => making,
    keep: (root, path) =>
      reach(root, path, { followLinks: false }, async ({ parent, name, node }) => {
        if (node === null) return;
        if (parent === null) throw missing(path);
        const from = `${parent.path}/${name}`;
        if (node.stat.isDirectory() && (await removeEmpty(from))) return;
        making ??= makeNextFolder(join(store, STORED.kept));
        const options = { followLinks: false, createParents: true };
        await reach(await making, path, options, async (to) => {
          if (to.parent === null) throw missing(path);
          await rename(toSystemPath(from), toSystemPath(`${to.parent.path}/${to.name}`));
        });
      }),
  };
}

/**
 * Makes the way to paths below `root` free before they are written: what is no directory on the way,
 * and at the end what is a directory or not stored, is kept. The way to a file that was written is
 * not looked at again: nothing else may work on the tree meanwhile.
 */
export function openWay(
  root: string,
  kept: KeptPlace,
  isStored: (path: string) => boolean,
): (path: string) => Promise<void> {
  const free = new Set<string>();
  return async (path) => {
    const parts = path.split("/");
    for (let length = 1; length <= parts.length; length += 1) {
      const at = parts.slice(0, length).join("/");
      if (free.has(at)) continue;
      const found = await look(root, at);
      if (found === "nothing") return;
      const isInTheWay =
        length < parts.length ? found !== "directory" : found === "directory" || !isStored(at);
      if (isInTheWay) return kept.keep(root, at);
      if (found === "directory") free.add(at);
    }
  };
}

/** A directory whose permissions the agent took away is given them back: modes are not stored. */
function look(root: string, path: string): Promise<"nothing" | "directory" | "other"> {
  return reach(root, path, { followLinks: false }, async ({ node }) => {
    if (node === null) return "nothing";
    if (!node.stat.isDirectory()) return "other";
    if ((node.stat.mode & OWN) !== OWN) {
      await chmod(toSystemPath(node.path), (node.stat.mode & 0o7777) | OWN);
    }
    return "directory";
  });
}

/**
 * Moves the folder of a workspace into what is kept of the one that took its place, with its states;
 * what it had kept itself comes before it. Each step is one rename: after a crash the same call goes
 * on.
 */
export async function keepReplaced(store: string, replaced: string): Promise<void> {
  const former = join(replaced, STORED.kept);
  const names = await readdir(former).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const kept = join(store, STORED.kept);
  for (const name of names.filter((one) => KEPT_NAME.test(one)).sort()) {
    const end = name.endsWith(REPLACED) ? REPLACED : "";
    await rename(join(former, name), await makeNextFolder(kept, end));
  }
  await removeFolder(join(replaced, STORED.scratch));
  await rename(replaced, await makeNextFolder(kept, REPLACED));
}

/** Makes room for one more and the folder for it. */
async function makeNextFolder(kept: string, end = ""): Promise<string> {
  await makePrivateFolder(kept);
  const names = (await readdir(kept)).filter((name) => KEPT_NAME.test(name)).sort();
  // Made just before a crash: it must not push out what holds something.
  const newest = names.at(-1);
  if (newest !== undefined && (await removeEmpty(join(kept, newest)))) names.pop();
  const doomed = new Set(names.slice(0, -KEPT_MAX + 1));
  const whole = names.filter((name) => name.endsWith(REPLACED));
  if (end === REPLACED) for (const name of whole.slice(0, -REPLACED_MAX + 1)) doomed.add(name);
  for (const name of doomed) await removeFolder(join(kept, name));
  const [, last = "0"] = KEPT_NAME.exec(names.at(-1) ?? "") ?? [];
  const folder = join(kept, `${String(Number(last) + 1).padStart(NUMBER_DIGITS, "0")}${end}`);
  await mkdir(folder, { mode: 0o700 });
  return folder;
}

async function removeEmpty(path: string): Promise<boolean> {
  try {
    await rmdir(toSystemPath(path));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTEMPTY" || code === "EEXIST") return false;
    throw error;
  }
}
