import { access, constants, realpath, stat } from "node:fs/promises";
import { dirname, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { StintError } from "../core/error.ts";
import type { WorkspaceRequest } from "../core/workspace.ts";
import { findGit, readGitFields, runGit } from "./git.ts";

/** Where a workspace comes from, looked at and found usable. */
export type WorkspaceSource =
  | { readonly kind: "empty" }
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "repository"; readonly path: string; readonly isBare: boolean };

const URL_LIKE = /^(?:https?|ssh|git):\/\/|^[\w.-]+@[\w.-]+:/;

/** Whether a source names a repository elsewhere rather than a path on this host. */
export function isGitUrl(source: string): boolean {
  return URL_LIKE.test(source);
}

/** A URL without the name and password that it may carry. */
export function stripCredentials(url: string): string {
  return url.replace(/^([a-z]+:\/\/)[^/@]*@/i, (_, scheme: string) =>
    scheme.toLowerCase().startsWith("ssh") ? `${scheme}git@` : scheme,
  );
}

/** Whether `path` is `root` or lies below it; both real paths. */
export function isInside(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
}

/**
 * The real path of a directory that a session wants to work in or from, links resolved; equal for
 * two names of one directory. Relative paths count from the current directory.
 * @throws {workspace_missing} when nothing is there.
 * @throws {workspace_invalid} when it is no directory or may not be read.
 */
export async function resolveRealPath(source: string): Promise<string> {
  const path = source.startsWith("file://") ? parseFileUrl(source) : resolve(source);
  const fields = { path };
  if (path.includes("\0")) throw new StintError("workspace_invalid", "the path holds a NUL");
  const real = await realpath(path).catch((cause: unknown) => {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new StintError("workspace_missing", `there is no directory ${path}`, { cause, fields });
    }
    throw new StintError("workspace_invalid", `${path} cannot be reached (${code})`, {
      cause,
      fields,
    });
  });
  if (!(await stat(real)).isDirectory()) {
    throw new StintError("workspace_invalid", `${path} is no directory`, { fields });
  }
  await access(real, constants.R_OK | constants.X_OK).catch((cause: unknown) => {
    throw new StintError("workspace_invalid", `${path} may not be read`, { cause, fields });
  });
  return real;
}

function parseFileUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new StintError("workspace_invalid", `${url} names no path on this host`, { cause });
  }
}

/**
 * Looks at what a session asked for, before anything is made.
 * @throws {workspace_missing} {workspace_invalid} as `resolveRealPath`.
 * @throws {workspace_outside_roots} when roots are given and the real path lies under none.
 */
export async function resolveSource(
  request: WorkspaceRequest,
  allowedRoots?: readonly string[],
): Promise<WorkspaceSource> {
  if (request.source === undefined) {
    if (request.mode === "in-place") {
      throw new StintError("workspace_missing", "in-place needs a directory to work in");
    }
    return { kind: "empty" };
  }
  if (isGitUrl(request.source)) {
    if (request.mode === "copy") return { kind: "url", url: request.source };
    throw new StintError("workspace_invalid", "in-place needs a directory on this host, not a URL");
  }
  const path = await resolveRealPath(request.source);
  if (allowedRoots !== undefined) await requireAllowed(path, allowedRoots);
  const repository = await readRepository(path);
  return repository === null
    ? { kind: "directory", path }
    : { kind: "repository", path, isBare: repository.isBare };
}

async function requireAllowed(path: string, allowedRoots: readonly string[]): Promise<void> {
  for (const root of allowedRoots) {
    const real = await realpath(root).catch(() => null); // a root that is missing allows nothing
    if (real !== null && isInside(path, real)) return;
  }
  throw new StintError("workspace_outside_roots", `${path} lies under none of the allowed roots`, {
    fields: { path },
  });
}

/**
 * Whether a directory is itself the top of a repository. A directory somewhere inside one is a
 * plain directory: the rest of the repository was not asked for.
 */
async function readRepository(path: string): Promise<{ isBare: boolean } | null> {
  if ((await findGit()) === null) return null;
  const args = ["rev-parse", "--is-bare-repository", "--is-inside-work-tree"];
  const env = { GIT_CEILING_DIRECTORIES: dirname(path) };
  const call = { args, cwd: path, env, codes: [0, 128] };
  const { code, stdout } = await runGit(call);
  if (code !== 0) return null;
  const [isBare] = stdout.toString("utf8").split("\n");
  return { isBare: isBare === "true" };
}

/** The files of a repository's work tree, relative and split by what git thinks of them. */
export interface WorkTreeFiles {
  readonly tracked: readonly string[];
  /** Not ignored, not tracked; a name that ends in "/" is a repository inside. */
  readonly untracked: readonly string[];
  /** Ignored; whole directories end in "/". */
  readonly ignored: readonly string[];
  /** Tracked although ignored. */
  readonly forced: readonly string[];
}

/** Lists the files of a work tree without touching it: no index is refreshed, no filter runs. */
export async function listWorkTree(path: string, configFile: string): Promise<WorkTreeFiles> {
  const list = (...args: string[]): Promise<string[]> =>
    readGitFields({ args: ["ls-files", "-z", ...args], cwd: path, configFile });
  const rules = "--exclude-standard";
  return {
    tracked: await list("--cached"),
    untracked: await list("--others", rules),
    ignored: await list("--others", "--ignored", "--directory", rules),
    forced: await list("--cached", "--ignored", rules),
  };
}
