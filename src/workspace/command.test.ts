import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { narrowPath, resolveCommand } from "./command.ts";
import { createSandbox } from "./sandbox.ts";

const folder = mkdtempSync(join(tmpdir(), "stint-path-"));
afterAll(() => rmSync(folder, { recursive: true }));

const folders = { tree: "/nowhere/tree", home: "/nowhere/home", scratch: "/nowhere/scratch" };
const make = (level: "strict" | "none", readable: readonly string[] = []) =>
  createSandbox(level, folders, { readable, hidden: [], hasNetwork: false });
const PATH = `/usr/bin:${folder}:/usr/bin:/usr/no-such-folder:relative`;

describe("the PATH of a command", () => {
  it("holds in a strict sandbox only folders that are there inside, each once", () => {
    expect(narrowPath(make("strict"), PATH)).toBe("/usr/bin");
    expect(narrowPath(make("strict", [folder]), PATH)).toBe(`/usr/bin:${folder}`);
    expect(narrowPath(make("strict"), PATH, [folder])).toBe(`/usr/bin:${folder}`);
  });

  it("is that of the host elsewhere, each folder once", () => {
    expect(narrowPath(make("none"), PATH)).toBe(`/usr/bin:${folder}:/usr/no-such-folder:relative`);
  });

  it("is what is told of when a program is not found", async () => {
    const sandbox = make("strict");
    const shown = narrowPath(sandbox, PATH);
    await expect(resolveCommand(sandbox, "no-such-program", "/", PATH, shown)).rejects.toThrow(
      "no-such-program is not in PATH (/usr/bin)",
    );
  });
});
