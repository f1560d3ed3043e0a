import * as fc from "fast-check";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { lstat, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink } from "node:fs/promises";
import { appendFile, rename, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { encodeObject } from "./git-objects.ts";
import { restoreHome } from "./home-restore.ts";
import { prepareWorkspace, removeWorkspace } from "./prepare.ts";
import { restoreSnapshot } from "./restore.ts";
import { createSnapshot, listSnapshotFiles, openSnapshots } from "./snapshot.ts";
import type { Workspace } from "./storage.ts";
import { holdsEntry } from "./tree-entry.ts";

/** Counts down at each change to a file system; at zero and from then on nothing is changed. */
const crash = vi.hoisted(() => ({
  changesLeft: Number.POSITIVE_INFINITY,
  /** The name of a file that no descriptor is left for. */
  unopened: "",
}));
vi.mock("node:fs/promises", async (importActual) => {
  const actual = await importActual<Record<string, (...given: unknown[]) => Promise<unknown>>>();
  const changing = ["rename", "unlink", "rmdir", "mkdir", "symlink", "rm"].map((name) => [
    name,
    (...given: unknown[]) => {
      if ((crash.changesLeft -= 1) < 0) return Promise.reject(new Error("crash"));
      return actual[name]?.(...given);
    },
  ]);
  const open = (...given: unknown[]): Promise<unknown> =>
    crash.unopened !== "" && String(given[0]).endsWith(`/${crash.unopened}`)
      ? Promise.reject(Object.assign(new Error("EMFILE"), { code: "EMFILE" }))
      : (actual["open"]?.(...given) ?? Promise.reject(new Error("no open")));
  return { ...actual, ...Object.fromEntries(changing), open };
});

vi.setConfig({ testTimeout: 120_000 });

let base: string;
let count = 0;

beforeEach(async (context) => {
  requireTool(context, "git");
  base = await realpath(await mkdtemp(join(tmpdir(), "stint-restore-")));
});
afterEach(async () => {
  crash.changesLeft = Number.POSITIVE_INFINITY;
  crash.unopened = "";
  await rm(base, { recursive: true, force: true });
});

const prepare = (): Promise<Workspace> =>
  prepareWorkspace({
    sessionId: `s${(count += 1)}`,
    dataDir: base,
    ignoredBytesMax: 1_000_000,
    request: { mode: "copy" },
  });
const put = async (root: string, path: string, text: string): Promise<void> => {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
};
const get = (root: string, path: string): Promise<string> => readFile(join(root, path), "utf8");
const git = (cwd: string, ...args: string[]): string =>
  execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@t", ...args], {
    cwd,
    encoding: "utf8",
    env: { PATH: process.env["PATH"], HOME: base, GIT_CONFIG_NOSYSTEM: "1" },
  });

it("a directory that no snapshot holds makes room for a file, and is kept with all in it", async () => {
  const workspace = await prepare();
  const { path, store } = workspace;
  await put(path, ".gitignore", "*.log\n");
  for (const name of ["notes", "empty"]) await put(path, name, name);
  const id = await createSnapshot(workspace);
  for (const name of ["notes", "empty"]) await rm(join(path, name));
  await put(path, "notes/deep/run.log", "only here\n");
  await mkdir(join(path, "empty"));
  const { kept } = await restoreSnapshot(workspace, id);
  expect(kept).toBe(join(store, "kept/00000001"));
  expect([await get(path, "notes"), await get(path, "empty")]).toEqual(["notes", "empty"]);
  expect(await get(join(store, "kept/00000001"), "notes/deep/run.log")).toBe("only here\n");
  expect(await readdir(join(store, "kept/00000001"))).toEqual(["notes"]);
});

it("an ignored file or link that stands for a directory makes room, and is kept", async () => {
  const workspace = await prepare();
  const { path, store } = workspace;
  for (const name of ["src/a.js", "lib/b.js", "held.txt"]) await put(path, name, "x");
  const id = await createSnapshot(workspace);
  for (const name of ["src", "lib", "held.txt"]) await rm(join(path, name), { recursive: true });
  await createSnapshot(workspace);
  await put(path, ".gitignore", "src\nlib\nheld.txt\n");
  await put(path, "src", "a file\n");
  await symlink(base, join(path, "lib"));
  await put(path, "held.txt", "in no snapshot\n");
  await restoreSnapshot(workspace, id);
  expect(await listSnapshotFiles(workspace, await createSnapshot(workspace))).toEqual([
    ...["held.txt", "lib/b.js", "src/a.js"],
  ]);
  expect(await get(join(store, "kept/00000001"), "src")).toBe("a file\n");
  expect(await get(join(store, "kept/00000001"), "held.txt")).toBe("in no snapshot\n");
  expect((await lstat(join(store, "kept/00000001/lib"))).isSymbolicLink()).toBe(true);
});

