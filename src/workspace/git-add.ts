import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import { GitFailure, type GitAnswer, type GitCall } from "./git.ts";
import { decodePath, encodePath, toSystemPath } from "./path-bytes.ts";

/** Runs git on one shadow repository. */
export type RunGit = (args: readonly string[], call?: Partial<GitCall>) => Promise<GitAnswer>;

/** Names an index and its folder. */
export type AddCall = Partial<GitCall> & { readonly workTree: string };

/** What is added to which index. */
interface AddOptions {
  readonly run: RunGit;
  readonly call: AddCall;
  readonly pathspecs: readonly string[];
  /** Also what is ignored. @default false */
  readonly isForced?: boolean;
}

/** Brings an index up to date with the paths that it is given, ignored or gone. */
export const TRACK = ["update-index", "--add", "--remove", "--replace", "-z", "--stdin"];
const DROP = ["update-index", "--force-remove", "-z", "--stdin"];
const TRIES = 3;

/**
 * Brings an index up to date with a folder. Only what no snapshot can hold may stay out: files that
 * the agent may not read itself, and names that git never stores. Whether that is all that git
 * stumbled over is seen from the files, not from what it says. `nested`: it stumbled over a
 * repository inside, and the index is not whole.
 * @throws {GitFailure} when anything else is left out.
 */
export async function addAll(options: AddOptions): Promise<"whole" | "nested"> {
  const { run, call, pathspecs, isForced = false } = options;
  const force = isForced ? ["--force"] : [];
  const args = ["add", "--all", ...force, "--ignore-errors", "--", ":(top)", ...pathspecs];
  const env = { GIT_LITERAL_PATHSPECS: "0" };
  for (let attempt = 1; ; attempt += 1) {
    const { code, stderr } = await run(args, { ...call, env, codes: [0, 1, 128] });
    if (code === 0) return "whole";
    const left = await listLeft(options);
    if (left.some((path) => path.endsWith("/"))) return "nested";
    if (code === 1 && (await addLeft(options, left))) return "whole";
    // Files that change or vanish while they are read are whole at the next try.
    if (attempt === TRIES) throw new GitFailure(["add"], code, stderr);
  }
}

/** What an index does not hold as it is; repositories inside end in a slash. */
async function listLeft({ run, call, pathspecs, isForced }: AddOptions): Promise<string[]> {
  const excludes = isForced === true ? [] : ["--exclude-standard"];
  const args = ["ls-files", "--others", "--modified", ...excludes, "-z", "--", ":(top)"];
  const env = { GIT_LITERAL_PATHSPECS: "0" };
  const { stdout, truncated } = await run([...args, ...pathspecs], { ...call, env });
  if (truncated) throw new GitFailure(["add"], 1, "too many files were left out");
  return [...new Set(decodePath(stdout).split("\0"))].filter((path) => path !== "");
}

/** Adds what was left out by its name; false when something of it should be there and is not. */
async function addLeft({ run, call }: AddOptions, left: readonly string[]): Promise<boolean> {
  const wanted: string[] = [];
  const dropped: string[] = [];
  for (const path of left) {
    const state = await judge(call.workTree, path);
    if (state === "storable") wanted.push(path);
    if (state === "no file") dropped.push(path);
  }
  const apply = async (args: readonly string[], paths: readonly string[]): Promise<boolean> => {
    if (paths.length === 0) return true;
    const input = encodePath(paths.map((path) => `${path}\0`).join(""));
    const { code } = await run(args, { ...call, input, codes: [0, 1, 128] });
    return code === 0;
  };
  return (await apply(DROP, dropped)) && (await apply(TRACK, wanted));
}

/** Whether a snapshot could hold what is at a path; `none`: the index may say what it says. */
async function judge(root: string, path: string): Promise<"storable" | "none" | "no file"> {
  if (path.split("/").some((part) => part.toLowerCase() === ".git")) return "none";
  const place = toSystemPath(join(root, path));
  try {
    const found = await lstat(place);
    if (found.isSymbolicLink()) return /(?:^|\/)\.gitmodules$/i.test(path) ? "none" : "storable";
    // A repository inside, of which the index names another commit: its files are stored apart.
    if (found.isDirectory()) return "none";
    if (!found.isFile()) return "no file";
    const handle = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW);
    await handle.close();
    return "storable";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") return "none";
    // Gone meanwhile, or something has become of it that git looks at anew.
    return "storable";
  }
}
