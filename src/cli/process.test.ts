import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FAKE_TOKEN, startFakeServer, type FakeServer } from "../client/fake-server.testsuite.ts";
import { makeFolder } from "./call-cli.testsuite.ts";

const BIN = fileURLToPath(new URL("../../dist/bin.js", import.meta.url));

let server: FakeServer;
beforeEach(async () => (server = await startFakeServer()));
afterEach(() => server.close());

/** Starts the compiled command line; `onStdout` is called after each piece. */
async function start(argv: readonly string[], onStdout: (kill: () => void) => void = () => {}) {
  const env = { PATH: process.env["PATH"], STINT_URL: server.url, STINT_TOKEN: FAKE_TOKEN };
  const child = spawn(process.execPath, [BIN, ...argv], { cwd: await makeFolder(), env });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    onStdout(() => child.kill("SIGINT"));
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

describe("the process", () => {
  it("prints, exits with its code and leaves nothing open", async () => {
    const { id } = server.addSession();
    const { code, stdout } = await start(["ls", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ sessions: [{ id }] });
  });

  it("exits 2 for a wrong call and 3 without a server", async () => {
    expect(await start(["lss"])).toMatchObject({ code: 2, stdout: "" });
    expect(await start(["ls", "--url", "http://127.0.0.1:9"])).toMatchObject({ code: 3 });
  });

  it.each([["logs", "-f"], ["attach"]])(
    "detaches from %s %s at SIGINT, though its input stays open",
    async (...argv) => {
      const { id } = server.addSession({ status: "active" });
      server.append(id, "thinking", { iteration: 1, toolsUsed: [] });
      const { code, stderr } = await start([...argv, id], (interrupt) => interrupt());
      expect(code).toBe(130);
      expect(stderr).toContain("the session goes on");
    },
  );

  it("loads no command, no schema and no client before it knows the command", () => {
    const loaded = listStaticImports(new URL("../bin.ts", import.meta.url));
    expect([...loaded].some((module) => module.endsWith("/cli/program.ts"))).toBe(true);
    const early =
      /\/cli\/commands\/|^zod$|\/core\/(config|event|script)\.ts$|\/client\/client\.ts$/;
    expect([...loaded].filter((module) => early.test(module))).toEqual([]);
  });
});

/** Every module that is loaded with this one: static imports of values, followed. */
function listStaticImports(module: URL, seen = new Set<string>()): Set<string> {
  const text = readFileSync(module, "utf8");
  const imports = /^(?:import|export)(?! type)\b[^;]*?from "([^"]+)";/gm;
  for (const [, specifier = ""] of text.matchAll(imports)) {
    const next = specifier.startsWith(".") ? new URL(specifier, module).href : specifier;
    if (seen.has(next)) continue;
    seen.add(next);
    if (specifier.startsWith(".")) listStaticImports(new URL(next), seen);
  }
  return seen;
}