it("a branch comes back where a branch below its name was", async () => {
  const workspace = await prepare();
  const { path } = workspace;
  git(path, "init", "-q");
  git(path, "commit", "-q", "--allow-empty", "-m", "first");
  git(path, "branch", "topic");
  const id = await createSnapshot(workspace);
  git(path, "branch", "-D", "topic");
  git(path, "branch", "topic/deep");
  const { undo } = await restoreSnapshot(workspace, id);
  expect(git(path, "branch", "--list", "topic*").trim()).toBe("topic");
  await restoreSnapshot(workspace, undo);
  expect(git(path, "branch", "--list", "topic*").trim()).toBe("topic/deep");
});

it("locks of the agent's git do not outlive what held them", async () => {
  const workspace = await prepare();
  const { path, store } = workspace;
  git(path, "init", "-q");
  git(path, "commit", "-q", "--allow-empty", "-m", "first");
  const id = await createSnapshot(workspace);
  const locks = ["index", "HEAD", "packed-refs", "config", "refs/heads/master"];
  for (const name of locks) await put(path, `.git/${name}.lock`, "cut off");
  await put(path, "x", "x");
  await restoreSnapshot(workspace, id);
  await put(path, "y", "y");
  git(path, "add", "-A");
  git(path, "commit", "-qm", "second");
  expect(await get(join(store, "kept/00000001"), ".git/index.lock")).toBe("cut off");
});

it("a merge and a rebase that were under way are so again, and others are not", async () => {
  const workspace = await prepare();
  const { path } = workspace;
  git(path, "init", "-q", "-b", "main");
  await put(path, "f", "base\n");
  git(path, "add", "-A");
  git(path, "commit", "-qm", "base");
  git(path, "checkout", "-qb", "other");
  await put(path, "f", "other\n");
  git(path, "commit", "-qam", "other");
  git(path, "checkout", "-q", "main");
  await put(path, "f", "main\n");
  git(path, "commit", "-qam", "main");
  const clean = await createSnapshot(workspace);
  expect(() => git(path, "merge", "other")).toThrow();
  const merging = await createSnapshot(workspace);
  git(path, "merge", "--abort");
  expect(() => git(path, "rebase", "other")).toThrow();
  const rebasing = await createSnapshot(workspace);
  await restoreSnapshot(workspace, merging);
  expect(git(path, "status")).toContain("You have unmerged paths");
  expect(git(path, "status")).not.toContain("rebas");
  await restoreSnapshot(workspace, rebasing);
  expect(git(path, "status")).toContain("You are currently rebasing");
  expect(git(path, "status")).not.toContain("All conflicts fixed but you are still merging");
  await restoreSnapshot(workspace, clean);
  expect(git(path, "status")).toContain("nothing to commit, working tree clean");
  expect(git(path, "status")).not.toMatch(/rebas|merg/);
});

it("an index that could not be read is left as it is, not removed", async () => {
  const workspace = await prepare();
  const { path } = workspace;
  git(path, "init", "-q");
  git(path, "commit", "-q", "--allow-empty", "-m", "first");
  const index = join(path, ".git/index");
  await writeFile(index, "");
  await truncate(index, 67_108_865);
  const id = await createSnapshot(workspace);
  await put(path, "x", "x");
  await restoreSnapshot(workspace, id);
  expect((await lstat(index)).size).toBe(67_108_865);
});

it("a repository that cannot be read for another reason than its files is no snapshot", async () => {
  const workspace = await prepare();
  const { path } = workspace;
  git(path, "init", "-q");
  git(path, "commit", "-q", "--allow-empty", "-m", "first");
  crash.unopened = "HEAD";
  await expect(createSnapshot(workspace)).rejects.toThrow("EMFILE");
});

