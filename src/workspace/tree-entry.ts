import { readlink, rmdir, symlink, unlink } from "node:fs/promises";
import { StintError } from "../core/error.ts";
import { missing, reach, readNode, replaceAt, writeFileAt } from "./file-access.ts";
import { toSystemPath } from "./path-bytes.ts";

/** A file or link as a snapshot holds it. */
export interface TreeEntry {
  readonly kind: "file" | "executable" | "link";
  /** The file's bytes, or the link's target. */
  readonly bytes: Uint8Array;
}

/**
 * Reads a file or a link as it stands, following no link on the way; null when nothing is there.
 * @throws {path_outside_workspace} when the path goes through a link.
 * @throws {invalid_request} for anything that is neither file nor link, or larger than `bytesMax`.
 */
export async function readTreeEntry(
  root: string,
  path: string,
  bytesMax: number,
): Promise<TreeEntry | null> {
  try {
    return await reach(root, path, { followLinks: false }, async ({ parent, name, node }) => {
      if (node === null || parent === null) return null;
      if (node.stat.isSymbolicLink()) {
        const target = await readlink(toSystemPath(`${parent.path}/${name}`), {
          encoding: "buffer",
        });
        return { kind: "link", bytes: target };
      }
      const { bytes, truncated } = await readNode(path, node, { bytesMax });
      if (truncated) {
        throw new StintError("invalid_request", `${path} is larger than ${bytesMax} bytes`);
      }
      return { kind: (node.stat.mode & 0o111) === 0 ? "file" : "executable", bytes };
    });
  } catch (error) {
    if (error instanceof StintError && error.code === "not_found") return null;
    throw error;
  }
}

/** Whether exactly this is at a path; what cannot be read is something else. */
export async function holdsEntry(root: string, path: string, entry: TreeEntry): Promise<boolean> {
  try {
    const now = await readTreeEntry(root, path, entry.bytes.length);
    return now?.kind === entry.kind && Buffer.compare(now.bytes, entry.bytes) === 0;
  } catch (error) {
    if (error instanceof StintError) return false;
    throw error;
  }
}

/** Writes a file or a link in place of what is there, following no link; parents are made. */
export async function writeTreeEntry(root: string, path: string, entry: TreeEntry): Promise<void> {
  const options = { followLinks: false, createParents: true };
  await reach(root, path, options, async (end) => {
    const { parent, name, node } = end;
    if (parent === null) throw missing(path);
    if (node?.stat.isDirectory() === true) {
      throw new StintError("invalid_request", `${path} is a directory`);
    }
    if (entry.kind === "link") {
      const target = Buffer.from(entry.bytes);
      await replaceAt(parent, name, (beside) => symlink(target, toSystemPath(beside)));
      return;
    }
    const keep = node?.stat.isFile() === true ? node.stat.mode & 0o666 : 0o644;
    const mode = entry.kind === "executable" ? keep | 0o111 : keep;
    await writeFileAt(path, { parent, name, node: null }, entry.bytes, mode);
  });
}

/** Removes a file or a link; harmless when it is gone. */
export async function unlinkTreeEntry(root: string, path: string): Promise<void> {
  try {
    await reach(root, path, { followLinks: false }, async ({ parent, name, node }) => {
      if (node !== null && parent !== null) await unlink(toSystemPath(`${parent.path}/${name}`));
    });
  } catch (error) {
    if (error instanceof StintError && error.code === "not_found") return;
    throw error;
  }
}

/** Removes a file or a link, and the directories that it leaves empty. */
export async function removeTreeEntry(root: string, path: string): Promise<void> {
  await unlinkTreeEntry(root, path);
  const parts = path.split("/");
  for (let length = parts.length - 1; length > 0; length -= 1) {
    const folder = parts.slice(0, length).join("/");
    if (!(await removeEmptyFolder(root, folder))) return;
  }
}

async function removeEmptyFolder(root: string, path: string): Promise<boolean> {
  try {
    return await reach(root, path, { followLinks: false }, async ({ parent, name, node }) => {
      if (parent === null || node?.stat.isDirectory() !== true) return false;
      return rmdir(toSystemPath(`${parent.path}/${name}`)).then(
        () => true,
        () => false, // not empty
      );
    });
  } catch {
    return false; // gone, or no longer a directory: nothing to tidy
  }
}
