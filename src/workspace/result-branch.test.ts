import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { prepareWorkspace } from "./prepare.ts";
import { createResultBranch } from "./result-branch.ts";
import type { Workspace } from "./storage.ts";

const BRANCH = "stint/s1";
const MESSAGE = { message: "Do it.\n\nStint-Session: s1" };

let base: string;
let source: string;

function git(...args: string[]): string {
  return execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@t", ...args], {
    cwd: source,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"], HOME: base, GIT_CONFIG_NOSYSTEM: "1" },
  }).trim();
}

function prepare(): Promise<Workspace> {
  const dataDir = join(base, "data");
  const request = { mode: "copy" as const, source };
  return prepareWorkspace({ sessionId: "s1", dataDir, ignoredBytesMax: 1_000_000, request });
}

/** What a session must leave alone: what is checked out, what is staged, and the other refs. */
async function readRest(): Promise<unknown> {
  const refs = git("for-each-ref").split("\n");
  return {
    head: git("symbolic-ref", "HEAD"),
    status: git("status", "--porcelain"),
    index: await readFile(join(source, ".git/index"), "hex"),
    refs: refs.filter((line) => !line.endsWith(BRANCH)),
    a: await readFile(join(source, "a.txt"), "utf8"),
  };
}

beforeEach(async (context) => {
  requireTool(context, "git");
  base = await realpath(await mkdtemp(join(tmpdir(), "stint-branch-")));
  source = join(base, "source");
  await mkdir(source);
  git("init", "-q", "-b", "main");
  await writeFile(join(source, "a.txt"), "one\n");
  await writeFile(join(source, ".gitignore"), "ignored\n");
  git("add", "-A");
  git("commit", "-qm", "first");
});

afterEach(() => rm(base, { recursive: true, force: true }));

describe("a branch of the result", () => {
  it("is one commit on that which the session started from; nothing else changes", async () => {
    const start = git("rev-parse", "HEAD");
    const { path, ...rest } = await prepare();
    await writeFile(join(path, "a.txt"), "two\n");
    await writeFile(join(path, "b.txt"), "new\n");
    await writeFile(join(path, "ignored"), "no\n");
    // The source goes on meanwhile, and has work of its own under way.
    git("commit", "-q", "--allow-empty", "-m", "later");
    await writeFile(join(source, "a.txt"), "mine\n");
    const before = await readRest();
    const made = await createResultBranch({ path, ...rest }, MESSAGE);
    expect(made).toMatchObject({ target: source, branch: BRANCH, isNew: true });
    expect(git("rev-parse", BRANCH)).toBe(made?.commit);
    expect(git("rev-list", `${start}..${BRANCH}`)).toBe(made?.commit);
    expect(git("log", "-1", "--format=%an %B", BRANCH)).toBe(`Stint ${MESSAGE.message}`);
    expect(git("diff", "--name-status", start, BRANCH)).toBe("M\ta.txt\nA\tb.txt");
    expect(git("show", `${BRANCH}:a.txt`)).toBe("two");
    expect(await readRest()).toEqual(before);
    git("fsck", "--strict");
  });

  it("stays as it is when it holds the result already", async () => {
    const workspace = await prepare();
    await writeFile(join(workspace.path, "a.txt"), "two\n");
    const made = await createResultBranch(workspace, MESSAGE);
    expect(await createResultBranch(workspace, MESSAGE)).toEqual({ ...made, isNew: false });
  });

  it("is refused where a branch of that name holds something else", async () => {
    const workspace = await prepare();
    await writeFile(join(workspace.path, "a.txt"), "two\n");
    git("branch", BRANCH);
    const refused = createResultBranch(workspace, MESSAGE);
    await expect(refused).rejects.toMatchObject({ code: "workspace_conflict" });
    expect(git("rev-parse", BRANCH)).toBe(git("rev-parse", "main"));
  });

  it("is refused where a branch is in the way of its name", async () => {
    const workspace = await prepare();
    await writeFile(join(workspace.path, "a.txt"), "two\n");
    git("branch", "stint");
    const refused = createResultBranch(workspace, MESSAGE);
    await expect(refused).rejects.toMatchObject({ code: "workspace_conflict" });
  });

  it("is none where nothing has changed", async () => {
    expect(await createResultBranch(await prepare(), MESSAGE)).toBeNull();
    expect(git("for-each-ref", "refs/heads/stint")).toBe("");
  });

  it("starts from the commit of packed refs, and from none in a repository without commits", async () => {
    git("pack-refs", "--all");
    const packed = await prepare();
    await writeFile(join(packed.path, "a.txt"), "two\n");
    await createResultBranch(packed, MESSAGE);
    expect(git("rev-parse", `${BRANCH}^`)).toBe(git("rev-parse", "main"));
    await rm(join(base, "data"), { recursive: true });
    await rm(join(source, ".git"), { recursive: true });
    git("init", "-q", "-b", "main");
    const workspace = await prepare();
    const made = await createResultBranch(workspace, MESSAGE);
    expect(git("rev-list", BRANCH)).toBe(made?.commit);
  });

  it("is refused where the source is no repository, or has lost the commit", async () => {
    const workspace = await prepare();
    await writeFile(join(workspace.path, "a.txt"), "two\n");
    await rename(join(source, ".git"), join(base, "away.git"));
    const refused = createResultBranch(workspace, MESSAGE);
    await expect(refused).rejects.toMatchObject({ code: "workspace_invalid" });
    git("init", "-q", "-b", "main");
    const lost = createResultBranch(workspace, MESSAGE);
    await expect(lost).rejects.toThrow("does not have the commit");
  });

  it("is refused where the result has a name that some file systems take for a .git", async () => {
    const workspace = await prepare();
    await mkdir(join(workspace.path, "x/git~1/hooks"), { recursive: true });
    await writeFile(join(workspace.path, "x/git~1/hooks/post-checkout"), "evil\n");
    const refused = createResultBranch(workspace, MESSAGE);
    await expect(refused).rejects.toMatchObject({ code: "workspace_conflict" });
    expect(git("for-each-ref", "refs/heads/stint")).toBe("");
  });
});
