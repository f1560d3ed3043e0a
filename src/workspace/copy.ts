import { constants } from "node:fs";
import { chmod, copyFile, lstat, lutimes, mkdir, readlink, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { StintError } from "../core/error.ts";
import { throwIfAbandoned } from "./git.ts";
import { decodePath, readFolder, toSystemPath } from "./path-bytes.ts";
import { isInside } from "./source.ts";

/** What to copy and what to leave. */
export interface CopyOptions {
  /** Real path of the directory to copy from. */
  readonly from: string;
  readonly to: string;
  /** Real paths that are never copied: our own data, when it lies inside. */
  readonly except: readonly string[];
  /** @default 17_179_869_184 (16 GiB) */
  readonly bytesMax?: number;
}

/** What a copy came to. */
export interface CopyResult {
  readonly bytes: number;
  /** Sockets, fifos and devices, which are left out. */
  readonly omitted: readonly string[];
}

const BYTES_MAX = 17_179_869_184;

/** Copies files, links and directories, always of one source into one target. */
export interface TreeCopier {
  /** Copies one entry with all below it; harmless when it is gone. */
  copyEntry(path: string): Promise<void>;
  result(): CopyResult;
}

/**
 * Opens a copy. Modes and times are kept, data is shared where the file system can (reflink).
 * Links stay links; an absolute one that points into the source is turned to the copy, so that
 * work in the copy never reaches the source. A `.git` *file* is left out: it points
 * to a repository elsewhere (a submodule or linked work tree), which the copy must not share.
 */
export function openCopier(options: CopyOptions): TreeCopier {
  const { from, to, except, bytesMax = BYTES_MAX } = options;
  const omitted: string[] = [];
  const foldersMade = new Set<string>();
  let bytes = 0;

  /** False when the way there is no longer one of directories. */
  const makeParents = async (path: string): Promise<boolean> => {
    const parent = dirname(path);
    if (parent === "." || foldersMade.has(parent)) return true;
    return (await makeParents(parent)) && (await makeFolder(parent));
  };
  const makeFolder = async (path: string): Promise<boolean> => {
    const found = await lstat(toSystemPath(join(from, path)));
    if (!found.isDirectory()) return false;
    await mkdir(toSystemPath(join(to, path)), {
      recursive: true,
      mode: (found.mode & 0o777) | 0o700,
    });
    foldersMade.add(path);
    return true;
  };
  const copyEntry = async (path: string): Promise<void> => {
    throwIfAbandoned();
    const inside = join(from, path);
    if (except.some((real) => isInside(inside, real))) return;
    const source = toSystemPath(inside);
    const found = await lstat(source).catch(() => null); // removed meanwhile: nothing to copy
    if (found === null) return;
    if (found.isDirectory()) return copyFolder(path);
    if (!found.isFile() && !found.isSymbolicLink()) {
      omitted.push(path.toWellFormed());
      return;
    }
    if (found.isFile() && (path === ".git" || path.endsWith("/.git"))) return;
    if (!(await makeParents(path))) return;
    const target = toSystemPath(join(to, path));
    if (found.isSymbolicLink()) {
      const link = decodePath(await readlink(source, { encoding: "buffer" }));
      await symlink(toSystemPath(turnLink(from, path, link)), target);
      return;
    }
    bytes += found.size;
    if (bytes > bytesMax) throw tooLarge(from, bytesMax);
    await copyFile(source, target, constants.COPYFILE_FICLONE);
    await chmod(target, found.mode & 0o777);
    await lutimes(target, found.atime, found.mtime);
  };
  const copyFolder = async (path: string): Promise<void> => {
    if (!(await makeParents(path))) return;
    await makeFolder(path);
    for await (const { name } of readFolder(join(from, path))) {
      await copyEntry(path === "." ? name : `${path}/${name}`);
    }
  };
  return {
    copyEntry: (path) => copyEntry(path.replace(/\/+$/, "")),
    result: () => ({ bytes, omitted }),
  };
}

function turnLink(from: string, path: string, target: string): string {
  if (!target.startsWith("/") || !isInside(target, from)) return target;
  return relative(dirname(join(from, path)), target) || ".";
}

function tooLarge(path: string, bytesMax: number): StintError {
  return new StintError("workspace_invalid", `${path} holds more than ${bytesMax} bytes`, {
    remedy: "Work in place, or in a smaller directory.",
    fields: { path, bytesMax },
  });
}

/** Bytes of the files below an entry, counted up to a bound. */
export async function measureEntry(path: string, bytesMax: number): Promise<number> {
  const found = await lstat(toSystemPath(path)).catch(() => null); // removed meanwhile
  if (found === null) return 0;
  if (!found.isDirectory()) return found.size;
  let bytes = 0;
  for await (const { name } of readFolder(path)) {
    throwIfAbandoned();
    bytes += await measureEntry(join(path, name), bytesMax - bytes);
    if (bytes > bytesMax) break;
  }
  return bytes;
}
