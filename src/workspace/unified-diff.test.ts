import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { array, assert, boolean, constantFrom, property } from "fast-check";
import { describe, expect, it } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { diffText } from "./unified-diff.ts";

const lines = array(constantFrom("a", "b", "c", "", "d"), { maxLength: 30 }).chain((parts) =>
  boolean().map((ends) => parts.join("\n") + (ends ? "\n" : "")),
);

/** Applies hunks the plain way: what is kept and removed must be there. */
function patchText(before: string, hunks: string): string {
  const old = before === "" ? [] : before.split(/(?<=\n)/);
  const result: string[] = [];
  let at = 0;
  const rows = hunks === "" ? [] : hunks.split("\n").slice(0, -1);
  rows.forEach((row, index) => {
    const head = /^@@ -(\d+)(?:,(\d+))? /.exec(row);
    if (head !== null) {
      const start = Number(head[1]) - (head[2] === "0" ? 0 : 1);
      while (at < start) result.push(old[at++] as string);
      return;
    }
    if (row.startsWith("\\")) return;
    const text = row.slice(1) + (rows[index + 1]?.startsWith("\\") === true ? "" : "\n");
    if (row[0] !== "+" && old[at++] !== text) throw new Error(`${text} is not there`);
    if (row[0] !== "-") result.push(text);
  });
  return [...result, ...old.slice(at)].join("");
}

function writeLines(word: string): string {
  return Array.from({ length: 20_000 }, (_, at) => `${word}${at}\n`).join("");
}

describe("a textual difference", () => {
  it("turns the one text into the other, whatever they are", () => {
    assert(
      property(lines, lines, (before, after) => {
        expect(patchText(before, diffText(before, after).hunks)).toBe(after);
      }),
      { numRuns: 1_000 },
    );
  });

  it("is what git takes", (context) => {
    requireTool(context, "git");
    const folder = mkdtempSync(join(tmpdir(), "stint-diff-"));
    const before = Array.from({ length: 40 }, (_, at) => `line ${at}\n`).join("");
    const after = before.replace("line 3\n", "").replace("line 30\n", "LINE 30\nmore\n").trimEnd();
    writeFileSync(join(folder, "f"), before);
    const patch = `diff --git a/f b/f\n--- a/f\n+++ b/f\n${diffText(before, after).hunks}`;
    execFileSync("git", ["apply", "-"], { cwd: folder, input: patch });
    expect(readFileSync(join(folder, "f"), "utf8")).toBe(after);
    rmSync(folder, { recursive: true });
  });

  it("finds the shortest edit, and stays quick where everything differs", () => {
    expect(diffText("a\nb\nc\n", "a\nc\nd\n")).toMatchObject({ additions: 1, deletions: 1 });
    expect(diffText(writeLines("x"), writeLines("y"))).toMatchObject({
      additions: 20_000,
      deletions: 20_000,
    });
    expect(diffText("same\n", "same\n").hunks).toBe("");
  });
});
