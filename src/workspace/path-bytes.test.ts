import { execFileSync } from "node:child_process";
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, type TestContext } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { applyToSource } from "./apply.ts";
import { diffWorkspace } from "./diff.ts";
import { decodePath, encodePath } from "./path-bytes.ts";
import { createPlainSnapshots } from "./plain-snapshots.ts";
import { diffPlainSnapshots } from "./plain-diff.ts";
import { prepareWorkspace } from "./prepare.ts";
import { restoreSnapshot } from "./restore.ts";
import { createSnapshot } from "./snapshot.ts";
import type { Workspace } from "./storage.ts";

/** No text in any encoding of UTF-8. */
const NAME = Buffer.from([0xff, 0xfe]);
const SUB = Buffer.from([0x64, 0xe9]);

let base: string;
beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), "stint-names-")));
});
afterEach(() => rm(base, { recursive: true, force: true }));

const inside = (root: string, ...names: readonly (Buffer | string)[]): Buffer =>
  Buffer.concat(
    [root, ...names].flatMap((name, at) => [Buffer.from(at ? "/" : ""), asBytes(name)]),
  );
const asBytes = (name: Buffer | string): Buffer =>
  typeof name === "string" ? Buffer.from(name) : name;
const list = async (root: string): Promise<string[]> => {
  const names = await readdir(root, { recursive: false, encoding: "buffer" });
  return names.map((name) => name.toString("latin1")).sort();
};

/** Elsewhere file systems take only names that are text. */
function requireFreeNames(context: TestContext): void {
  if (process.platform !== "linux") context.skip("names are text here");
}

async function makeSource(): Promise<string> {
  const source = join(base, "source");
  await mkdir(source);
  await writeFile(inside(source, NAME), "one\n");
  await mkdir(inside(source, SUB));
  await writeFile(inside(source, SUB, NAME), "below\n");
  await symlink(NAME, inside(source, "link"));
  return source;
}

function prepare(source: string): Promise<Workspace> {
  const request = { mode: "copy" as const, source };
  const dataDir = join(base, "data");
  return prepareWorkspace({ sessionId: "s1", dataDir, ignoredBytesMax: 1_000_000, request });
}

describe("a name that is no text", () => {
  it("is a path and the same bytes again, also beside names that are text", () => {
    for (const hex of [
      "fffe",
      "61ff62",
      "c3a9c3",
      "edb280",
      "f09f9880ff",
      "efbfbd",
      "ef",
      "00ff",
    ]) {
      const bytes = Buffer.from(hex, "hex");
      expect(encodePath(decodePath(bytes)).toString("hex")).toBe(hex);
    }
    expect(decodePath(Buffer.from("é\u{1F600}\uFFFD"))).toBe("é\u{1F600}\uFFFD");
    expect(decodePath(Buffer.from("efbfbdff", "hex"))).toBe("\uFFFD\uDCFF");
  });

  it("survives copy, snapshot, restore and apply; a diff tells its bytes", async (context) => {
    requireTool(context, "git");
    requireFreeNames(context);
    const source = await makeSource();
    const git = { cwd: source, stdio: "ignore" } as const;
    execFileSync("git", ["init", "-q"], git);
    const workspace = await prepare(source);
    const { path } = workspace;
    expect(await list(path)).toEqual([".git", "d\xe9", "link", "\xff\xfe"]);
    await writeFile(inside(path, NAME), "two\n");
    const changed = await createSnapshot(workspace);
    const { files } = await diffWorkspace(workspace, { to: changed });
    expect(files).toMatchObject([{ pathBase64: NAME.toString("base64"), action: "modified" }]);
    await rm(inside(path, NAME));
    await rm(inside(path, SUB), { recursive: true });
    await writeFile(inside(path, Buffer.from([0xfd])), "extra\n");
    await restoreSnapshot(workspace, changed);
    expect(await list(path)).toEqual([".git", "d\xe9", "link", "\xff\xfe"]);
    expect(await readFile(inside(path, NAME), "utf8")).toBe("two\n");
    expect(await readFile(inside(path, SUB, NAME), "utf8")).toBe("below\n");
    expect(await readFile(inside(path, "link"), "utf8")).toBe("two\n");
    expect(await applyToSource(workspace)).toMatchObject({ conflicts: [] });
    expect(await readFile(inside(source, NAME), "utf8")).toBe("two\n");
  });

  it("survives where the folder is no repository, and where there is no git", async (context) => {
    requireTool(context, "git");
    requireFreeNames(context);
    const workspace = await prepare(await makeSource());
    const { path, store } = workspace;
    expect(await list(path)).toEqual(["d\xe9", "link", "\xff\xfe"]);
    const plain = { ...workspace, snapshots: "plain" as const };
    const snapshots = createPlainSnapshots({ path, store, snapshots: "plain" });
    const before = await snapshots.create();
    await rm(inside(path, NAME));
    const bounds = { filesMax: 10, filePatchBytesMax: 1_000, patchBytesMax: 1_000 };
    const diff = await diffPlainSnapshots(snapshots, before, await snapshots.create(), bounds);
    expect(diff.files).toMatchObject([{ pathBase64: NAME.toString("base64"), action: "deleted" }]);
    await restoreSnapshot(plain, before);
    expect(await readFile(inside(path, NAME), "utf8")).toBe("one\n");
    expect(await list(path)).toEqual(["d\xe9", "link", "\xff\xfe"]);
  });
});
