import { execFileSync } from "node:child_process";
import {
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openWorkspaceFiles } from "./files.ts";
import type { OpenedFiles } from "./files.ts";

let base: string;
let root: string;
let files: OpenedFiles;
const outside = { code: "path_outside_workspace" };

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), "stint-files-")));
  root = join(base, "tree");
  await mkdir(join(root, "src"), { recursive: true });
  await mkdir(join(base, "tree-sibling"));
  await writeFile(join(base, "secret"), "secret");
  await writeFile(join(root, "src", "a.txt"), "hello world");
  files = openWorkspaceFiles(root);
});

afterEach(() => rm(base, { recursive: true, force: true }));

const textOf = async (path: string): Promise<string> =>
  Buffer.from((await files.read(path)).bytes).toString();

describe("reading", () => {
  it("returns a part, the whole size and whether more follows", async () => {
    const part = await files.read("src/a.txt", { offset: 6, bytesMax: 3 });
    expect(Buffer.from(part.bytes).toString()).toBe("wor");
    expect(part).toMatchObject({ sizeBytes: 11, truncated: true });
    expect(await files.read("src/a.txt", { offset: 99 })).toMatchObject({ truncated: false });
  });

  it("takes absolute paths and dots that stay inside", async () => {
    expect(await textOf(join(root, "src/a.txt"))).toBe("hello world");
    expect(await textOf("./src/../src//a.txt")).toBe("hello world");
  });

  it.each(["../secret", "src/../../secret", "/etc/passwd", "src/../../tree-sibling", "a\0b"])(
    "refuses %j",
    async (path) => {
      await expect(files.read(path)).rejects.toMatchObject(outside);
    },
  );

  it("refuses an absolute path of a sibling that starts with the same name", async () => {
    await expect(files.read(join(base, "tree-sibling"))).rejects.toMatchObject(outside);
  });

  it("follows links that stay inside and refuses those that leave", async () => {
    await symlink("src", join(root, "inner"));
    await symlink(join(root, "src"), join(root, "inner-absolute"));
    await symlink("..", join(root, "up"));
    await symlink("/etc", join(root, "etc"));
    await symlink("../../secret", join(root, "src", "deep"));
    await symlink("loop", join(root, "loop"));
    expect(await textOf("inner/a.txt")).toBe("hello world");
    expect(await textOf("inner-absolute/a.txt")).toBe("hello world");
    for (const path of ["up/secret", "etc/passwd", "src/deep", "loop", "inner/../../secret"]) {
      await expect(files.read(path)).rejects.toMatchObject(outside);
    }
  });

  it("refuses directories, fifos and devices without opening them", async () => {
    execFileSync("mkfifo", [join(root, "pipe")]);
    for (const path of ["src", "pipe"]) {
      await expect(files.read(path)).rejects.toMatchObject({ code: "invalid_request" });
      await expect(files.write(path, Buffer.from("x"))).rejects.toMatchObject({
        code: "invalid_request",
      });
    }
  });

  it("says what is missing", async () => {
    await expect(files.read("src/none")).rejects.toMatchObject({ code: "not_found" });
    await expect(files.read("none/none")).rejects.toMatchObject({ code: "not_found" });
    await rm(root, { recursive: true });
    await expect(files.read("src/a.txt")).rejects.toMatchObject({ code: "workspace_gone" });
  });
});

describe("writing", () => {
  it("creates parents, and says whether the file is new", async () => {
    expect(await files.write("new/deep/file.txt", Buffer.from("1"))).toBe("created");
    expect(await files.write("new/deep/file.txt", Buffer.from("2"))).toBe("modified");
    expect(await readFile(join(root, "new/deep/file.txt"), "utf8")).toBe("2");
  });

  it("keeps the mode of the file that it replaces, and leaves nothing else behind", async () => {
    await writeFile(join(root, "run.sh"), "old", { mode: 0o755 });
    await files.write("run.sh", Buffer.from("new"));
    const { entries } = await files.list(".");
    expect(entries.map((entry) => entry.path)).toEqual(["run.sh", "src", "src/a.txt"]);
    expect(execFileSync("stat", ["-c", "%a", join(root, "run.sh")], { encoding: "utf8" })).toBe(
      "755\n",
    );
  });

  it("writes through a link that stays inside and never through one that leaves", async () => {
    await symlink("src/a.txt", join(root, "inside"));
    await symlink(join(base, "secret"), join(root, "leaves"));
    await symlink(base, join(root, "up"));
    await files.write("inside", Buffer.from("changed"));
    expect(await readFile(join(root, "src/a.txt"), "utf8")).toBe("changed");
    for (const path of ["leaves", "up/secret", "up/new", "../new", "up/made/new"]) {
      await expect(files.write(path, Buffer.from("x"))).rejects.toMatchObject(outside);
    }
    expect(await readFile(join(base, "secret"), "utf8")).toBe("secret");
  });

  it("reads nothing outside while a directory is swapped for a link again and again", async () => {
    const victim = await prepareSwap();
    await mkdir(join(root, "swap"));
    await writeFile(join(root, "swap", "f"), "inside");
    await symlink(victim, join(root, "evil"));
    const seen = await swapWhile(
      async () => {
        await rename(join(root, "swap"), join(root, "kept"));
        await rename(join(root, "evil"), join(root, "swap"));
        await rename(join(root, "swap"), join(root, "evil"));
        await rename(join(root, "kept"), join(root, "swap"));
      },
      () => textOf("swap/f"),
    );
    expect(new Set(seen)).toEqual(new Set(["inside", "refused"]));
  });

  it("writes nothing outside while a link is swapped for another again and again", async () => {
    const victim = await prepareSwap();
    await symlink("src", join(root, "swap"));
    let turn = 0;
    const seen = await swapWhile(
      async () => {
        turn += 1;
        await symlink(turn % 2 === 0 ? "src" : victim, join(root, "next"));
        await rename(join(root, "next"), join(root, "swap"));
      },
      () => files.write("swap/f", Buffer.from("inside")),
    );
    expect(await readFile(join(victim, "f"), "utf8")).toBe("victim");
    expect(seen).toContain("refused");
    expect(seen).toContain("modified");
  });
});

