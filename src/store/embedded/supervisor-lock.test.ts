import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createMissingPassword, describeDataFolder } from "./data-folder.ts";
import { takeSupervisorLock } from "./supervisor-lock.ts";

let parent: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "stint-lock-"));
  mkdirSync(join(parent, "one"));
  createMissingPassword(describeDataFolder(join(parent, "one")));
});

afterEach(() => rmSync(parent, { recursive: true, force: true }));

it("goes to one of many who want it, and to the next when it is released", async () => {
  const folder = describeDataFolder(join(parent, "one"));
  const locks = await Promise.all(Array.from({ length: 8 }, () => takeSupervisorLock(folder)));
  const taken = locks.filter((lock) => lock !== undefined);
  expect(taken).toHaveLength(1);
  taken[0]?.release();
  const next = await takeSupervisorLock(folder);
  expect(next).toBeDefined();
  next?.release();
});

it("follows the folder when it is renamed, and not when it is copied", async () => {
  const lock = await takeSupervisorLock(describeDataFolder(join(parent, "one")));
  renameSync(join(parent, "one"), join(parent, "two"));
  expect(await takeSupervisorLock(describeDataFolder(join(parent, "two")))).toBeUndefined();
  cpSync(join(parent, "two"), join(parent, "copy"), { recursive: true });
  const other = await takeSupervisorLock(describeDataFolder(join(parent, "copy")));
  expect(other).toBeDefined();
  other?.release();
  lock?.release();
});
