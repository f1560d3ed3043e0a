import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { requireTool } from "../../test/tools.ts";
import type { WorkspaceRequest } from "../core/workspace.ts";
import { applyToSource } from "./apply.ts";
import { diffWorkspace } from "./diff.ts";
import { openWorkspace, prepareWorkspace, removeWorkspace } from "./prepare.ts";
import { markProcess } from "./process-mark.ts";
import { restoreSnapshot } from "./restore.ts";
import { createSnapshot, listSnapshotFiles, readSnapshotFile } from "./snapshot.ts";
import { resolveRealPath, stripCredentials } from "./source.ts";
import type { Workspace } from "./storage.ts";

let base: string;
let source: string;
let dataDir: string;
let count = 0;

const git = (cwd: string, ...args: string[]): string =>
  execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@t", ...args], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"], HOME: base, GIT_CONFIG_NOSYSTEM: "1" },
  });
const put = async (root: string, files: Record<string, string>): Promise<void> => {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
};
const get = (root: string, path: string): Promise<string> => readFile(join(root, path), "utf8");
const prepare = (
  request: Partial<WorkspaceRequest>,
  more: { sessionId?: string; ignoredBytesMax?: number; allowedRoots?: string[] } = {},
): Promise<Workspace> =>
  prepareWorkspace({
    sessionId: `s${(count += 1)}`,
    dataDir,
    ignoredBytesMax: 1_000_000,
    request: { mode: "copy", ...request },
    ...more,
  });
/** Everything about a directory that a session must not change. */
const fingerprint = (root: string): string =>
  execFileSync(
    "sh",
    ["-c", "find . -type f -o -type l | sort | xargs -d '\\n' sha256sum 2>&1; find . | sort"],
    {
      cwd: root,
      encoding: "utf8",
    },
  );

beforeEach(async (context) => {
  requireTool(context, "git");
  base = await realpath(await mkdtemp(join(tmpdir(), "stint-workspace-")));
  source = join(base, "source");
  dataDir = join(base, "data");
  await put(source, {
    "a.txt": "one\ntwo\nthree\nfour\nfive\n",
    "dir/b.txt": "b\n",
    "gone.txt": "gone\n",
    ".gitignore": "node_modules/\nbig/\nforced.log\n.stint/\n",
    "forced.log": "forced\n",
  });
  git(source, "init", "-q", "-b", "main");
  git(source, "add", "-A");
  git(source, "add", "-f", "forced.log");
  git(source, "commit", "-qm", "first");
  git(source, "branch", "other");
});

afterEach(() => rm(base, { recursive: true, force: true }));

