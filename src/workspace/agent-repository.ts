import { StintError } from "../core/error.ts";
import { openWay, type KeptPlace } from "./kept.ts";
import { readTreeEntry, unlinkTreeEntry, writeTreeEntry } from "./tree-entry.ts";
import { visitTree } from "./visit.ts";

/** The small files that say where an agent's own repository stands; its objects only grow. */
interface RepositoryState {
  readonly files: Readonly<Record<string, string>>;
}

const FILE_BYTES_MAX = 67_108_864;
const REFS_MAX = 10_000;
const DEPTH_MAX = 16;
const HEADS: readonly string[] = [".git/HEAD", ".git/packed-refs", ".git/index"];

/**
 * Reads HEAD, refs and index of the repository at the top of a workspace as bytes, without running
 * git on it: its configuration is the agent's and may name programs. Null where there is none.
 */
export async function readAgentRepository(root: string): Promise<Buffer | null> {
  const paths = await listStateFiles(root);
  if (!paths.includes(".git/HEAD")) return null;
  const files: Record<string, string> = {};
  for (const path of paths.sort()) {
    const entry = await readTreeEntry(root, path, FILE_BYTES_MAX).catch(() => null); // locked away
    if (entry !== null && entry.kind !== "link") {
      files[path] = Buffer.from(entry.bytes).toString("base64");
    }
  }
  const state: RepositoryState = { files };
  return Buffer.from(JSON.stringify(state));
}

/**
 * Puts HEAD, refs and index back as they were; refs that were not there are removed. What stands in
 * the way and is none of them is kept.
 */
export async function restoreAgentRepository(
  root: string,
  stored: Buffer,
  kept: KeptPlace,
): Promise<void> {
  const { files } = JSON.parse(stored.toString("utf8")) as RepositoryState;
  const extra = (await listStateFiles(root)).filter((path) => files[path] === undefined);
  for (const path of extra) await unlinkTreeEntry(root, path);
  const read = new Set<string>();
  const makeWay = openWay(root, kept, (path) => read.has(path));
  for (const [path, content] of Object.entries(files)) {
    const bytes = Buffer.from(content, "base64");
    const now = await readTreeEntry(root, path, FILE_BYTES_MAX).catch(() => null); // then written
    if (now !== null && now.kind !== "link") read.add(path);
    if (now !== null && now.kind !== "link" && Buffer.compare(now.bytes, bytes) === 0) continue;
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

async function listStateFiles(root: string): Promise<string[]> {
  const paths: string[] = [];
  // A missing or linked .git is no repository of this workspace.
  await visitTree(root, ".git", { depthMax: 1 }, ({ path, kind }) => {
    if (kind === "file" && HEADS.includes(path)) paths.push(path);
    return "skip";
  }).catch(() => undefined);
  await visitTree(root, ".git/refs", { depthMax: DEPTH_MAX }, ({ path, kind }) => {
    if (kind === "file" && !path.endsWith(".lock")) paths.push(path);
    return paths.length > REFS_MAX ? "stop" : "go";
  }).catch(() => undefined);
  return paths;
}
