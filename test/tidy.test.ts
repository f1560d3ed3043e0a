import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import * as rules from "./tidy-rules.ts";
import type { Rule, TrackedFile } from "./tidy-rules.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const NOT_OURS = new Set(["node_modules", "dist", ".git", ".stint", "coverage"]);
const TEXT_BYTES_MAX = 1024 * 1024;

/** With git: tracked files and new ones that are not ignored. Without: everything but build output. */
function listPaths(): string[] {
  const list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const git = spawnSync("git", list, { cwd: ROOT, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  const paths = git.status === 0 ? git.stdout.split("\0").filter(Boolean) : walk(ROOT);
  return paths.filter(
    (path) => existsSync(join(ROOT, path)) && statSync(join(ROOT, path)).isFile(),
  );
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (NOT_OURS.has(entry.name) || /\.(tsbuildinfo|tgz)$/.test(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [relative(ROOT, path).split(sep).join("/")];
  });
}

function readText(path: string): TrackedFile[] {
  const bytes = readFileSync(join(ROOT, path));
  const isText = bytes.length <= TEXT_BYTES_MAX && !bytes.includes(0);
  return isText ? [{ path, text: bytes.toString("utf8") }] : [];
}

const paths = new Set(listPaths());
const files = [...paths].flatMap(readText);

describe("the repository", () => {
  it("lists its own files", () => {
    expect(paths).toContain("test/tidy.test.ts");
    expect(walk(join(ROOT, "test"))).toContain("test/tidy.test.ts");
  });

  const byName: Readonly<Record<string, Rule>> = {
    "has imports that point down": rules.checkImportDirection,
    "writes to the console only in the CLI": rules.checkConsole,
    "reads clock and chance only where listed": rules.checkTimeAndChance,
    "keeps lines within the limit": rules.checkLineLength,
    "has no unfinished marks": rules.checkUnfinished,
    "names files after nouns": rules.checkFileName,
    "speaks of the product only": (file) => rules.checkWords(file, paths),
    "keeps its front pages short": rules.checkDocumentLength,
  };
  for (const [title, rule] of Object.entries(byName)) {
    it(title, () => expect(files.flatMap(rule)).toEqual([]));
  }

  it("has a lock file that works everywhere", () => {
    expect(rules.checkLockFile(readFileSync(join(ROOT, "package-lock.json"), "utf8"))).toEqual([]);
  });

  it("lists for clock and chance only files that exist", () => {
    const unused = rules.TIME_AND_CHANCE.filter(
      ({ prefix }) => ![...paths].some((path) => path.startsWith(prefix)),
    );
    expect(unused.filter(({ prefix }) => !prefix.endsWith("/"))).toEqual([]);
  });
});

/** Planted words are put together here, so that the rules do not find them in this file. */
const plant = (...parts: string[]) => parts.join("");

describe("a planted violation is caught", () => {
  const planted: [rule: Rule, path: string, text: string][] = [
    [rules.checkImportDirection, "src/core/a.ts", 'import { b } from "../store/b.ts";'],
    [rules.checkImportDirection, "src/core/a.ts", 'import type { B } from "../client/b.ts";'],
    [rules.checkImportDirection, "src/core/a.ts", 'type B = import("../store/b.ts").B;'],
    [rules.checkImportDirection, "src/core/a.ts", 'import "node:fs";'],
    [rules.checkImportDirection, "src/core/a.ts", 'import { createHash } from "node:crypto";'],
    [rules.checkImportDirection, "src/core/a.ts", 'import pino from "pino";'],
    [rules.checkImportDirection, "src/core/a.ts", 'import type { Pool } from "pg";'],
    [rules.checkImportDirection, "src/store/a.ts", 'export { b } from "../server/b.ts";'],
    [rules.checkImportDirection, "src/agents/acp/a.ts", 'await import("../../worker/b.ts");'],
    [rules.checkImportDirection, "src/agents/a.ts", 'import { b } from "../model/b.ts";'],
    [rules.checkImportDirection, "src/workspace/a.ts", 'import { b } from "../store/b.ts";'],
    [rules.checkImportDirection, "src/client/a.ts", 'import { b } from "../server/b.ts";'],
    [rules.checkImportDirection, "src/client/a.ts", 'import { join } from "node:path";'],
    [rules.checkImportDirection, "src/server/a.ts", 'import { b } from "../worker/b.ts";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { b } from "../server/b.ts";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { b } from "../index.ts";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { b } from "../../test/b.ts";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import pg from "pg";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { Hono } from "hono";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { streamSSE } from "hono/streaming";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { serve } from "@hono/node-server";'],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { spawn } from "node:child_process";'],
    [rules.checkImportDirection, "src/store/a.ts", 'const { spawn } = require("child_process");'],
    [rules.checkImportDirection, "src/attic/a.ts", ""],
    [rules.checkConsole, "src/worker/a.ts", 'console.error("x");'],
    [rules.checkConsole, "src/core/a.ts", "const { log } = console;"],
    [rules.checkTimeAndChance, "src/worker/a.ts", "const now = Date.now();"],
    [rules.checkTimeAndChance, "src/worker/a.ts", "const now = new Date();"],
    [rules.checkTimeAndChance, "src/worker/a.ts", "const jitter = Math.random();"],
    [rules.checkTimeAndChance, "src/worker/a.ts", "const read = Date.now;"],
    [rules.checkTimeAndChance, "src/store/a.ts", 'import { randomUUID } from "node:crypto";'],
    [rules.checkTimeAndChance, "src/store/a.ts", "const id = crypto.randomUUID();"],
    [rules.checkTimeAndChance, "src/worker/a.ts", "setTimeout(work, 10);"],
    [rules.checkTimeAndChance, "src/worker/a.ts", "setInterval(work, 10);"],
    [
      rules.checkTimeAndChance,
      "src/worker/a.ts",
      'import { setTimeout as sleep } from "node:timers/promises";',
    ],
    [rules.checkLineLength, "src/core/a.ts", "x".repeat(121)],
    [rules.checkLineLength, "sql/migrations/1.sql", `-- ${"é".repeat(118)}`],
    [rules.checkUnfinished, "src/core/a.ts", plant("// TO", "DO later")],
    [rules.checkUnfinished, "sql/a.sql", plant("-- FIX", "ME")],
    [rules.checkFileName, "src/core/utils.ts", ""],
    [rules.checkFileName, plant("src/help", "ers/a.ts"), ""],
    [rules.checkFileName, "test/common.test.ts", ""],
    [rules.checkFileName, "src/core/sessionState.ts", ""],
    [rules.checkDocumentLength, "README.md", "line\n".repeat(101)],
  ];
  for (const [rule, path, text] of planted) {
    it(`in ${path}: ${text.slice(0, 60)}`, () => expect(rule({ path, text })).toHaveLength(1));
  }

  const words = [
    plant("see iss", "ue #12"),
    plant("as the GitHub is", "sue says"),
    plant("closes tick", "et 4"),
    plant("in the next sitt", "ing"),
    plant("left for pha", "se 2"),
    plant("a help", "er function"),
    plant("fast on this work", "place"),
    plant("4 ms, measured ", "here"),
    plant("the original ", "request wants it"),
    plant("from the se", "ed project"),
    plant("in /wo", "rk/main/src"),
    plant("cd /wo", "rk"),
    plant("/tmp/br", "ief/x.md"),
    plant("https://registry.n", "pmjs.org/pg"),
    plant("see STOR", "AGE.md 3"),
  ];
  for (const text of words) {
    it(`in prose: ${text}`, () => {
      expect(rules.checkWords({ path: "docs/a.md", text }, new Set())).toHaveLength(1);
    });
  }

  it.each([
    ["a download address", { "node_modules/a": { resolved: "https://example.com/a" } }],
    ["an archive", { "node_modules/a": { version: "file:a.tgz" } }],
    ["a missing platform", { "node_modules/a": { optionalDependencies: { "a-linux": "1.0.0" } } }],
  ])("in the lock file: %s", (_, packages) => {
    expect(rules.checkLockFile(JSON.stringify({ packages }))).not.toEqual([]);
  });
});

describe("what is allowed passes", () => {
  it.each([
    [
      rules.checkImportDirection,
      "src/store/embedded/a.ts",
      'import { spawn } from "node:child_process";',
    ],
    [
      rules.checkImportDirection,
      "src/store/a.ts",
      'import pg from "pg"; import { b } from "../core/b.ts";',
    ],
    [rules.checkImportDirection, "src/worker/a.ts", 'import { b } from "../model/scripted/b.ts";'],
    [
      rules.checkImportDirection,
      "src/cli/a.ts",
      'import { b } from "../server/b.ts"; import "hono";',
    ],
    [
      rules.checkImportDirection,
      "src/core/a.ts",
      '// import x from "../store/b.ts"\nimport "zod";',
    ],
    [rules.checkImportDirection, "src/core/a.ts", 'import type { Readable } from "node:stream";'],
    [rules.checkImportDirection, "src/core/a.test.ts", 'import { b } from "../store/b.ts";'],
    [rules.checkConsole, "src/core/a.ts", 'const text = "console.log"; // console.log'],
    [rules.checkTimeAndChance, "src/core/a.ts", "const at = new Date(0); clock.setTimeout(work);"],
    [rules.checkLineLength, "src/core/a.ts", "é".repeat(120)],
    [rules.checkFileName, "src/core/session-state.test.ts", ""],
  ] satisfies [Rule, string, string][])("%o in %s: %s", (rule, path, text) => {
    expect(rule({ path, text })).toEqual([]);
  });

  it.each([
    "git -c credential.helper= fetch",
    "issues a token",
    "~/code/app",
    "/home/ann/work",
    "/workspace",
    "fast-check prints its seed",
  ])("in prose: %s", (text) => {
    expect(rules.checkWords({ path: "docs/a.md", text }, new Set())).toEqual([]);
  });
});
