import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { GitFailure, readGitFields, runGit } from "./git.ts";
import { addAll, type RunGit } from "./git-add.ts";

let folder: string;
let gitDir: string;
/** Commands whose next runs change nothing, with what they say. */
let failing: { name: string; code: number; stderr: string }[];
let commands: string[];

beforeEach(async (context) => {
  requireTool(context, "git");
  folder = await realpath(await mkdtemp(join(tmpdir(), "stint-add-")));
  gitDir = join(folder, "shadow.git");
  await mkdir(join(folder, "tree"));
  execFileSync("git", ["init", "-q", "--bare", gitDir]);
  failing = [];
  commands = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const run: RunGit = async (args, call = {}) => {
  const name = args[0] ?? "";
  commands.push(name);
  const at = failing.findIndex((one) => one.name === name);
  if (at === -1) return runGit({ cwd: folder, gitDir, ...call, args });
  const [{ code, stderr } = { code: 1, stderr: "" }] = failing.splice(at, 1);
  return { code, stderr, stdout: Buffer.of(), truncated: false };
};
const put = (name: string): Promise<void> => writeFile(join(folder, "tree", name), name);
const options = () => {
  const workTree = join(folder, "tree");
  return { run, call: { cwd: workTree, workTree }, pathspecs: [] };
};
const list = (): Promise<string[]> =>
  readGitFields({ cwd: folder, gitDir, args: ["ls-files", "-z"] });
const leaveOut = { name: "add", code: 1, stderr: "error: unable to index file 'x'\n" };

const NOBODY = 65_534;

/** Root may read everything: its place is taken by a user who owns the folder and nothing else. */
async function asOrdinaryUser(work: () => Promise<void>): Promise<void> {
  if (process.getuid?.() !== 0) return work();
  execFileSync("chown", ["-R", String(NOBODY), folder]);
  process.seteuid?.(NOBODY);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}

it("what git left out is added, whatever git says of it", async () => {
  await put("x");
  failing = [leaveOut];
  expect(await addAll(options())).toBe("whole");
  expect(await list()).toEqual(["x"]);
});

it("a file that could be stored and is not is no snapshot", async () => {
  await put("x");
  const refuse = { name: "update-index", code: 128, stderr: "fatal: unable to index file 'x'\n" };
  failing = [leaveOut, leaveOut, leaveOut, refuse, refuse, refuse];
  await expect(addAll(options())).rejects.toThrow(GitFailure);
  expect(commands.filter((name) => name === "add")).toHaveLength(3);
});

it("names that git refuses stay out, and nothing beside them", async () => {
  await mkdir(join(folder, "tree/.GIT"));
  await put(".GIT/config");
  await put("x");
  expect(await addAll(options())).toBe("whole");
  expect(await list()).toEqual(["x"]);
});

it("a file that may not be read stays out", async () => {
  await put("locked");
  await chmod(join(folder, "tree/locked"), 0);
  await put("x");
  await asOrdinaryUser(async () => {
    expect(await addAll(options())).toBe("whole");
    expect(await list()).toEqual(["x"]);
  });
});

it("what is no file any more is not stored as the file that it was", async () => {
  await put("x");
  await put("y");
  await addAll(options());
  await rm(join(folder, "tree/x"));
  execFileSync("mkfifo", [join(folder, "tree/x")]);
  expect(await addAll(options())).toBe("whole");
  expect(await list()).toEqual(["y"]);
});

it("a repository inside without a commit is told of", async () => {
  await put("x");
  execFileSync("git", ["init", "-q", join(folder, "tree/inner")]);
  expect(await addAll(options())).toBe("nested");
});