describe("a copy of a repository", () => {
  it("has the commit, the uncommitted, the untracked and the ignored files; the source stays", async () => {
    await put(source, {
      "a.txt": "changed\n",
      "new.txt": "new\n",
      "staged.txt": "staged\n",
      "node_modules/m/index.js": "m\n",
      "big/blob": "x".repeat(2_000_000),
    });
    git(source, "add", "staged.txt");
    await rm(join(source, "gone.txt"));
    await chmod(join(source, "new.txt"), 0o755);
    await symlink("dir/b.txt", join(source, "link"));
    await symlink(join(source, "a.txt"), join(source, "absolute"));
    const before = fingerprint(source);
    const { path, isGit, omitted } = await prepare({ source });
    expect(isGit).toBe(true);
    expect(await get(path, "a.txt")).toBe("changed\n");
    expect(await get(path, "staged.txt")).toBe("staged\n");
    expect(await get(path, "node_modules/m/index.js")).toBe("m\n");
    expect((await lstat(join(path, "new.txt"))).mode & 0o111).toBe(0o111);
    expect(await readlink(join(path, "link"))).toBe("dir/b.txt");
    expect(await readlink(join(path, "absolute"))).toBe("a.txt");
    expect(omitted).toEqual(["big/"]);
    await expect(lstat(join(path, "gone.txt"))).rejects.toThrow("ENOENT");
    expect(git(path, "status", "--porcelain").split("\n").sort()).toEqual(
      git(source, "--no-optional-locks", "status", "--porcelain")
        .replace("A  staged.txt", "?? staged.txt")
        .split("\n")
        .sort(),
    );
    expect(git(path, "rev-parse", "HEAD", "main", "other")).toBe(
      git(source, "rev-parse", "HEAD", "main", "other"),
    );
    expect(fingerprint(source)).toBe(before);
  });

  it("shares nothing with the source: no hard links, no remote, no objects", async () => {
    const { path } = await prepare({ source });
    expect(git(path, "remote")).toBe("");
    expect(await get(path, ".git/config")).not.toContain(source);
    expect(execFileSync("find", [path, "-type", "f", "-links", "+1"], { encoding: "utf8" })).toBe(
      "",
    );
    await expect(lstat(join(path, ".git/objects/info/alternates"))).rejects.toThrow("ENOENT");
    await rename(source, `${source}-moved`);
    git(path, "fsck", "--strict");
  });

  it("keeps the origin of the source, without credentials", async () => {
    git(source, "remote", "add", "origin", "https://me:secret@example.test/x.git");
    const { path } = await prepare({ source });
    expect(git(path, "remote", "get-url", "origin")).toBe("https://example.test/x.git\n");
    expect(stripCredentials("ssh://joe@host/x")).toBe("ssh://git@host/x");
  });

  it("stands clean at another ref, ignored files along", async () => {
    await put(source, { "a.txt": "second\n" });
    git(source, "commit", "-qam", "second");
    await put(source, { "a.txt": "dirty\n", "node_modules/m.js": "m\n" });
    const { path } = await prepare({ source, ref: "other" });
    expect(await get(path, "a.txt")).toBe("one\ntwo\nthree\nfour\nfive\n");
    expect(await get(path, "node_modules/m.js")).toBe("m\n");
    expect(git(path, "status", "--porcelain")).toBe("");
    expect(git(path, "branch", "--show-current")).toBe("other\n");
    const here = await prepare({ source, ref: "main" });
    expect(await get(here.path, "a.txt")).toBe("dirty\n");
  });

  it("names a ref that does not exist", async () => {
    for (const ref of ["nope", "--upload-pack=evil"]) {
      await expect(prepare({ source, ref })).rejects.toMatchObject({
        code: "workspace_clone_failed",
        message: expect.stringContaining(ref),
      });
    }
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([]);
  });

  it("copies a repository of another user", async (context) => {
    if (process.geteuid?.() !== 0) context.skip("[needs root] cannot give files away");
    execFileSync("chown", ["-R", "65534:65534", source]);
    await chown(base, 65_534, 65_534);
    const { path } = await prepare({ source });
    expect(await get(path, "dir/b.txt")).toBe("b\n");
  });

  it("runs nothing that the repository names", async () => {
    const trap = join(base, "trap");
    const evil = join(base, "evil.sh");
    await writeFile(evil, `#!/bin/sh\ntouch ${trap}\ncat\n`, { mode: 0o755 });
    for (const name of ["filter.x.clean", "filter.x.smudge", "core.fsmonitor", "core.sshCommand"]) {
      git(source, "config", name, evil);
    }
    git(source, "config", "core.hooksPath", base);
    for (const hook of [
      "post-checkout",
      "pre-commit",
      "reference-transaction",
      "post-index-change",
    ]) {
      await writeFile(join(base, hook), `#!/bin/sh\ntouch ${trap}\n`, { mode: 0o755 });
      await writeFile(join(source, ".git/hooks", hook), `#!/bin/sh\ntouch ${trap}\n`, {
        mode: 0o755,
      });
    }
    await put(source, { ".gitattributes": "* filter=x\n", "a.txt": "touched\n" });
    const workspace = await prepare({ source });
    await writeFile(join(workspace.path, ".git/config"), await get(source, ".git/config"));
    await put(workspace.path, { "a.txt": "again\r\n" });
    const id = await createSnapshot(workspace);
    await diffWorkspace(workspace);
    await applyToSource(workspace);
    expect((await readSnapshotFile(workspace, id, "a.txt"))?.toString()).toBe("again\r\n");
    await expect(lstat(trap)).rejects.toThrow("ENOENT");
  });

  it("is the same workspace when it is asked for again, and made anew after a crash", async () => {
    const sessionId = "again";
    const crashed = `4194304.1.${randomUUID()}.1.${randomUUID()}`;
    await put(dataDir, {
      [`workspaces/.making-again.${crashed}/tree/half`]: "half",
      [`workspaces/.making-again-2.${crashed}/tree/other`]: "of session again-2",
    });
    const first = await prepare({ source }, { sessionId });
    await put(first.path, { "work.txt": "work\n" });
    const indexes = [
      "index",
      "index-0123456789abcdef",
      "index-home",
      "index-agent-git",
      "index.joined",
    ];
    for (const name of [...indexes, "HEAD", "config", "packed-refs", "refs/heads/snapshots"]) {
      await put(first.store, { [`shadow.git/${name}.lock`]: "" });
    }
    await put(source, { "a.txt": "later\n" });
    const second = await prepare({ source }, { sessionId });
    expect(second).toEqual(first);
    expect(await openWorkspace({ sessionId, dataDir })).toEqual(first);
    expect(await get(second.path, "work.txt")).toBe("work\n");
    await createSnapshot(second);
    expect(execFileSync("find", [second.store, "-name", "*.lock"], { encoding: "utf8" })).toBe("");
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([
      `.making-again-2.${crashed}`,
      "again",
    ]);
  });

  it("gives two calls at once the workspace of the first, and leaves nothing of the other", async () => {
    const sessionId = "twice";
    const [first, second] = await Promise.all([
      prepare({ source }, { sessionId }),
      prepare({ source }, { sessionId }),
    ]);
    expect(second).toEqual(first);
    expect(await get(first.path, "dir/b.txt")).toBe("b\n");
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([sessionId]);
  });

  it("leaves alone what a living process makes, and removes it once that process is gone", async () => {
    const sessionId = "shared";
    const maker = spawn("sleep", ["600"]);
    const name = `.making-shared.${await markProcess(maker.pid)}.${randomUUID()}`;
    await put(dataDir, { [`workspaces/${name}/tree/half`]: "half" });
    await prepare({ source }, { sessionId });
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([name, sessionId]);
    expect(await removeWorkspace({ sessionId, dataDir })).toBe(false);
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([name]);
    maker.kill("SIGKILL");
    await once(maker, "exit");
    expect(await removeWorkspace({ sessionId, dataDir })).toBe(true);
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([]);
  });

  it("removes what a process made of which nothing is known once it is an hour old", async () => {
    const sessionId = "elsewhere";
    const [pid, start, boot] = (await markProcess()).split(".");
    const name = `.making-elsewhere.${pid}.${start}.${boot}.1.${randomUUID()}`;
    const draft = join(dataDir, "workspaces", name);
    await put(draft, { half: "half" });
    await prepare({ source }, { sessionId });
    expect(await readdir(draft)).toEqual(["half"]);
    const old = new Date(Date.now() - 3_700_000);
    await utimes(draft, old, old);
    await prepare({ source }, { sessionId });
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([sessionId]);
  });

  it("leaves our own data out where it lies in the source", async () => {
    dataDir = join(source, ".stint");
    await put(dataDir, { "server.json": "token" });
    const { path } = await prepare({ source });
    await expect(lstat(join(path, ".stint"))).rejects.toThrow("ENOENT");
  });

  it("does not let a submodule lead back to the source", async () => {
    git(base, "-c", "protocol.file.allow=always", "clone", "-q", source, join(base, "lib"));
    git(
      source,
      "-c",
      "protocol.file.allow=always",
      "submodule",
      "add",
      "-q",
      join(base, "lib"),
      "sub",
    );
    git(source, "commit", "-qm", "submodule");
    const workspace = await prepare({ source });
    expect(await get(workspace.path, "sub/dir/b.txt")).toBe("b\n");
    await expect(lstat(join(workspace.path, "sub/.git"))).rejects.toThrow("ENOENT");
    await put(workspace.path, { "sub/dir/b.txt": "changed\n" });
    expect((await diffWorkspace(workspace)).files.map(({ path }) => path)).toEqual([
      "sub/dir/b.txt",
    ]);
  });

  it("works for a repository without a commit, a bare one and a file URL", async () => {
    const empty = join(base, "empty");
    await put(empty, { "x.txt": "x\n" });
    git(empty, "init", "-q");
    expect(await get((await prepare({ source: empty })).path, "x.txt")).toBe("x\n");
    git(base, "clone", "-q", "--bare", source, "bare.git");
    const bare = await prepare({ source: join(base, "bare.git") });
    expect(await get(bare.path, "dir/b.txt")).toBe("b\n");
    const url = await prepare({ source: `file://${source}` });
    expect(url.source).toBe(source);
  });

  it("says why a URL could not be cloned, without its password", async () => {
    const failure = prepare({ source: "http://me:secret@127.0.0.1:1/x.git" });
    await expect(failure).rejects.toMatchObject({ code: "workspace_clone_failed" });
    await expect(failure).rejects.not.toThrow("secret");
    await expect(prepare({ source: "ext::sh -c id" })).rejects.toMatchObject({
      code: "workspace_missing",
    });
  });
});

