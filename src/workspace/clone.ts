import { join, resolve } from "node:path";
import { StintError } from "../core/error.ts";
import { measureEntry, openCopier } from "./copy.ts";
import { GitFailure, readGitLine, runGit } from "./git.ts";
import { isInside, listWorkTree, stripCredentials } from "./source.ts";
import type { WorkTreeFiles } from "./source.ts";
import { exists } from "./storage.ts";

/** How to clone. */
export interface CloneOptions {
  /** A real path or a URL. */
  readonly source: string;
  readonly ref?: string;
  /** The directory to make. */
  readonly tree: string;
  /** Configuration file of ours that trusts the source whoever owns it. */
  readonly configFile: string;
}

/** Options of a clone that takes the source's uncommitted work along. */
export interface CloneWorkTreeOptions extends CloneOptions {
  readonly isBare: boolean;
  readonly ignoredBytesMax: number;
  readonly except: readonly string[];
}

/** What came along. */
export interface CloneResult {
  /** Files that the repository tracks although it ignores them. */
  readonly forced: readonly string[];
  /** What was left out: ignored entries beyond the bound, sockets and devices. */
  readonly omitted: readonly string[];
}

const TRANSPORT_NAMES = [
  ...["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"],
  ...["ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK"],
];

/**
 * Clones a URL at a ref. Credentials in the URL do not stay in the copy.
 * @throws {workspace_clone_failed} with what git said.
 */
export async function cloneUrl(options: CloneOptions): Promise<CloneResult> {
  const { source, tree, ref, configFile } = options;
  const env: Record<string, string> = { GIT_SSH_COMMAND: "ssh -oBatchMode=yes" };
  for (const name of TRANSPORT_NAMES) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  await tellFailure(source, async () => {
    await runClone(options, [], env);
    await setOrigin(tree, stripCredentials(source));
    await checkOut(tree, ref, configFile);
  });
  return { forced: [], omitted: [] };
}

/**
 * Clones a repository of this host, sharing nothing with it. Without a ref, or with one that is
 * the commit checked out there, the copy has the work tree as it stands: uncommitted and untracked
 * files too; what was staged is there, unstaged. Another ref is checked out clean. Ignored files
 * come along in both cases, smallest entries first, whole ones only, up to `ignoredBytesMax`.
 * The copy's `origin` is the source's own origin, never the source: a push cannot reach it.
 * @throws {workspace_clone_failed} with what git said.
 */
export async function cloneRepository(options: CloneWorkTreeOptions): Promise<CloneResult> {
  const { source, tree, ref, configFile } = options;
  return tellFailure(source, async () => {
    const lookUp = ["rev-parse", "--git-path", "objects/info/alternates"];
    const alternates = await readGitLine({ args: lookUp, cwd: source, configFile });
    const hasAlternates = await exists(resolve(source, alternates));
    await runClone(options, [hasAlternates ? "--no-local" : "--no-hardlinks"], {});
    await adoptBranches(options);
    if (options.isBare) {
      await checkOut(tree, ref, configFile);
      return { forced: [], omitted: [] };
    }
    const files = await listWorkTree(source, configFile);
    const isClean = ref !== undefined && !(await isCheckedOut(options, ref));
    if (isClean) await checkOut(tree, ref, configFile);
    const omitted = await copyWorkTree(options, files, !isClean);
    if (!isClean) await readIndex(tree);
    return { forced: files.forced, omitted };
  });
}

async function tellFailure<T>(source: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof GitFailure)) throw cause;
    const shown = stripCredentials(source);
    const words = cause.stderr.replaceAll(source, shown);
    throw new StintError("workspace_clone_failed", `${shown} could not be cloned: ${words}`, {
      fields: { source: shown },
    });
  }
}

async function runClone(
  { source, tree, configFile }: CloneOptions,
  how: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const args = ["clone", "--quiet", "--no-checkout", "--template=", ...how, "--", source, tree];
  await runGit({ args, cwd: "/", configFile, env, isTransport: true });
}

/** Gives the copy the branches of the source as they are there, and the source's own origin. */
async function adoptBranches({ source, tree, configFile }: CloneOptions): Promise<void> {
  // It points to a branch that the source may not know as a remote one.
  const head = ["symbolic-ref", "--quiet", "--delete", "refs/remotes/origin/HEAD"];
  await runGit({ args: head, cwd: tree, codes: [0, 1, 128] });
  const maps = ["+refs/heads/*:refs/heads/*", "+refs/remotes/*:refs/remotes/*"];
  const fetchArgs = ["fetch", "--quiet", "--no-tags", "--update-head-ok", "--prune"];
  const fetch = [...fetchArgs, "origin", ...maps];
  await runGit({ args: fetch, cwd: tree, configFile, isTransport: true });
  const args = ["config", "--local", "--get", "remote.origin.url"];
  const origin = await runGit({ args, cwd: source, configFile, codes: [0, 1] });
  const url = origin.stdout.toString("utf8").trim();
  if (origin.code === 0 && url !== "") await setOrigin(tree, stripCredentials(url));
  else await removeOrigin(tree);
}