it("what restores have kept is bounded: the oldest goes first", async () => {
  const workspace = await prepare();
  const { path, store } = workspace;
  await put(path, ".gitignore", "*.log\n");
  await put(path, "notes", "notes");
  const id = await createSnapshot(workspace);
  for (let at = 1; at <= 18; at += 1) {
    await rm(join(path, "notes"));
    await put(path, "notes/run.log", `${at}`);
    await restoreSnapshot(workspace, id);
  }
  const kept = await readdir(join(store, "kept"));
  expect(kept).toHaveLength(16);
  expect(await get(join(store, "kept", kept.at(-1) ?? ""), "notes/run.log")).toBe("18");
});

it("what is tracked though ignored, and was removed, is in the snapshots after a restore again", async () => {
  const source = join(base, "source");
  await put(source, ".gitignore", "*.log\n");
  git(base, "init", "-q", source);
  for (const name of ["kept.log", "deep/kept.log"]) await put(source, name, "tracked\n");
  git(source, "add", "--force", ".");
  git(source, "commit", "-qm", "first");
  const workspace = await prepareWorkspace({
    sessionId: "tracked",
    dataDir: join(base, "data"),
    ignoredBytesMax: 1_000_000,
    request: { mode: "copy", source },
  });
  const { path } = workspace;
  const inner = join(path, "inner");
  git(path, "init", "-q", inner);
  await put(inner, "own.log", "inside\n");
  await createSnapshot(workspace);
  await put(inner, ".gitignore", "*.log\n");
  const id = await createSnapshot(workspace);
  const names = [".gitignore", "deep/kept.log", "inner/.gitignore", "inner/own.log", "kept.log"];
  expect(await listSnapshotFiles(workspace, id)).toEqual(names);
  for (const name of names) if (name.endsWith(".log")) await rm(join(path, name));
  await createSnapshot(workspace);
  await restoreSnapshot(workspace, id);
  expect(await listSnapshotFiles(workspace, await createSnapshot(workspace))).toEqual(names);
});

it("a workspace that another took the place of is kept with its states, cut off anywhere, twice at most", async () => {
  const sessionId = "moved";
  const request = { mode: "copy" } as const;
  const open = (): Promise<Workspace> =>
    prepareWorkspace({ sessionId, dataDir: base, ignoredBytesMax: 1_000_000, request });
  const openInPieces = async (): Promise<Workspace> => {
    for (let changes = 0; ; changes += 1) {
      crash.changesLeft = changes;
      try {
        return await open();
      } catch (error) {
        if (!(error instanceof Error) || error.message !== "crash") throw error;
      } finally {
        crash.changesLeft = Number.POSITIVE_INFINITY;
      }
    }
  };
  let workspace = await open();
  let state = "";
  const { store, path } = workspace;
  await put(store, "kept/00000001/notes", "of a restore");
  for (const round of ["1", "2", "3"]) {
    state = workspace.base;
    await put(path, "round", round);
    await rename(store, join(base, `workspaces/.replaced-${sessionId}.${randomUUID()}`));
    await open();
    workspace = await openInPieces();
  }
  const kept = join(store, "kept");
  const names = await readdir(kept);
  expect(names.filter((name) => !name.endsWith("-replaced"))).toEqual(["00000001"]);
  expect(await get(kept, "00000001/notes")).toBe("of a restore");
  const whole = names.filter((name) => name.endsWith("-replaced"));
  expect(await Promise.all(whole.map((name) => get(kept, `${name}/tree/round`)))).toEqual([
    ...["2", "3"],
  ]);
  const shadow = join(kept, whole.at(-1) ?? "", "shadow.git");
  expect(git(shadow, "cat-file", "-t", state).trim()).toBe("commit");
  await rename(store, join(base, `workspaces/.replaced-${sessionId}.${randomUUID()}`));
  await removeWorkspace({ sessionId, dataDir: base });
  expect(await readdir(join(base, "workspaces"))).toEqual([]);
});

it("a home goes back to a snapshot, and what was newer in it is kept", async () => {
  const workspace = await prepare();
  const { home, store } = workspace;
  for (const name of ["same", "changed", "folder"]) await put(home, name, name);
  const id = await createSnapshot(workspace);
  await put(home, "changed", "newer");
  await put(home, "new/memory", "memory");
  await rm(join(home, "folder"));
  await put(home, "folder/node_modules/x", "x");
  expect(await restoreHome(workspace, id)).toBe(true);
  const names = ["same", "changed", "folder"];
  expect(await Promise.all(names.map((name) => get(home, name)))).toEqual(names);
  const kept = join(store, "kept/00000001");
  const paths = ["changed", "new/memory", "folder/node_modules/x"];
  expect(await Promise.all(paths.map((name) => get(kept, name)))).toEqual(["newer", "memory", "x"]);
});