describe("other sources", () => {
  it("copies a plain directory whole, and starts empty where none is given", async () => {
    const plain = join(base, "plain");
    await put(plain, { "x/y.txt": "y\n", "node_modules/m.js": "m\n" });
    execFileSync("mkfifo", [join(plain, "pipe")]);
    const copy = await prepare({ source: plain });
    expect(copy).toMatchObject({ isGit: false, omitted: ["pipe"] });
    expect(await get(copy.path, "node_modules/m.js")).toBe("m\n");
    expect(await listSnapshotFiles(copy, copy.base)).toEqual(["x/y.txt"]);
    const empty = await prepare({});
    expect(await readdir(empty.path)).toEqual([]);
    await put(empty.path, { "made.txt": "made\n" });
    expect((await diffWorkspace(empty)).files).toMatchObject([{ path: "made.txt" }]);
  });

  it("takes a directory inside a repository as a plain one", async () => {
    const { path, isGit } = await prepare({ source: join(source, "dir") });
    expect(isGit).toBe(false);
    expect(await readdir(path)).toEqual(["b.txt"]);
  });

  it("works in place, beside its own data only", async () => {
    const workspace = await prepare({ source, mode: "in-place" });
    expect(workspace).toMatchObject({ path: source, isGit: true, mode: "in-place" });
    const before = fingerprint(join(source, ".git"));
    await put(source, { "a.txt": "in place\n", "forced.log": "tracked though ignored\n" });
    expect((await diffWorkspace(workspace)).files.map(({ path }) => path)).toEqual([
      "a.txt",
      "forced.log",
    ]);
    expect(fingerprint(join(source, ".git"))).toBe(before);
    expect(await applyToSource(workspace)).toEqual({ applied: [], conflicts: [] });
    await removeWorkspace({ sessionId: workspace.sessionId, dataDir });
    expect(await get(source, "a.txt")).toBe("in place\n");
    await expect(openWorkspace({ sessionId: workspace.sessionId, dataDir })).rejects.toMatchObject({
      code: "workspace_gone",
    });
  });

  it("refuses in place where the data folder is inside, or the other way round", async () => {
    dataDir = join(source, ".stint");
    const refused = { code: "workspace_invalid" };
    await expect(prepare({ source, mode: "in-place" })).rejects.toMatchObject(refused);
    dataDir = base;
    await expect(prepare({ source, mode: "in-place" })).rejects.toMatchObject(refused);
  });

  it("refuses what is missing, no directory, or outside the allowed roots", async () => {
    await symlink("/etc", join(base, "way-out"));
    const roots = { allowedRoots: [base, join(base, "missing")] };
    const cases = [
      [{ source: join(base, "nope") }, "workspace_missing"],
      [{ source: join(source, "a.txt") }, "workspace_invalid"],
      [{ source: "/etc" }, "workspace_outside_roots"],
      [{ source: join(base, "way-out") }, "workspace_outside_roots"],
      [{ source: `${base}/${relative(base, "/etc")}` }, "workspace_outside_roots"],
      [{ mode: "in-place", source: "https://example.test/x.git" }, "workspace_invalid"],
    ] as const;
    for (const [request, code] of cases) {
      await expect(prepare(request, roots)).rejects.toMatchObject({ code });
    }
    await expect(prepare({}, { sessionId: "../up" })).rejects.toMatchObject({
      code: "invalid_request",
    });
    expect((await prepare({ source }, roots)).isGit).toBe(true);
    await symlink(source, join(base, "alias"));
    expect(await resolveRealPath(join(base, "alias"))).toBe(source);
  });
});

