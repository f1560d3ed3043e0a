import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { StintError } from "../core/error.ts";
import type { SnapshotId } from "../core/workspace.ts";
import { readAgentRepository, restoreAgentRepository } from "./agent-repository.ts";
import { readGitFields, readGitLine, runGit, throwIfAbandoned } from "./git.ts";
import type { GitAnswer, GitCall } from "./git.ts";
import { TRACK, addAll, type AddCall, type RunGit } from "./git-add.ts";
import { holdsGitlinks, readIndexMark } from "./git-index.ts";
import { encodeEntry, encodeObject, readRef, writeObjects, writeRef } from "./git-objects.ts";
import type { GitObject } from "./git-objects.ts";
import { HOME_ENTRY, writeHomeTree } from "./home-tree.ts";
import { openKeptPlace } from "./kept.ts";
import { encodePath } from "./path-bytes.ts";
import type { SnapshotEntry, SnapshotPlace, Snapshots } from "./snapshot.ts";
import { STORED, exists } from "./storage.ts";

/**
 * Configuration of a shadow repository: bytes in, the same bytes out, durable before it says so.
 * Names that are dangerous elsewhere (`.GIT`, `a\b`) are names like any other here; who writes
 * them to another place looks at them again.
 */
const CONFIG = `[core]
	repositoryformatversion = 0
	bare = false
	logallrefupdates = false
	fsync = all
	fsyncObjectFiles = true
	fileMode = true
	symlinks = true
	ignoreCase = false
	precomposeUnicode = false
	autocrlf = false
	safecrlf = false
	protectHFS = false
	protectNTFS = false
	bigFileThreshold = 16m
	compression = 1
[gc]
	auto = 0
[diff]
	renameLimit = 1000
`;

/** No attribute of the tree converts, hides or merges content. Wins over any .gitattributes. */
const ATTRIBUTES =
  "* -text -eol -ident -filter !working-tree-encoding !diff !merge !export-subst\n";

/** What nobody wants in a snapshot where no .gitignore says so. */
const EXCLUDES_OF_PLAIN_FOLDERS = "node_modules/\n.venv/\n__pycache__/\n";

const REF = "refs/heads/snapshots";
const GITLINK = "160000";
const NESTED_TRIES = 3;
const HASH = /^[0-9a-f]{40,64}$/;

/** Whether this may name a snapshot in a shadow repository, and nothing else. */
export function isHash(id: string): boolean {
  return HASH.test(id);
}

/** Makes the shadow repository of a workspace, outside its tree. */
export async function initShadow(
  place: SnapshotPlace,
  options: { isGit: boolean; forced: readonly string[] },
): Promise<void> {
  const shadow = join(place.store, STORED.shadow);
  for (const folder of ["objects", "refs/heads", "info"]) {
    await mkdir(join(shadow, folder), { recursive: true, mode: 0o700 });
  }
  await writeFile(join(shadow, "HEAD"), `ref: ${REF}\n`);
  await writeFile(join(shadow, "config"), CONFIG);
  await writeFile(join(shadow, "info/attributes"), ATTRIBUTES);
  await writeFile(join(shadow, "info/exclude"), options.isGit ? "" : EXCLUDES_OF_PLAIN_FOLDERS);
  if (options.forced.length === 0) return;
  // What is tracked although ignored has to be named once; from then on it is in the index.
  const input = encodePath(options.forced.map((path) => `${path}\0`).join(""));
  await runGit({ args: TRACK, cwd: place.path, gitDir: shadow, workTree: place.path, input });
}

/**
 * Removes every lock that a killed git left, whichever index or reference it was for; only while
 * nobody works on the workspace.
 */
export async function unlockShadow(place: SnapshotPlace): Promise<void> {
  const shadow = join(place.store, STORED.shadow);
  for (const folder of [shadow, dirname(join(shadow, REF))]) {
    const locks = (await readdir(folder)).filter((name) => name.endsWith(".lock"));
    for (const lock of locks) await rm(join(folder, lock), { recursive: true, force: true });
  }
}

/** What is known of a shadow repository; all of it is written down there as well. */
interface ShadowState {
  /** The tree of the last snapshot. */
  last?: { readonly id: string; readonly tree: string };
  /** By name of an index: its tree, and the file that the tree was written from. */
  readonly trees: Map<string, { readonly mark: string; readonly tree: string }>;
}

const STATES_MAX = 1_000;
const states = new Map<string, ShadowState>();

function remember(gitDir: string): ShadowState {
  const state = states.get(gitDir) ?? { trees: new Map() };
  states.delete(gitDir);
  states.set(gitDir, state); // the one used last comes last
  const [oldest] = states.keys();
  if (states.size > STATES_MAX && oldest !== undefined) states.delete(oldest);
  return state;
}

