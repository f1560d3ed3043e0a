import { StintError } from "../core/error.ts";
import { openWay, type KeptPlace } from "./kept.ts";
import { reach } from "./file-access.ts";
import {
  holdsEntry,
  readTreeEntry,
  removeTreeEntry,
  unlinkTreeEntry,
  writeTreeEntry,
} from "./tree-entry.ts";
import { visitTree } from "./visit.ts";

/** The small files that say where an agent's own repository stands; its objects only grow. */
interface RepositoryState {
  readonly files: Readonly<Record<string, string>>;
  /** What was there and could not be read, files and folders: it is left as it is. */
  readonly unread?: readonly string[];
}

/** What is found of a repository. */
interface FoundState {
  readonly paths: readonly string[];
  readonly locks: readonly string[];
  readonly unread: readonly string[];
}

const FILE_BYTES_MAX = 67_108_864;
const FILES_MAX = 10_000;
const DEPTH_MAX = 16;
const HEADS: ReadonlySet<string> = new Set([
  ...["HEAD", "packed-refs", "index", "ORIG_HEAD"],
  // Of a merge, a rebase, a pick or a search that is under way.
  ...["MERGE_HEAD", "MERGE_MODE", "MERGE_MSG", "MERGE_RR", "AUTO_MERGE", "SQUASH_MSG"],
  ...["CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "BISECT_LOG", "BISECT_START"],
  ...["BISECT_TERMS", "BISECT_NAMES", "BISECT_EXPECTED_REV", "BISECT_ANCESTORS_OK"],
]);
const FOLDERS: readonly string[] = [
  ...[".git/refs", ".git/rebase-merge", ".git/rebase-apply", ".git/sequencer"],
];

/**
 * Reads HEAD, refs, index and what is under way (a merge, a rebase) of the repository at the top of
 * a workspace as bytes, without running git on it: its configuration is the agent's and may name
 * programs. Null where there is none. What the agent has locked away is told as not read.
 */
export async function readAgentRepository(root: string): Promise<Buffer | null> {
  const found = await findState(root);
  if (!found.paths.includes(".git/HEAD")) return null;
  const files: Record<string, string> = {};
  const unread = [...found.unread];
  for (const path of [...found.paths].sort()) {
    const content = await readContent(root, path);
    if (content === "unread") unread.push(path);
    else if (content !== null) files[path] = content.toString("base64");
  }
  const state: RepositoryState = { files, ...(unread.length > 0 && { unread: unread.sort() }) };
  return Buffer.from(JSON.stringify(state));
}

/**
 * Puts back what `readAgentRepository` has read, and removes what of it was not there. What stands
 * in the way and is none of it is kept, and so are locks: nothing that could hold one lives.
 */
export async function restoreAgentRepository(
  root: string,
  stored: Buffer,
  kept: KeptPlace,
): Promise<void> {
  const { files, unread = [] } = JSON.parse(stored.toString("utf8")) as RepositoryState;
  const isUnread = (path: string): boolean =>
    unread.some((one) => path === one || path.startsWith(`${one}/`));
  const now = await findState(root);
  for (const lock of now.locks) await kept.keep(root, lock);
  const readable = new Set<string>();
  for (const path of now.paths) {
    if ((await readContent(root, path)) instanceof Buffer) readable.add(path);
  }
  const extra = now.paths.filter((path) => files[path] === undefined && !isUnread(path));
  for (const path of extra) {
    if (!readable.has(path)) await kept.keep(root, path);
    // Git takes an empty folder of a rebase for a rebase, and needs those of refs.
    await (path.startsWith(".git/refs/") ? unlinkTreeEntry : removeTreeEntry)(root, path);
  }
  const makeWay = openWay(root, kept, (path) => readable.has(path));
  for (const [path, content] of Object.entries(files)) {
    const bytes = Buffer.from(content, "base64");
    if (readable.has(path) && (await holdsContent(root, path, bytes))) continue;
    await makeWay(path);
    await writeTreeEntry(root, path, { kind: "file", bytes });
  }
}

/**
 * The commit that HEAD named in a stored state; null where its branch had none yet.
 * @throws {workspace_invalid} where it keeps its refs in another format than files.
 */
export function readHeadCommit(stored: Buffer): string | null {
  const { files } = JSON.parse(stored.toString("utf8")) as RepositoryState;
  const read = (path: string): string => Buffer.from(files[path] ?? "", "base64").toString("utf8");
  const head = read(".git/HEAD").trim();
  const ref = /^ref: (refs\/.+)$/.exec(head)?.[1];
  if (ref === "refs/heads/.invalid") {
    throw new StintError("workspace_invalid", "its repository does not keep refs as files");
  }
  if (ref === undefined) return head === "" ? null : head;
  const packed = read(".git/packed-refs").split("\n");
  const loose = read(`.git/${ref}`).trim();
  if (loose !== "") return loose;
  return packed.find((line) => line.endsWith(` ${ref}`))?.split(" ")[0] ?? null;
}

async function holdsContent(root: string, path: string, bytes: Buffer): Promise<boolean> {
  const kinds = ["file", "executable"] as const;
  const held = await Promise.all(kinds.map((kind) => holdsEntry(root, path, { kind, bytes })));
  return held.includes(true);
}

/** Null where nothing of ours is there any more. @throws what is no fault of the agent's files. */
async function readContent(root: string, path: string): Promise<Buffer | null | "unread"> {
  try {
    const entry = await readTreeEntry(root, path, FILE_BYTES_MAX);
    return entry === null || entry.kind === "link" ? null : Buffer.from(entry.bytes);
  } catch (error) {
    if (isOfTheFiles(error)) return "unread";
    throw error;
  }
}

async function findState(root: string): Promise<FoundState> {
  const paths: string[] = [];
  const locks: string[] = [];
  const unread: string[] = [];
  const visit = async (
    folder: string,
    depthMax: number,
    isState: (path: string) => boolean,
  ): Promise<void> => {
    let count = 0;
    try {
      // A missing or linked folder holds nothing of this workspace; one that is locked away may.
      if (!(await isFolder(root, folder))) return;
      await visitTree(root, folder, { depthMax }, ({ path, kind }) => {
        if (kind === "directory") return "go";
        if (kind !== "file") return "skip";
        if (path.endsWith(".lock")) locks.push(path);
        else if (isState(path)) count = paths.push(path);
        return count > FILES_MAX ? "stop" : "go";
      });
    } catch (error) {
      if (!isOfTheFiles(error)) throw error;
      if (error.code === "invalid_request") unread.push(folder);
    }
  };
  await visit(".git", 1, (path) => HEADS.has(path.slice(".git/".length)));
  for (const folder of FOLDERS) await visit(folder, DEPTH_MAX, () => true);
  return { paths, locks, unread };
}

function isFolder(root: string, path: string): Promise<boolean> {
  const options = { followLinks: false };
  return reach(root, path, options, async ({ node }) => node?.stat.isDirectory() === true);
}

function isOfTheFiles(error: unknown): error is StintError {
  const codes: ReadonlySet<string> = new Set([
    ...["not_found", "invalid_request", "path_outside_workspace"],
  ]);
  return error instanceof StintError && codes.has(error.code);
}
