import { findGit, runGit } from "./git.ts";

/**
 * Makes a directory a repository with all its files in one commit. False, and nothing done, where
 * git is not installed.
 */
export async function createRepository(path: string, message: string): Promise<boolean> {
  if ((await findGit()) === null) return false;
  const run = (...args: readonly string[]): Promise<unknown> => runGit({ args, cwd: path });
  await run("init", "--quiet", "--initial-branch=main");
  await run("add", "--all");
  await run("commit", "--quiet", `--message=${message}`);
  return true;
}