/** Snapshots as commits of a shadow repository: `tree/` the files, `repository` the agent's git. */
export function createGitSnapshots(place: SnapshotPlace, isDurable = true): Snapshots {
  const gitDir = join(place.store, STORED.shadow);
  const settings = isDurable ? [] : ["-c", "core.fsync=none", "-c", "core.fsyncObjectFiles=false"];
  const run = (args: readonly string[], call: Partial<GitCall> = {}): Promise<GitAnswer> =>
    runGit({
      cwd: place.path,
      gitDir,
      workTree: place.path,
      ...call,
      args: [...settings, ...args],
    });
  const readLine = async (args: readonly string[], call: Partial<GitCall> = {}): Promise<string> =>
    (await run(args, call)).stdout.toString("utf8").trim();

  const readLast = async (state: ShadowState): Promise<{ id: string; tree: string } | null> => {
    const id = await readRef(gitDir, REF);
    if (id === null) return null; // none yet
    if (state.last?.id === id) return state.last;
    const args = ["rev-parse", "--verify", "--quiet", `${id}^{tree}`];
    const { code, stdout } = await run(args, { codes: [0, 1, 128] });
    const tree = stdout.toString("utf8").trim();
    return code === 0 && tree !== "" ? { id, tree } : null;
  };

  return {
    async create({ isPortable = false } = {}) {
      const state = remember(gitDir);
      const files = await writeTree({ run, gitDir, folder: place.path, indexFile: "index", state });
      const entries = [encodeEntry("40000", "tree", files)];
      const objects: GitObject[] = [];
      const home = await writeHomeTree(place, settings);
      if (home !== null) entries.push(encodeEntry("40000", HOME_ENTRY, home));
      const repository = await readAgentRepository(place.path);
      if (repository !== null) {
        const blob = encodeObject("blob", repository);
        objects.push(blob);
        entries.unshift(encodeEntry("100644", "repository", blob.hash));
        // Read after what points into it, so that nothing is pointed to that is not there.
        if (isPortable)
          entries.unshift(encodeEntry("40000", "git", await writeAgentGit(run, place)));
      }
      const tree = encodeObject("tree", Buffer.concat(entries));
      const last = await readLast(state);
      if (last?.tree === tree.hash) return last.id;
      const commit = encodeCommit(tree.hash, last?.id ?? null, await readStamp(gitDir));
      // What this process writes itself it need not start a program for.
      throwIfAbandoned();
      await writeObjects(gitDir, [...objects, tree, commit], isDurable);
      await writeRef(gitDir, REF, commit.hash, isDurable);
      state.last = { id: commit.hash, tree: tree.hash };
      return commit.hash;
    },
    async track(paths) {
      for (const [index, { folder, paths: below }] of await groupByIndex(place, paths)) {
        const call = { cwd: folder, workTree: folder, indexFile: join(gitDir, index) };
        await run(TRACK, { ...call, input: encodePath(below.map((path) => `${path}\0`).join("")) });
      }
    },
    readLast: () => readRef(gitDir, REF),
    async has(id) {
      if (!isHash(id)) return false;
      const { code } = await run(["cat-file", "-e", `${id}^{commit}`], { codes: [0, 1, 128] });
      return code === 0;
    },
    async listEntries(id) {
      const args = ["ls-tree", "-r", "-z", `${id}:tree`];
      return parseTree(await readGitFields({ args, cwd: place.path, gitDir }));
    },
    async isPortable(id) {
      const args = ["ls-tree", "--name-only", id];
      const names = (await readLine(args)).split("\n");
      return !names.includes("repository") || names.includes("git");
    },
    async readContent(hash) {
      return (await run(["cat-file", "blob", hash])).stdout;
    },
    async readRepository(id) {
      const args = ["rev-parse", "--verify", "--quiet", `${id}:repository`];
      const { code, stdout } = await run(args, { codes: [0, 1, 128] });
      if (code !== 0) return null;
      return (await run(["cat-file", "blob", stdout.toString("utf8").trim()])).stdout;
    },
  };
}

/** Seconds at which the files were read last; a snapshot tells of no other time. */
async function readStamp(gitDir: string): Promise<number> {
  const found = await stat(join(gitDir, "index")).catch(() => null); // empty: no index yet
  return Math.floor((found?.mtimeMs ?? 0) / 1_000);
}

function encodeCommit(tree: string, parent: string | null, stampS: number): GitObject {
  const by = `Stint <stint@localhost> ${stampS} +0000`;
  const lines = [`tree ${tree}`, ...(parent === null ? [] : [`parent ${parent}`])];
  const text = [...lines, `author ${by}`, `committer ${by}`, "", "snapshot", ""].join("\n");
  return encodeObject("commit", Buffer.from(text));
}