type Shape = { readonly [name: string]: Shape | "file" | "link" };

const shapes = fc.letrec<{ tree: Shape; node: Shape | "file" | "link" }>((tie) => ({
  tree: fc.dictionary(fc.constantFrom("a", "b", "c"), tie("node"), { maxKeys: 3 }) as never,
  node: fc.oneof({ depthSize: "small" }, fc.constant("file"), fc.constant("link"), tie("tree")),
})).tree;
const trees = fc.record({
  shape: shapes,
  ignored: fc.subarray(["a", "b/a", "c", "b", "a/c"]),
  /** Ignored after all files are tracked. */
  late: fc.subarray(["a", "b", "c"]),
});

/** Makes the workspace such a tree; each of its files and links has a content of its own. */
async function build(
  root: string,
  { shape, ignored }: { shape: Shape; ignored: string[] },
  mark: string,
): Promise<string[]> {
  for (const name of await readdir(root)) await rm(join(root, name), { recursive: true });
  await put(root, ".gitignore", `# ${mark}\n${ignored.map((line) => `${line}\n`).join("")}`);
  const contents: string[] = [];
  const grow = async (folder: string, below: Shape): Promise<void> => {
    for (const [name, node] of Object.entries(below)) {
      const path = join(folder, name);
      const content = `${mark}-${contents.length}-end`;
      if (typeof node === "object") {
        await mkdir(path);
        await grow(path, node);
      } else {
        contents.push(content);
        await (node === "file" ? writeFile(path, content) : symlink(content, path));
      }
    }
  };
  await grow(root, shape);
  return contents;
}

/** All contents below a folder. */
function gather(folder: string): string {
  const script = "find . -type f -exec cat {} + -o -type l -printf '%l '";
  return execFileSync("sh", ["-c", script], { cwd: folder, encoding: "utf8" });
}

it("between any two trees, cut off anywhere, a restore gives the snapshot and loses no byte", async () => {
  const workspace = await prepare();
  const { path, store } = workspace;
  const snapshots = openSnapshots(workspace);
  const restore = async (id: string): Promise<string | null> => {
    try {
      return (await restoreSnapshot(workspace, id)).undo;
    } catch (error) {
      if (error instanceof Error && error.message === "crash") return null;
      throw error;
    }
  };
  await mkdir(join(store, "kept"), { recursive: true });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(trees, trees, fc.nat({ max: 30 }), async (first, second, changes) => {
      run += 1;
      await build(path, first, `first-${run}`);
      if (first.late.length > 0) {
        await createSnapshot(workspace);
        await appendFile(join(path, ".gitignore"), `${first.late.join("\n")}\n`);
      }
      const id = await createSnapshot(workspace);
      const contents = await build(path, second, `second-${run}`);
      const undone = [await createSnapshot(workspace)];
      crash.changesLeft = changes;
      const isWhole = (await restore(id)) !== null;
      crash.changesLeft = Number.POSITIVE_INFINITY;
      if (!isWhole) undone.push((await restore(id)) ?? "");
      for (const [name, { kind, hash }] of await snapshots.listEntries(id)) {
        const bytes = await snapshots.readContent(hash);
        expect([name, await holdsEntry(path, name, { kind, bytes })]).toEqual([name, true]);
      }
      const next = await snapshots.listEntries(await createSnapshot(workspace));
      for (const [name, entry] of await snapshots.listEntries(id)) {
        expect([name, next.get(name)]).toEqual([name, entry]);
      }
      const stored = await Promise.all(undone.map((one) => snapshots.listEntries(one)));
      // What was ignored until now may be added; nothing comes back that was undone.
      const wanted = await snapshots.listEntries(id);
      const added = [...next].filter(([name]) => !wanted.has(name));
      const back = added.filter(([name, { hash }]) => {
        return stored.some((one) => one.get(name)?.hash === hash);
      });
      expect(back).toEqual([]);
      const hashes = new Set(stored.flatMap((one) => [...one.values()].map(({ hash }) => hash)));
      const left = `${gather(path)} ${gather(join(store, "kept"))}`;
      const lost = contents.filter((content) => {
        return (
          !left.includes(content) && !hashes.has(encodeObject("blob", Buffer.from(content)).hash)
        );
      });
      expect(lost).toEqual([]);
    }),
    { numRuns: 10, endOnFailure: true },
  );
});