/** A directory outside, with a file that nobody may touch. */
async function prepareSwap(): Promise<string> {
  const victim = join(base, "victim");
  await mkdir(victim);
  await writeFile(join(victim, "f"), "victim");
  return victim;
}

/** Swaps while an operation runs many times over; what it said, or that it was refused. */
async function swapWhile(
  swap: () => Promise<void>,
  operate: () => Promise<string>,
): Promise<string[]> {
  const state = { isSwapping: true };
  const swapper = (async () => {
    while (state.isSwapping) await swap();
  })();
  const seen: string[] = [];
  const until = performance.now() + 1_500;
  while (performance.now() < until) seen.push(await operate().catch(() => "refused"));
  state.isSwapping = false;
  await swapper;
  return seen;
}

describe("listing", () => {
  it("goes as deep as asked, stops at its bound and does not enter links", async () => {
    await symlink("/etc", join(root, "etc"));
    await files.write("a/b/c/d", Buffer.from(""));
    const { entries, truncated } = await files.list(".", { depthMax: 2 });
    expect(entries.map((entry) => `${entry.kind} ${entry.path}`)).toEqual([
      "directory a",
      "link etc",
      "directory src",
      "directory a/b",
      "file src/a.txt",
    ]);
    expect(truncated).toBe(true);
    expect(await files.list(".", { entriesMax: 2 })).toMatchObject({ truncated: true });
    expect((await files.list("src")).entries).toEqual([
      { path: "src/a.txt", kind: "file", sizeBytes: 11 },
    ]);
    await expect(files.list("src/a.txt")).rejects.toMatchObject({ code: "invalid_request" });
    await expect(files.list("etc")).rejects.toMatchObject(outside);
  });

  it("says what is at a path", async () => {
    expect(await files.stat("src")).toMatchObject({ kind: "directory" });
    expect(await files.stat("none")).toBeNull();
  });
});

describe("searching", () => {
  beforeEach(async () => {
    await files.write("one.txt", Buffer.from("alpha\r\nbeta (x)\n\nalpha alpha\nend"));
    await files.write("node_modules/m.js", Buffer.from("alpha"));
    await files.write(".git/config", Buffer.from("alpha"));
    await files.write("bin", Buffer.from("alpha\0"));
    await symlink("/etc/passwd", join(root, "passwd"));
  });

  it("finds literal text by line, without binaries, links, .git and node_modules", async () => {
    expect(await files.search("alpha")).toEqual({
      matches: [
        { path: "one.txt", line: 1, text: "alpha" },
        { path: "one.txt", line: 4, text: "alpha alpha" },
      ],
      truncated: false,
    });
    expect((await files.search("(x)")).matches).toHaveLength(1);
    expect((await files.search("root")).matches).toEqual([]);
  });

  it("finds regular expressions, and stops at its bound", async () => {
    expect((await files.search("^(al|be)\\w+", { isRegex: true })).matches).toHaveLength(3);
    expect(await files.search("a", { matchesMax: 1 })).toMatchObject({ truncated: true });
    expect((await files.search("hello", { path: "src" })).matches).toHaveLength(1);
  });

  it("refuses what is no pattern", async () => {
    for (const pattern of ["(", "", "x".repeat(2_000)]) {
      await expect(files.search(pattern, { isRegex: true })).rejects.toMatchObject({
        code: "invalid_request",
      });
    }
  });

  it("ends a catastrophic pattern at the time limit while the worker goes on", async () => {
    await files.write("evil.txt", Buffer.from(`${"a".repeat(60)}!`));
    const options = { isRegex: true, timeoutMs: 300 };
    expect(await files.search("^(a+)+$", options)).toMatchObject({ truncated: true });
  });
});

describe("resolving links", () => {
  beforeEach(async () => {
    await symlink("../.env", join(root, "src", "link"));
    await symlink("/workspace/.env", join(root, "src", "seen"));
    await symlink(join(root, "src"), join(root, "folder"));
    await symlink("src/deep", join(root, "down"));
    await symlink("loop", join(root, "loop"));
    await symlink("../../secret", join(root, "src", "out"));
    await mkdir(join(root, "src", "deep"));
  });

  it.each([
    ["src/a.txt", "src/a.txt"],
    ["/workspace/src/a.txt", "src/a.txt"],
    ["src//./a.txt", "src/a.txt"],
    ["src/link", ".env"],
    ["src/seen", ".env"],
    ["folder/link", ".env"],
    ["folder/new/file", "src/new/file"],
    ["down/../a.txt", "src/a.txt"],
    ["../workspace/folder/a.txt", "src/a.txt"],
    ["src/out", "/secret"],
    ["../secret", "/secret"],
    ["/etc/passwd", "/etc/passwd"],
    ["loop", "loop"],
    ["a\0b", "a\0b"],
    [".", "."],
  ])("%j leads to %j", async (path, place) => {
    expect(await files.resolve(path, "/workspace")).toBe(place);
  });
});