function parseTree(fields: readonly string[]): Map<string, SnapshotEntry> {
  const entries = new Map<string, SnapshotEntry>();
  for (const field of fields) {
    const tab = field.indexOf("\t");
    const [mode, , hash] = field.slice(0, tab).split(" ");
    if (mode === undefined || hash === undefined || mode === GITLINK) continue;
    const kind = mode === "120000" ? "link" : mode === "100755" ? "executable" : "file";
    entries.set(field.slice(tab + 1), { kind, hash });
  }
  return entries;
}

const AGENT_INDEX = "index-agent-git";

/**
 * Stores the whole of the agent's own repository as files, none of which git interprets: what has
 * not changed since the last time is not read again.
 */
async function writeAgentGit(run: RunGit, place: SnapshotPlace): Promise<string> {
  const folder = join(place.path, ".git");
  const before = await lstat(folder);
  const call = {
    ...{ cwd: folder, workTree: folder },
    indexFile: join(place.store, STORED.shadow, AGENT_INDEX),
  };
  // A lock that somebody holds now would hold for ever elsewhere.
  const pathspecs = [":(top,exclude,glob)**/*.lock"];
  if ((await addAll({ run, call, pathspecs, isForced: true })) === "nested") {
    throw new StintError("internal", "a repository lies inside the agent's own");
  }
  const after = await lstat(folder);
  if (!before.isDirectory() || !after.isDirectory() || before.ino !== after.ino) {
    throw new StintError("workspace_invalid", "the repository was replaced while it was stored");
  }
  return (await run(["write-tree"], call)).stdout.toString("utf8").trim();
}

/**
 * Makes the files of a snapshot anew in an empty folder, and the index that goes with them. The
 * objects are there already.
 * @throws {workspace_gone} when they are not.
 */
export async function checkOutSnapshot(place: SnapshotPlace, id: SnapshotId): Promise<void> {
  const gitDir = join(place.store, STORED.shadow);
  const { path } = place;
  const call = { cwd: path, gitDir, workTree: path };
  await requireWhole(place, id);
  await runGit({ ...call, args: ["update-ref", REF, id] });
  await runGit({ ...call, args: ["read-tree", nameTree(id)] });
  await runGit({ ...call, args: ["checkout-index", "--all", "--force"] });
  const snapshots = createGitSnapshots(place);
  const repository = await snapshots.readRepository(id);
  if (repository === null) return;
  const folder = join(path, ".git");
  for (const name of ["refs/heads", "refs/tags", "objects/info", "objects/pack"]) {
    await mkdir(join(folder, name), { recursive: true });
  }
  const indexFile = join(gitDir, AGENT_INDEX);
  const inside = { cwd: folder, gitDir, workTree: folder, indexFile };
  await runGit({ ...inside, args: ["read-tree", `${id}:git`] });
  await runGit({ ...inside, args: ["checkout-index", "--all", "--force"] });
  await restoreAgentRepository(path, repository, openKeptPlace(place.store));
}

/** Whether every object of a state is here: a part that is missing must not show later. */
async function requireWhole(place: SnapshotPlace, id: SnapshotId): Promise<void> {
  const gitDir = join(place.store, STORED.shadow);
  const args = ["rev-list", "--objects", "--quiet", "--no-walk", "--end-of-options", id];
  const { code, stderr } = await runGit({ args, cwd: place.store, gitDir, codes: [0, 1, 128] });
  if (code === 0) return;
  throw new StintError("workspace_gone", `snapshot ${id} is not whole: ${stderr.slice(0, 500)}`);
}

/** The tree object to name a snapshot's files by. */
export function nameTree(id: SnapshotId): string {
  return `${id}:tree`;
}

interface TreeWriter {
  readonly run: RunGit;
  readonly gitDir: string;
  readonly folder: string;
  readonly indexFile: string;
  readonly state: ShadowState;
}

/** Brings an index up to date with a folder and writes its tree. */
async function writeTree(writer: TreeWriter): Promise<string> {
  const { run, gitDir, folder } = writer;
  const call = { cwd: folder, workTree: folder, indexFile: join(gitDir, writer.indexFile) };
  const isPlain = (await addAll({ run, call, pathspecs: [] })) === "whole";
  const known = writer.state.trees.get(writer.indexFile);
  // An index that is as it was when its tree was written has that tree, which is stored.
  if (isPlain && known !== undefined && known.mark === (await readIndexMark(call.indexFile))) {
    return known.tree;
  }
  const mayNest = !isPlain || (await holdsGitlinks(call.indexFile)) !== false;
  const nested = !mayNest
    ? []
    : isPlain
      ? await listGitlinks(run, call)
      : await addAround(run, call);
  const line = async (args: string[], more: Partial<GitCall> = {}): Promise<string> =>
    (await run(args, { ...call, ...more })).stdout.toString("utf8").trim();
  if (nested.length === 0) {
    const tree = await line(["write-tree"]);
    const mark = await readIndexMark(call.indexFile);
    if (mark !== null) writer.state.trees.set(writer.indexFile, { mark, tree });
    return tree;
  }
  return joinNested(writer, call, nested);
}

