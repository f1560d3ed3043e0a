import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { StintError } from "../core/error.ts";
import type { FileContent } from "../core/workspace.ts";
import { toSystemPath } from "./path-bytes.ts";
import { NODE_OPEN_FLAGS, walkPath } from "./path-walk.ts";
import type { PathEnd, PathNode, WalkOptions } from "./path-walk.ts";

const READ_BYTES_MAX = 1_048_576;
const MODE_DEFAULT = 0o666;

/** Walks to a path; errors of the system come as errors that say what to do. */
export async function reach<T>(
  root: string,
  path: string,
  options: WalkOptions,
  use: (end: PathEnd) => Promise<T>,
): Promise<T> {
  try {
    return await walkPath(root, path, options, use);
  } catch (error) {
    throw explainFileError(error, path);
  }
}

/** Turns a system error about a file into one that says what to do. */
function explainFileError(error: unknown, path: string): unknown {
  if (error instanceof StintError) return error;
  const { code } = error as NodeJS.ErrnoException;
  const options = { cause: error, fields: { path } };
  switch (code) {
    case "ENOENT":
      return missing(path);
    case "ENOSPC":
    case "EDQUOT":
      return new StintError("disk_full", `no space to write ${path}`, options);
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new StintError("invalid_request", `${path} may not be opened (${code})`, options);
    case "EISDIR":
    case "ENOTDIR":
    case "ENAMETOOLONG":
    case "ELOOP":
      return new StintError("invalid_request", `${path} is no such file (${code})`, options);
    default:
      return error;
  }
}

/** The error of a path where nothing is. */
export function missing(path: string): StintError {
  return new StintError("not_found", `there is no ${path} in the workspace`, {
    remedy: "List the directory to see what is there.",
    fields: { path },
  });
}

/** Reads the content of an opened place, or a part of it. */
export async function readNode(
  path: string,
  node: PathNode | null,
  options: { offset?: number; bytesMax?: number },
): Promise<FileContent> {
  if (node === null) throw missing(path);
  requireFile(path, node);
  const { offset = 0, bytesMax = READ_BYTES_MAX } = options;
  const handle = await open(toSystemPath(node.path), constants.O_RDONLY | NODE_OPEN_FLAGS);
  try {
    const sizeBytes = node.stat.size;
    const wanted = Math.max(0, Math.min(bytesMax, sizeBytes - offset));
    const bytes = Buffer.alloc(wanted);
    let filled = 0;
    while (filled < wanted) {
      const { bytesRead } = await handle.read(bytes, filled, wanted - filled, offset + filled);
      if (bytesRead === 0) break; // it became shorter meanwhile
      filled += bytesRead;
    }
    return {
      bytes: bytes.subarray(0, filled),
      sizeBytes,
      truncated: filled === wanted && offset + filled < sizeBytes,
    };
  } finally {
    await handle.close();
  }
}

function requireFile(path: string, node: PathNode): void {
  if (node.stat.isFile()) return;
  const kind = node.stat.isDirectory() ? "a directory" : "no regular file";
  throw new StintError("invalid_request", `${path} is ${kind}`, { fields: { path } });
}

/** Replaces a file whole: written beside, made durable, then renamed over. */
export async function writeFileAt(
  path: string,
  end: PathEnd,
  bytes: Uint8Array,
  mode = (end.node?.stat.mode ?? MODE_DEFAULT) & 0o7777,
): Promise<"created" | "modified"> {
  const { parent, name, node } = end;
  if (parent === null) throw missing(path);
  if (node !== null) requireFile(path, node);
  await replaceAt(parent, name, async (beside) => {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await open(toSystemPath(beside), flags, mode);
    try {
      await handle.writeFile(bytes);
      if (node !== null) await handle.chmod(mode);
      await handle.datasync();
    } finally {
      await handle.close();
    }
  });
  return node === null ? "created" : "modified";
}

/** Makes something beside `name` and renames it over. */
export async function replaceAt(
  parent: PathNode,
  name: string,
  make: (beside: string) => Promise<void>,
): Promise<void> {
  const beside = `${parent.path}/.stint-${randomBytes(8).toString("hex")}.tmp`;
  try {
    await make(beside);
    await rename(toSystemPath(beside), toSystemPath(`${parent.path}/${name}`));
  } catch (error) {
    await rm(toSystemPath(beside), { force: true });
    throw error;
  }
}