describe("snapshots", () => {
  it("give the same id for the same state and a new one for each other", async () => {
    const workspace = await prepare({ source });
    expect(await createSnapshot(workspace)).toBe(workspace.base);
    await put(workspace.path, { "a.txt": "x\n" });
    const [first, second] = await Promise.all([
      createSnapshot(workspace),
      createSnapshot(workspace),
    ]);
    expect(first).toBe(second);
    expect(first).not.toBe(workspace.base);
    expect((await readSnapshotFile(workspace, workspace.base, "a.txt"))?.toString()).toMatch(
      /^one/,
    );
    expect(await readSnapshotFile(workspace, first, "none")).toBeNull();
    await expect(readSnapshotFile(workspace, "0".repeat(40), "a")).rejects.toMatchObject({
      code: "workspace_gone",
    });
  });

  it("restore files, links, modes, and HEAD, refs and index of the agent's repository", async () => {
    const workspace = await prepare({ source });
    const { path } = workspace;
    await put(path, { "run.sh": "#!/bin/sh\n", "sub/deep/x": "x\n" });
    await chmod(join(path, "run.sh"), 0o755);
    await symlink("a.txt", join(path, "ln"));
    git(path, "add", "run.sh");
    const id = await createSnapshot(workspace);
    const state = [git(path, "status", "--porcelain"), git(path, "rev-parse", "HEAD")];

    git(path, "checkout", "-qb", "wild");
    git(path, "add", "-A");
    git(path, "commit", "-qm", "wild");
    await rm(join(path, "run.sh"));
    await rm(join(path, "sub"), { recursive: true });
    await symlink(source, join(path, "sub"));
    await rm(join(path, "ln"));
    await put(path, { ln: "no link\n", "extra/y": "y\n" });

    const { undo } = await restoreSnapshot(workspace, id);
    expect(git(path, "rev-parse", "--abbrev-ref", "HEAD")).toBe("main\n");
    expect([git(path, "status", "--porcelain"), git(path, "rev-parse", "HEAD")]).toEqual(state);
    expect(git(path, "branch", "--list", "wild")).toBe("");
    expect(await readlink(join(path, "ln"))).toBe("a.txt");
    expect((await lstat(join(path, "run.sh"))).mode & 0o111).toBe(0o111);
    expect(await get(path, "sub/deep/x")).toBe("x\n");
    await expect(lstat(join(path, "extra"))).rejects.toThrow("ENOENT");
    await expect(lstat(join(source, "deep"))).rejects.toThrow("ENOENT");
    expect(await createSnapshot(workspace)).not.toBe(undo);
    expect((await diffWorkspace(workspace, { from: id })).files).toEqual([]);
    await restoreSnapshot(workspace, undo);
    expect(git(path, "rev-parse", "--abbrev-ref", "HEAD")).toBe("wild\n");
  });

  it("hold the files of repositories inside, with and without a commit", async () => {
    const workspace = await prepare({ source });
    const { path } = workspace;
    await put(path, { "inner/f.txt": "f\n", "fresh/g.txt": "g\n", "inner/lib/h.txt": "h\n" });
    git(join(path, "inner"), "init", "-q");
    git(join(path, "inner"), "add", "f.txt");
    git(join(path, "inner"), "commit", "-qm", "inner");
    const first = await createSnapshot(workspace);
    git(join(path, "fresh"), "init", "-q");
    git(join(path, "inner/lib"), "init", "-q");
    await put(path, {
      "fresh/g.txt": "changed\n",
      "inner/new.txt": "n\n",
      "inner/lib/h.txt": "H\n",
    });
    const second = await createSnapshot(workspace);
    const files = await listSnapshotFiles(workspace, second);
    expect(files.filter((name) => /^(inner|fresh)/.test(name))).toEqual([
      ...["fresh/g.txt", "inner/f.txt", "inner/lib/h.txt", "inner/new.txt"],
    ]);
    expect((await diffWorkspace(workspace, { from: first, to: second })).files).toMatchObject([
      { path: "fresh/g.txt", action: "modified" },
      { path: "inner/lib/h.txt", action: "modified" },
      { path: "inner/new.txt", action: "created" },
    ]);
    expect(await createSnapshot(workspace)).toBe(second);
  });

  it("survive hostile content: odd names, attributes, fifos, locked files", async () => {
    const workspace = await prepare({});
    const { path } = workspace;
    await put(path, {
      "a\nb": "newline\n",
      ":(top)x": "magic\n",
      "-rf": "option\n",
      "sub/.GIT/config": "x\n",
      "sub/git~1": "x\n",
      "back\\slash": "x\n",
      ".gitattributes":
        "* text=auto eol=crlf ident export-ignore\n*.u working-tree-encoding=UTF-16\n",
      "crlf.txt": "a\r\nb\n$Id$\n",
      "x.u": "plain\n",
    });
    execFileSync("mkfifo", [join(path, "pipe")]);
    await symlink("/etc/passwd", join(path, "passwd"));
    const id = await createSnapshot(workspace);
    expect(await listSnapshotFiles(workspace, id)).toEqual(
      [
        ...[".gitattributes", "-rf", ":(top)x", "a\nb", "back\\slash", "crlf.txt", "passwd"],
        ...["sub/git~1", "x.u"],
      ].sort(),
    );
    expect((await readSnapshotFile(workspace, id, "crlf.txt"))?.toString()).toBe("a\r\nb\n$Id$\n");
    expect((await readSnapshotFile(workspace, id, "passwd"))?.toString()).toBe("/etc/passwd");
    expect((await diffWorkspace(workspace)).files.map((file) => file.path)).toContain("a\nb");
  });

  it("say when the files are gone", async () => {
    const workspace = await prepare({});
    await rm(workspace.path, { recursive: true });
    await expect(createSnapshot(workspace)).rejects.toMatchObject({ code: "workspace_gone" });
    await expect(prepare({}, { sessionId: workspace.sessionId })).rejects.toMatchObject({
      code: "workspace_gone",
    });
  });
});

