import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readOrCreateFile } from "./create-once.ts";

test("all of many creators get the content of one, whole, and no drafts are left", async () => {
  const folder = await mkdtemp(join(tmpdir(), "create-once-"));
  const path = join(folder, "deep", "name");
  const names = Array.from({ length: 20 }, (_, index) => `content ${index}`);
  const got = await Promise.all(names.map((name, i) => readOrCreateFile(path, name, String(i))));
  expect(new Set(got).size).toBe(1);
  expect(names).toContain(got[0]);
  expect(await readdir(join(folder, "deep"))).toEqual(["name"]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readOrCreateFile(path, "later", "later")).toBe(got[0]);
  await rm(folder, { recursive: true });
});
