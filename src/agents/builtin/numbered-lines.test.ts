import { describe, expect, it } from "vitest";
import type { WorkspaceFiles } from "../../core/workspace.ts";
import { readNumberedLines } from "./numbered-lines.ts";

const filesOf = (content: string | Buffer): WorkspaceFiles =>
  ({
    read: (_path: string, { offset = 0, bytesMax = 1e9 } = {}) => {
      const all = Buffer.from(content);
      const bytes = all.subarray(offset, offset + bytesMax);
      const truncated = offset + bytes.length < all.length;
      return Promise.resolve({ bytes, sizeBytes: all.length, truncated });
    },
  }) as unknown as WorkspaceFiles;
const read = (content: string | Buffer, offset = 1, limit?: number): Promise<string> =>
  readNumberedLines(filesOf(content), "f", offset, limit);

describe("readNumberedLines", () => {
  it("numbers lines and leaves out carriage returns", async () => {
    expect(await read("a\r\nb")).toBe("     1\ta\n     2\tb");
  });

  it("shows the part that is asked for and says that there is more", async () => {
    expect(await read("a\nb\nc\nd\n", 2, 2)).toBe(
      "     2\tb\n     3\tc\n[cut: the file goes on; next is line 4]",
    );
  });

  it("is bounded for long files, long lines and one endless line", async () => {
    expect((await read("line\n".repeat(100_000))).length).toBeLessThan(50_000);
    expect(await read(`${"x".repeat(5_000)}\nend`)).toMatch(/… \[line cut\]\n {5}2\tend$/);
    expect((await read("x".repeat(3_000_000))).length).toBeLessThan(2_100);
  });

  it("keeps characters whole across pieces", async () => {
    const text = `${"ä".repeat(200_000)}\nß`;
    expect(await read(text, 2)).toBe("     2\tß");
    expect(await read(text)).not.toContain("\uFFFD");
  });

  it("names an empty file, a binary one and a place past the end", async () => {
    expect(await read("")).toBe("(empty file)");
    await expect(read(Buffer.from([1, 0, 2]))).rejects.toThrow("binary file");
    await expect(read("a\n", 5)).rejects.toThrow("only 1 lines");
  });
});