/** Adds all but the repositories inside; returns those. Further ones may appear meanwhile. */
async function addAround(run: RunGit, call: AddCall): Promise<string[]> {
  for (let attempt = 1; attempt <= NESTED_TRIES; attempt += 1) {
    const nested = [...(await listNested(run, call))];
    const pathspecs = nested.map((path) => `:(top,exclude,literal)${path}`);
    if ((await addAll({ run, call, pathspecs })) === "whole") return nested;
  }
  throw new StintError("internal", "repositories keep appearing in the files that are stored");
}

async function listGitlinks(run: RunGit, call: Partial<GitCall>): Promise<string[]> {
  const { stdout } = await run(["ls-files", "--stage", "-z"], call);
  if (!stdout.includes(`${GITLINK} `)) return [];
  const fields = stdout.toString("utf8").split("\0");
  return fields
    .filter((field) => field.startsWith(`${GITLINK} `))
    .map((field) => field.slice(field.indexOf("\t") + 1));
}

/** Repositories inside, also those without a commit, which git can only name. */
async function listNested(run: RunGit, call: Partial<GitCall>): Promise<Set<string>> {
  const { stdout } = await run(["ls-files", "--others", "--exclude-standard", "-z"], call);
  const names = stdout.toString("utf8").split("\0");
  const nested = names.filter((name) => name.endsWith("/")).map((name) => name.slice(0, -1));
  return new Set([...nested, ...(await listGitlinks(run, call))]);
}

/** Puts the files of repositories inside where git would put only the name of a commit. */
async function joinNested(
  writer: TreeWriter,
  call: Partial<GitCall>,
  nested: readonly string[],
): Promise<string> {
  const { run, gitDir, folder } = writer;
  const joined = join(gitDir, `${writer.indexFile}.joined`);
  await rm(joined, { force: true });
  const base = (await run(["write-tree", "--missing-ok"], call)).stdout.toString("utf8").trim();
  const on = { ...call, indexFile: joined };
  await run(["read-tree", base], on);
  for (const path of nested) {
    const inner = join(folder, path);
    if (!(await exists(inner))) continue;
    const indexFile = nameIndex(writer.indexFile, path);
    const tree = await writeTree({ ...writer, folder: inner, indexFile });
    await run(["update-index", "--force-remove", "--", path], on);
    await run(["read-tree", `--prefix=${path}/`, tree], on);
  }
  const tree = await readGitLine({
    args: ["write-tree"],
    cwd: folder,
    gitDir,
    indexFile: joined,
  });
  await rm(joined, { force: true });
  return tree;
}

/** Paths by the name of the index that they belong in: a repository inside has one of its own. */
async function groupByIndex(
  place: SnapshotPlace,
  paths: readonly string[],
): Promise<Map<string, { readonly folder: string; readonly paths: string[] }>> {
  const found = new Map<string, { index: string; root: string }>([
    ["", { index: "index", root: "" }],
  ]);
  const findIndex = async (folder: string): Promise<{ index: string; root: string }> => {
    const known = found.get(folder);
    if (known !== undefined) return known;
    const cut = folder.lastIndexOf("/");
    const outer = await findIndex(folder.slice(0, Math.max(0, cut)));
    const index = nameIndex(outer.index, folder.slice(outer.root.length));
    const isOwn =
      (await exists(join(place.path, folder, ".git"))) &&
      (await exists(join(place.store, STORED.shadow, index)));
    const answer = isOwn ? { index, root: `${folder}/` } : outer;
    found.set(folder, answer);
    return answer;
  };
  const groups = new Map<string, { readonly folder: string; readonly paths: string[] }>();
  for (const path of paths) {
    const { index, root } = await findIndex(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
    const group = groups.get(index) ?? { folder: join(place.path, root), paths: [] };
    group.paths.push(path.slice(root.length));
    groups.set(index, group);
  }
  return groups;
}

/** A name of fixed length: repositories may lie deep inside each other. */
function nameIndex(outer: string, path: string): string {
  return `index-${createHash("sha256").update(`${outer}/${path}`).digest("hex").slice(0, 16)}`;
}
