import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { applyToSource } from "./apply.ts";
import { diffWorkspace } from "./diff.ts";
import { prepareWorkspace } from "./prepare.ts";
import { restoreSnapshot } from "./restore.ts";
import { createSnapshot, readSnapshotFile } from "./snapshot.ts";
import type { Workspace } from "./storage.ts";

/** This host has no git. */
vi.mock("./git.ts", async (importActual) => {
  const { StintError } = await import("../core/error.ts");
  const missing = (): Promise<never> =>
    Promise.reject(new StintError("git_missing", "git is not installed on this host"));
  return {
    ...(await importActual<object>()),
    findGit: () => Promise.resolve(null),
    runGit: missing,
    readGitLine: missing,
    readGitFields: missing,
  };
});

let base: string;
let source: string;
let workspace: Workspace;
let path: string;

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), "stint-plain-")));
  source = join(base, "source");
  await mkdir(join(source, "dir"), { recursive: true });
  await writeFile(join(source, "a.txt"), "one\ntwo\nthree\n");
  await writeFile(join(source, "dir/b.txt"), "b\n");
  workspace = await prepareWorkspace({
    sessionId: "plain",
    dataDir: join(base, "data"),
    ignoredBytesMax: 0,
    request: { mode: "copy", source },
  });
  path = workspace.path;
});

afterEach(() => rm(base, { recursive: true, force: true }));

describe("a workspace without git", () => {
  it("says plainly that a URL needs git", async () => {
    const request = { mode: "copy", source: "https://example.test/x.git" } as const;
    const options = { sessionId: "url", dataDir: join(base, "data"), ignoredBytesMax: 0, request };
    await expect(prepareWorkspace(options)).rejects.toMatchObject({
      code: "git_missing",
      remedy: expect.stringContaining("Install git"),
    });
  });

  it("diffs by its own snapshots, in git's format", async () => {
    expect(workspace).toMatchObject({ isGit: false, snapshots: "plain" });
    expect(await createSnapshot(workspace)).toBe(workspace.base);
    await writeFile(join(path, "a.txt"), "one\n2\nthree");
    await writeFile(join(path, "new.txt"), "new\n");
    await rm(join(path, "dir"), { recursive: true });
    await symlink("a.txt", join(path, "ln"));
    const diff = await diffWorkspace(workspace);
    expect(diff).toMatchObject({ additions: 4, deletions: 3, truncated: false });
    expect(diff.files.map((file) => `${file.action} ${file.path}`)).toEqual([
      ...["modified a.txt", "deleted dir/b.txt", "created ln", "created new.txt"],
    ]);
    expect(diff.files[0]?.patch).toBe(
      "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n" +
        " one\n-two\n-three\n+2\n+three\n\\ No newline at end of file\n",
    );
    expect(diff.files[3]?.patch).toContain("new file mode 100644\n--- /dev/null\n+++ b/new.txt\n");
    expect((await readSnapshotFile(workspace, workspace.base, "dir/b.txt"))?.toString()).toBe(
      "b\n",
    );
  });

  it("restores and applies, and takes what both sides changed for a conflict", async () => {
    await writeFile(join(path, "a.txt"), "ours\n");
    await rm(join(path, "dir"), { recursive: true });
    const changed = await createSnapshot(workspace);
    await restoreSnapshot(workspace, workspace.base);
    expect(await readFile(join(path, "dir/b.txt"), "utf8")).toBe("b\n");
    await writeFile(join(source, "a.txt"), "theirs\n");
    expect(await applyToSource(workspace, { to: changed })).toEqual({
      applied: [],
      conflicts: ["a.txt"],
    });
    await writeFile(join(source, "a.txt"), "one\ntwo\nthree\n");
    expect(await applyToSource(workspace, { to: changed })).toEqual({
      applied: ["a.txt", "dir/b.txt"],
      conflicts: [],
    });
    expect(await readFile(join(source, "a.txt"), "utf8")).toBe("ours\n");
  });
});