describe("a diff", () => {
  it("names each file with its action, counts and patch", async () => {
    const workspace = await prepare({ source });
    const { path } = workspace;
    await put(path, { "a.txt": "one\nTWO\nthree\nfour\nfive\n", "new.bin": "a\0b" });
    await rm(join(path, "gone.txt"));
    await mkdir(join(path, "moved"));
    await rename(join(path, "dir/b.txt"), join(path, "moved/b.txt"));
    const diff = await diffWorkspace(workspace);
    expect(diff).toMatchObject({ additions: 1, deletions: 2, truncated: false });
    expect(diff.files).toMatchObject([
      { path: "a.txt", action: "modified", additions: 1, deletions: 1, binary: false },
      { path: "gone.txt", action: "deleted", deletions: 1 },
      { path: "moved/b.txt", oldPath: "dir/b.txt", action: "renamed" },
      { path: "new.bin", action: "created", binary: true },
    ]);
    expect(diff.files[0]?.patch).toContain("-two\n+TWO\n");
    expect(diff.files[2]?.patch).toContain("rename to moved/b.txt");
    expect(diff.patch).toContain("+TWO");
  });

  it("says what its bounds cut off", async () => {
    const workspace = await prepare({});
    await put(workspace.path, { a: "x\n".repeat(10_000), b: "b\n", c: "c\n" });
    const one = await diffWorkspace(workspace, { filePatchBytesMax: 1_000 });
    expect(one.files.map((file) => [file.truncated ?? false, file.patch !== undefined])).toEqual([
      [true, false],
      [false, true],
      [false, true],
    ]);
    expect(one).toMatchObject({ truncated: true, additions: 10_002 });
    const two = await diffWorkspace(workspace, { patchBytesMax: 500 });
    expect(two.patch.length).toBeLessThanOrEqual(500);
    expect(two.truncated).toBe(true);
    expect((await diffWorkspace(workspace, { filesMax: 1 })).files).toHaveLength(1);
  });
});

