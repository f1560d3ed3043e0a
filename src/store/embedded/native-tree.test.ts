import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { copyNativeTree, createMissingLinks } from "./native-tree.ts";

let parent: string;
let nativeDir: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "stint-native-"));
  nativeDir = join(parent, "native");
  mkdirSync(join(nativeDir, "lib"), { recursive: true });
  mkdirSync(join(nativeDir, "bin"));
  writeFileSync(join(nativeDir, "bin", "postgres"), "program", { mode: 0o700 });
  writeFileSync(join(nativeDir, "lib", "libx.so.1.2"), "library", { mode: 0o600 });
  listLinks([{ source: "native/lib/libx.so.1.2", target: "native/lib/libx.so.1" }]);
  writeFileSync(join(parent, "package.json"), JSON.stringify({ version: "18.4.0" }));
});

afterEach(() => rmSync(parent, { recursive: true, force: true }));

function listLinks(links: readonly object[]): void {
  writeFileSync(join(nativeDir, "pg-symlinks.json"), JSON.stringify(links));
}

it("makes the links that a blocked install script would have made, once", () => {
  expect(createMissingLinks(nativeDir)).toBe(true);
  expect(readFileSync(join(nativeDir, "lib", "libx.so.1"), "utf8")).toBe("library");
  expect(createMissingLinks(nativeDir)).toBe(true);
});

it("makes no link outside the package", () => {
  listLinks([{ source: "native/lib/libx.so.1.2", target: "native/../outside" }]);
  createMissingLinks(nativeDir);
  expect(existsSync(join(parent, "outside"))).toBe(false);
});

it("copies the package whole, readable by everybody, and mends a broken copy", () => {
  const base = join(parent, "base");
  const copy = copyNativeTree(nativeDir, base);
  expect(statSync(join(copy, "bin", "postgres")).mode & 0o777).toBe(0o755);
  expect(statSync(join(copy, "lib", "libx.so.1.2")).mode & 0o777).toBe(0o644);
  expect(lstatSync(join(copy, "lib", "libx.so.1")).isSymbolicLink()).toBe(true);
  const { ino } = statSync(copy);
  expect(statSync(copyNativeTree(nativeDir, base)).ino).toBe(ino);
  rmSync(join(copy, "lib", "libx.so.1.2"));
  expect(copyNativeTree(nativeDir, base)).toBe(copy);
  expect(readFileSync(join(copy, "lib", "libx.so.1"), "utf8")).toBe("library");
});

it("uses no folder that others can write", () => {
  const base = join(parent, "base");
  mkdirSync(base);
  chmodSync(base, 0o777);
  expect(() => copyNativeTree(nativeDir, base)).toThrow("can be written by others");
});
