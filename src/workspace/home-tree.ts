import { createHash } from "node:crypto";
import { join } from "node:path";
import { readGitFields, runGit } from "./git.ts";
import { encodePath } from "./path-bytes.ts";
import { STORED, type Workspace } from "./storage.ts";
import { visitTree } from "./visit.ts";

/**
 * The home of an agent is its memory: transcripts, its own settings, what it has learned. It is
 * stored with each snapshot of the workspace, under the same id, without what can be fetched again.
 *
 * After a loss on the same host the home stays as the agent left it: that is at most one call newer
 * than the snapshot, and whole as far as the system calls of a process that was killed are. It is
 * brought back to the snapshot where the agent cannot go on from it, and on another host.
 */

/** The name of its tree in a snapshot; sorts behind all others. */
export const HOME_ENTRY = "usr";

/** Caches, what was installed, and repositories: none of it is memory. */
const SKIPPED: ReadonlySet<string> = new Set([
  ...[".cache", ".npm", ".bun", ".yarn", ".cargo", ".rustup", "node_modules", "__pycache__"],
  ...[".venv", ".git", "Cache", "Code Cache", "GPUCache", "CachedData", "tmp", ".tmp"],
]);
const FILE_BYTES_MAX = 67_108_864;
const BYTES_MAX = 268_435_456;
const FILES_MAX = 20_000;
const DEPTH_MAX = 32;
const INDEX = "index-home";
const TRIES = 3;

/** Where a home lies: in the folder of its session. */
export type HomePlace = Pick<Workspace, "store">;

/**
 * Stores the home as it is; returns its tree. Null when there is nothing to store, or more than a
 * memory can be: the workspace is stored without it then.
 */
export async function writeHomeTree(
  place: HomePlace,
  settings: readonly string[] = [],
): Promise<string | null> {
  const home = join(place.store, STORED.home);
  const memory = await listMemory(home);
  if (memory === null || memory.paths.length === 0) return null;
  const { paths, mark } = memory;
  const gitDir = join(place.store, STORED.shadow);
  const known = trees.get(gitDir);
  if (known?.mark === mark && known.isSettled) return known.tree;
  const call = { cwd: home, gitDir, workTree: home, indexFile: join(gitDir, INDEX) };
  for (let attempt = 1; ; attempt += 1) {
    const former = known?.paths ?? (await readGitFields({ ...call, args: ["ls-files", "-z"] }));
    const all = [...new Set([...former, ...paths])];
    const input = encodePath(all.map((path) => `${path}\0`).join(""));
    const kept = new Set(paths);
    const gone = former.filter((path) => !kept.has(path)).map((path) => `${path}\0`);
    const add = ["update-index", "--add", "--remove", "--replace", "-z", "--stdin"];
    const { code } = await runGit({
      ...call,
      args: [...settings, ...add],
      input,
      codes: [0, 1, 128],
    });
    if (gone.length > 0) {
      // Also what is still there, but no memory any more.
      const args = ["update-index", "--force-remove", "-z", "--stdin"];
      await runGit({ ...call, args, input: encodePath(gone.join("")), codes: [0, 1, 128] });
    }
    if (code === 0) break;
    // Files change while they are read; a home that cannot be read is no reason to fail.
    trees.delete(gitDir);
    if (attempt === TRIES) return null;
  }
  const { stdout } = await runGit({ ...call, args: [...settings, "write-tree"] });
  const tree = stdout.toString("utf8").trim();
  // Written twice within a tick of the clock, a file looks the same: seen twice, it is.
  trees.delete(gitDir);
  trees.set(gitDir, { mark, tree, paths, isSettled: known?.mark === mark });
  const [oldest] = trees.keys();
  if (trees.size > TREES_MAX && oldest !== undefined) trees.delete(oldest);
  return tree;
}

const TREES_MAX = 1_000;

/** By shadow repository: the tree that was stored last, and what the home looked like. */
const trees = new Map<
  string,
  {
    readonly mark: string;
    readonly tree: string;
    readonly paths: readonly string[];
    readonly isSettled: boolean;
  }
>();

/** What of a home is worth to be kept. */
export interface HomeMemory {
  readonly paths: readonly string[];
  /** Changes with whatever changes in them. */
  readonly mark: string;
}

/** Files and links of a home that are worth to be kept; null when they are too many or too large. */
export async function listMemory(home: string): Promise<HomeMemory | null> {
  const paths: string[] = [];
  const hash = createHash("sha256");
  let bytes = 0;
  const { truncated } = await visitTree(home, ".", { depthMax: DEPTH_MAX }, (entry, { stat }) => {
    if (SKIPPED.has(entry.path.slice(entry.path.lastIndexOf("/") + 1))) return "skip";
    const isKept =
      entry.kind === "link" || (entry.kind === "file" && entry.sizeBytes <= FILE_BYTES_MAX);
    if (isKept) {
      paths.push(entry.path);
      const { ino, mode, size, mtimeMs, ctimeMs } = stat;
      hash.update(`${entry.path}\0${ino}/${mode}/${size}/${mtimeMs}/${ctimeMs}\0`);
    }
    if (isKept && entry.kind === "file") bytes += entry.sizeBytes;
    return paths.length > FILES_MAX || bytes > BYTES_MAX ? "stop" : "go";
  }).catch(() => ({ truncated: true })); // there is no home: nothing was ever kept in it
  return truncated ? null : { paths, mark: hash.digest("hex") };
}