describe("applying to the source", () => {
  it("brings created, changed, renamed, deleted files, modes and links; merges what both changed", async () => {
    await put(source, { "a.txt": "one\ntwo\nthree\nfour\nfive\nuncommitted\n" });
    const workspace = await prepare({ source });
    const { path } = workspace;
    await put(path, { "a.txt": "ONE\ntwo\nthree\nfour\nfive\nuncommitted\n", "new/n.txt": "n\n" });
    await rm(join(path, "gone.txt"));
    await rename(join(path, "dir/b.txt"), join(path, "c.txt"));
    await chmod(join(path, "c.txt"), 0o755);
    await symlink("c.txt", join(path, "ln"));
    await put(source, {
      "a.txt": "one\ntwo\nthree\nfour\nfive\nuncommitted\nlater\n",
      mine: "m\n",
    });
    const head = fingerprint(join(source, ".git"));
    expect(await applyToSource(workspace)).toEqual({
      applied: ["a.txt", "c.txt", "dir/b.txt", "gone.txt", "ln", "new/n.txt"],
      conflicts: [],
    });
    expect(await get(source, "a.txt")).toBe("ONE\ntwo\nthree\nfour\nfive\nuncommitted\nlater\n");
    expect(await get(source, "new/n.txt")).toBe("n\n");
    expect(await get(source, "mine")).toBe("m\n");
    expect(await readlink(join(source, "ln"))).toBe("c.txt");
    expect((await lstat(join(source, "c.txt"))).mode & 0o111).toBe(0o111);
    await expect(lstat(join(source, "dir"))).rejects.toThrow("ENOENT");
    await expect(lstat(join(source, "gone.txt"))).rejects.toThrow("ENOENT");
    expect(fingerprint(join(source, ".git"))).toBe(head);
    expect(await applyToSource(workspace)).toEqual({ applied: [], conflicts: [] });
  });

  it("names the conflicts and applies nothing", async () => {
    const workspace = await prepare({ source });
    await put(workspace.path, { "a.txt": "ours\n", "fine.txt": "fine\n", "both.txt": "ours\n" });
    await rm(join(workspace.path, "gone.txt"));
    await put(source, { "a.txt": "theirs\n", "gone.txt": "kept\n", "both.txt": "theirs\n" });
    const before = fingerprint(source);
    expect(await applyToSource(workspace)).toEqual({
      applied: [],
      conflicts: ["a.txt", "both.txt", "gone.txt"],
    });
    expect(fingerprint(source)).toBe(before);
  });

  it("writes neither through links of the source nor into anything that is a .git", async () => {
    const outside = join(base, "outside");
    await mkdir(outside);
    const workspace = await prepare({ source });
    await put(workspace.path, { "dir/b.txt": "evil\n", "x/git~1/hooks/x": "evil\n" });
    await rm(join(source, "dir"), { recursive: true });
    await put(outside, { "b.txt": "b\n" });
    await symlink(outside, join(source, "dir"));
    const { applied, conflicts } = await applyToSource(workspace);
    expect(applied).toEqual([]);
    expect(conflicts).toEqual(["dir/b.txt", "x/git~1/hooks/x"]);
    expect(await get(outside, "b.txt")).toBe("b\n");
  });

  it("puts back what it changed when a file in the middle cannot be written", async () => {
    const workspace = await prepare({ source });
    await put(workspace.path, { "a.txt": "changed\n", "blocked/in/x": "x\n", "z.txt": "z\n" });
    await put(source, { blocked: "a file where a directory has to be\n" });
    const before = fingerprint(source);
    await expect(applyToSource(workspace)).rejects.toMatchObject({ code: "not_found" });
    expect(fingerprint(source)).toBe(before);
  });

  it("goes to another directory when asked, and says when there is none", async () => {
    const target = join(base, "target");
    await mkdir(target);
    const workspace = await prepare({});
    await put(workspace.path, { "x.txt": "x\n" });
    await expect(applyToSource(workspace)).rejects.toMatchObject({ code: "workspace_invalid" });
    expect(await applyToSource(workspace, { target })).toMatchObject({ applied: ["x.txt"] });
    expect(await get(target, "x.txt")).toBe("x\n");
  });
});
