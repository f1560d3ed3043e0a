import { StintError } from "../core/error.ts";
import type { FileEntry } from "../core/workspace.ts";
import { missing, reach } from "./file-access.ts";
import { readFolder } from "./path-bytes.ts";
import { openNode } from "./path-walk.ts";
import type { PathNode } from "./path-walk.ts";

/** An opened place as a listing shows it. */
export function toEntry(path: string, node: PathNode): FileEntry {
  const { stat } = node;
  const kind = stat.isFile()
    ? "file"
    : stat.isDirectory()
      ? "directory"
      : stat.isSymbolicLink()
        ? "link"
        : "other";
  return { path, kind, sizeBytes: stat.size };
}

/** What a visitor says about an entry: go on, leave this directory out, or end the visit. */
export type Visit = "go" | "skip" | "stop";

/**
 * Visits everything below a directory: each level whole before the next one, names sorted.
 * Paths are as `decodePath` has them. Only
 * links in `path` itself are followed. What vanishes meanwhile is left out. `truncated` when the
 * visitor stopped, or a level was deeper than `depthMax`.
 */
export async function visitTree(
  root: string,
  path: string,
  options: { depthMax: number },
  visit: (entry: FileEntry, node: PathNode) => Visit | Promise<Visit>,
): Promise<{ truncated: boolean }> {
  let level = [path];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth >= options.depthMax) return { truncated: true };
    const below: string[] = [];
    for (const folder of level) {
      const isStart = depth === 0;
      const followLinks = isStart;
      const verdict = await reach(root, folder, { followLinks }, async ({ node }) => {
        if (node === null || !node.stat.isDirectory()) {
          if (isStart) throw node === null ? missing(folder) : noDirectory(folder);
          return "go" as const;
        }
        return visitFolder(node, folder, below, visit);
      }).catch((error: unknown) => {
        if (isStart || !(error instanceof StintError)) throw error;
        return "go" as const; // replaced or removed while we looked, or locked away
      });
      if (verdict === "stop") return { truncated: true };
    }
    level = below;
  }
  return { truncated: false };
}

const NAMES_MAX = 100_000;
const UNREACHABLE: ReadonlySet<string> = new Set([
  ...["ENOENT", "ENOTDIR", "ELOOP", "EACCES", "EPERM", "ENAMETOOLONG", "ESTALE", "ENXIO"],
]);

async function visitFolder(
  node: PathNode,
  folder: string,
  below: string[],
  visit: (entry: FileEntry, node: PathNode) => Visit | Promise<Visit>,
): Promise<Visit> {
  const names: string[] = [];
  for await (const { name } of readFolder(node.path)) {
    names.push(name);
    if (names.length >= NAMES_MAX) break;
  }
  names.sort();
  for (const name of names) {
    const child = await openNode(`${node.path}/${name}`).catch(nullIfUnreachable);
    if (child === null) continue;
    try {
      const entry = toEntry(joinPath(folder, name), child);
      const verdict = await visit(entry, child);
      if (verdict === "stop") return "stop";
      if (verdict === "go" && entry.kind === "directory") below.push(entry.path);
    } finally {
      await child.close();
    }
  }
  return names.length >= NAMES_MAX ? "stop" : "go";
}

/** Gone meanwhile, or locked away; that this process can open nothing is no fact about the tree. */
function nullIfUnreachable(error: NodeJS.ErrnoException): null {
  if (UNREACHABLE.has(error.code ?? "")) return null;
  throw error;
}

function joinPath(folder: string, name: string): string {
  const clean = folder.replace(/^(?:\.?\/)+|\/+$/g, "");
  return clean === "" || clean === "." ? name : `${clean}/${name}`;
}

function noDirectory(path: string): StintError {
  return new StintError("invalid_request", `${path} is no directory`, { fields: { path } });
}
