import { spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

let checkout: string;

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), "stint launcher "));
  for (const name of ["bin", "scripts", "tsconfig.json", "package.json"]) {
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
  }
  mkdirSync(join(checkout, "node_modules", "@types"), { recursive: true });
  for (const name of ["typescript7", "@typescript", "@types/node", "undici-types"]) {
    symlinkSync(join(ROOT, "node_modules", name), join(checkout, "node_modules", name));
  }
  mkdirSync(join(checkout, "src"));
  writeSource("bin.ts", 'process.stdout.write("first\\n");\n');
});

afterEach(() => rmSync(checkout, { recursive: true, force: true }));

function writeSource(name: string, text: string): void {
  writeFileSync(join(checkout, "src", name), text);
}

function runLauncher(): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(checkout, "bin", "stint.mjs")], { cwd: tmpdir() });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (stderr += String(chunk)));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

describe("the launcher in a checkout", () => {
  it("builds when dist is missing, and only then", async () => {
    const first = await runLauncher();
    expect(first).toMatchObject({ code: 0, stdout: "first\n" });
    expect(first.stderr).toContain("building");
    expect(await runLauncher()).toEqual({ code: 0, stdout: "first\n", stderr: "" });
  });

  it("builds again when a source changed, and drops what a removed source left", async () => {
    writeSource("gone.ts", "export const gone = 1;\n");
    await runLauncher();
    expect(existsSync(join(checkout, "dist", "gone.js"))).toBe(true);
    rmSync(join(checkout, "src", "gone.ts"));
    writeSource("bin.ts", 'process.stdout.write("second\\n");\n');
    expect((await runLauncher()).stdout).toBe("second\n");
    expect(existsSync(join(checkout, "dist", "gone.js"))).toBe(false);
  });

  it("builds once when several start together", async () => {
    const runs = await Promise.all([runLauncher(), runLauncher(), runLauncher()]);
    expect(runs.map(({ stdout }) => stdout)).toEqual(["first\n", "first\n", "first\n"]);
    expect(runs.filter(({ stderr }) => stderr.includes("building"))).toHaveLength(1);
  });

  it("takes over the lock of a builder that died", async () => {
    const lock = join(checkout, "node_modules", ".cache", "stint", "build-lock");
    mkdirSync(lock, { recursive: true });
    writeFileSync(join(lock, "pid"), "2147483646");
    expect((await runLauncher()).stdout).toBe("first\n");
  });

  it("refuses to run old code when the build fails", async () => {
    await runLauncher();
    writeSource("bin.ts", "const wrong: number = 'text';\n");
    const { code, stdout, stderr } = await runLauncher();
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("src/bin.ts");
  });

  it("runs what is built when the compiler was left out of the install", async () => {
    await runLauncher();
    rmSync(join(checkout, "node_modules"), { recursive: true });
    writeSource("bin.ts", 'process.stdout.write("second\\n");\n');
    expect((await runLauncher()).stdout).toBe("first\n");
  });

  it("says what to do when there is neither dist nor a compiler", async () => {
    rmSync(join(checkout, "node_modules"), { recursive: true });
    const { code, stderr } = await runLauncher();
    expect(code).toBe(1);
    expect(stderr).toContain("npm ci");
  });
});

describe("the launcher in an installed package", () => {
  it("imports the dist that was shipped and builds nothing", async () => {
    await runLauncher();
    for (const name of ["src", "scripts", "node_modules"]) {
      rmSync(join(checkout, name), { recursive: true });
    }
    const before = readFileSync(join(checkout, "dist", "bin.js"), "utf8");
    expect(await runLauncher()).toEqual({ code: 0, stdout: "first\n", stderr: "" });
    expect(readFileSync(join(checkout, "dist", "bin.js"), "utf8")).toBe(before);
  });
});
