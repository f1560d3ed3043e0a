import type { FileEntry, FileMatch, WorkspaceFiles } from "../core/workspace.ts";
import { resolveLinks } from "./link-resolution.ts";
import { reach, readNode, writeFileAt } from "./file-access.ts";
import { searchFiles } from "./search.ts";
import type { SearchOptions } from "./search.ts";
import { toEntry, visitTree } from "./visit.ts";

const DEPTH_MAX = 16;
const ENTRIES_MAX = 2_000;

/** Files of a workspace, with what the rest of this room needs beyond the port. */
export interface OpenedFiles extends WorkspaceFiles {
  /** What is at a path, links followed; null when nothing is. */
  stat(path: string): Promise<FileEntry | null>;
  /** As the port says, with all the bounds of a search. */
  search(
    pattern: string,
    options?: SearchOptions,
  ): Promise<{ matches: readonly FileMatch[]; truncated: boolean }>;
}

/**
 * Opens the files of a workspace. `root` is a real path. Links inside are followed as long as each
 * step stays inside; devices, fifos and sockets are refused; content is never read through a name
 * twice, so that what was checked is what is read.
 */
export function openWorkspaceFiles(root: string): OpenedFiles {
  return {
    read: (path, options = {}) =>
      reach(root, path, {}, ({ node }) => readNode(path, node, options)),
    write: (path, bytes) =>
      reach(root, path, { createParents: true }, (end) => writeFileAt(path, end, bytes)),
    stat: (path) =>
      reach(root, path, {}, ({ node }) =>
        Promise.resolve(node === null ? null : toEntry(path, node)),
      ),
    resolve: (path, seenAs) => resolveLinks(root, path, seenAs),
    list: (path, options = {}) => listFiles(root, path, options),
    search: (pattern, options = {}) => searchFiles(root, pattern, options),
  };
}

/** Lists a directory, level by level; links are named, not followed. */
async function listFiles(
  root: string,
  path: string,
  options: { depthMax?: number; entriesMax?: number },
): Promise<{ entries: readonly FileEntry[]; truncated: boolean }> {
  const { depthMax = DEPTH_MAX, entriesMax = ENTRIES_MAX } = options;
  const entries: FileEntry[] = [];
  const { truncated } = await visitTree(root, path, { depthMax }, (entry) => {
    if (entries.length >= entriesMax) return "stop";
    entries.push({ ...entry, path: entry.path.toWellFormed() });
    return "go";
  });
  return { entries, truncated };
}
