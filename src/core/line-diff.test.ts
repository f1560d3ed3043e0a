import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { diffLines } from "./line-diff.ts";

describe("diffLines", () => {
  it("shows a changed line with its context", () => {
    const { patch, additions, deletions } = diffLines("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nD\ne\nf\n", {
      path: "x.txt",
    });
    expect(patch).toBe("--- a/x.txt\n+++ b/x.txt\n@@ -1,6 +1,6 @@\n a\n b\n c\n-d\n+D\n e\n f\n");
    expect([additions, deletions]).toEqual([1, 1]);
  });

  it("shows a new file as added whole", () => {
    expect(diffLines(null, "a\n", { path: "x" }).patch).toBe(
      "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
    );
  });

  it("says when the last line has no newline", () => {
    expect(diffLines("a\n", "a", { path: "x" }).patch).toContain(
      "-a\n+a\n\\ No newline at end of file\n",
    );
  });

  it("is empty for equal texts", () => {
    expect(diffLines("a\n", "a\n", { path: "x" }).patch).toBe("");
  });

  it("ends at a line when it reaches its cap", () => {
    const after = Array.from({ length: 1_000 }, (_, index) => `line ${index}\n`).join("");
    const { patch, truncated, additions } = diffLines("", after, { path: "x", bytesMax: 500 });
    expect(truncated).toBe(true);
    expect(additions).toBe(1_000);
    expect(Buffer.byteLength(patch)).toBeLessThanOrEqual(500);
    expect(patch.endsWith("\n")).toBe(true);
  });

  it("stays quick on large texts that share nothing", () => {
    const lines = Array.from({ length: 50_000 }, (_, index) => `${index}\n`);
    const [before, after] = ["a", "b"].map((word) => lines.map((line) => word + line).join(""));
    const { additions, deletions } = diffLines(before ?? "", after ?? "", { path: "x" });
    expect([additions, deletions]).toEqual([50_000, 50_000]);
  });

  it("makes patches that git applies to the first text and yields the second", (context) => {
    requireTool(context, "git");
    const folder = mkdtempSync(join(tmpdir(), "line-diff-"));
    const lines = fc.array(fc.constantFrom("a", "b", "c", "", "d"), { maxLength: 30 });
    const text = fc
      .tuple(lines, fc.boolean())
      .map(([list, end]) => list.join("\n") + (end && list.length > 0 ? "\n" : ""));
    try {
      fc.assert(
        fc.property(text, text, (before, after) => {
          // git takes a patch against an empty file only as a new one
          fc.pre(before !== "" && after !== "" && before !== after);
          const { patch } = diffLines(before, after, { path: "f" });
          writeFileSync(join(folder, "f"), before);
          execFileSync("git", ["apply", "--whitespace=nowarn", "--unidiff-zero", "-"], {
            cwd: folder,
            input: patch,
          });
          expect(readFileSync(join(folder, "f"), "utf8")).toBe(after);
        }),
        { numRuns: 60 },
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