async function setOrigin(tree: string, url: string): Promise<void> {
  await runGit({ args: ["config", "remote.origin.url", url], cwd: tree });
}

/** Takes the remote away without touching the refs that were copied. */
async function removeOrigin(tree: string): Promise<void> {
  const args = ["config", "--remove-section", "remote.origin"];
  await runGit({ args, cwd: tree, codes: [0, 128] });
}

async function isCheckedOut(options: CloneOptions, ref: string): Promise<boolean> {
  const { source, tree, configFile } = options;
  const wanted = await resolveRef(tree, ref);
  const args = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
  const { code, stdout } = await runGit({ args, cwd: source, configFile, codes: [0, 1, 128] });
  return code === 0 && stdout.toString("utf8").trim() === wanted;
}

/** The commit of a branch, remote branch, tag or id; in this order, branches first. */
async function resolveRef(tree: string, ref: string): Promise<string> {
  if (ref.startsWith("-")) throw new GitFailure(["rev-parse"], 128, `${ref} is no ref`);
  for (const name of [`refs/heads/${ref}`, `refs/remotes/origin/${ref}`, ref]) {
    const args = ["rev-parse", "--verify", "--quiet", "--end-of-options", `${name}^{commit}`];
    const { code, stdout } = await runGit({ args, cwd: tree, codes: [0, 1, 128] });
    if (code === 0) return stdout.toString("utf8").trim();
  }
  throw new GitFailure(["rev-parse"], 128, `there is no branch, tag or commit ${ref}`);
}

/** Checks a ref out in a fresh clone: a branch where it is one, else the bare commit. */
async function checkOut(tree: string, ref: string | undefined, configFile: string): Promise<void> {
  if (ref === undefined) {
    const { code } = await runGit({
      args: ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"],
      cwd: tree,
      codes: [0, 1, 128],
    });
    if (code === 0) await runGit({ args: ["reset", "--hard", "--quiet"], cwd: tree, configFile });
    return;
  }
  const commit = await resolveRef(tree, ref);
  const isBranch = await hasRef(tree, `refs/heads/${ref}`);
  const isRemote = await hasRef(tree, `refs/remotes/origin/${ref}`);
  const how = isBranch ? [ref] : isRemote ? ["-B", ref, commit] : ["--detach", commit];
  await runGit({ args: ["checkout", "--quiet", "--force", ...how, "--"], cwd: tree, configFile });
}

async function hasRef(tree: string, ref: string): Promise<boolean> {
  const args = ["show-ref", "--verify", "--quiet", ref];
  return (await runGit({ args, cwd: tree, codes: [0, 1] })).code === 0;
}

/** Copies the source's files over a clone; returns what was left out. */
async function copyWorkTree(
  options: CloneWorkTreeOptions,
  files: WorkTreeFiles,
  withChanges: boolean,
): Promise<string[]> {
  const { source, tree, except, ignoredBytesMax } = options;
  const copier = openCopier({ from: source, to: tree, except });
  if (withChanges) {
    const paths = new Set([...files.tracked, ...files.untracked]);
    for (const path of paths) await copier.copyEntry(path);
  }
  const wanted = files.ignored.filter((path) => {
    const real = join(source, path.replace(/\/+$/, ""));
    return !except.some((folder) => isInside(real, folder));
  });
  const sizes = await Promise.all(
    wanted.map(async (path) => {
      const bytes = await measureEntry(join(source, path), ignoredBytesMax);
      return { path, bytes };
    }),
  );
  const omitted: string[] = [];
  let left = ignoredBytesMax;
  for (const { path, bytes } of sizes.sort((a, b) => a.bytes - b.bytes)) {
    const isTaken = !withChanges && (await exists(join(tree, path)));
    if (bytes > left || isTaken) {
      omitted.push(path.toWellFormed());
      continue;
    }
    left -= bytes;
    await copier.copyEntry(path);
  }
  return [...omitted, ...copier.result().omitted];
}

/** Fills the index of a copy whose files are in place already. */
async function readIndex(tree: string): Promise<void> {
  const head = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
  const { code } = await runGit({ args: head, cwd: tree, codes: [0, 1, 128] });
  if (code !== 0) return; // a repository without a commit
  await runGit({ args: ["read-tree", "HEAD"], cwd: tree });
  await runGit({ args: ["update-index", "-q", "--refresh"], cwd: tree, codes: [0, 1] });
}
