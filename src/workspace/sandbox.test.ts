import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createServer as createSocketServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestClock } from "../../test/conformance/agent/memory-context.ts";
import { requireTool } from "../../test/tools.ts";
import type { SandboxLevel } from "../core/sandbox.ts";
import { createCustody, type Custody, type HeldSpec } from "./custody.ts";
import { probeCustody } from "./probe.ts";
import { createSandbox } from "./sandbox.ts";
import type { SandboxFolders } from "./sandbox-mounts.ts";
import { probeSandbox } from "./sandbox-probe.ts";

const probe = await probeCustody();
const { bwrap } = probe;
let root: string;
let folders: SandboxFolders;
let custody: Custody | null = null;

beforeEach(async (context) => {
  requireTool(context, "bwrap");
  root = await realpath(await mkdtemp(join(tmpdir(), "stint-sandbox-")));
  folders = { tree: join(root, "tree"), home: join(root, "home"), scratch: join(root, "tmp") };
  for (const folder of Object.values(folders)) await mkdir(folder);
});

afterEach(async () => {
  await custody?.close();
  await rm(root, { recursive: true, force: true });
});

function open(
  level: SandboxLevel,
  over: { hidden?: string[]; hasNetwork?: boolean } = {},
): Custody {
  const host = { readable: [], hidden: [], hasNetwork: false, ...over };
  custody = createCustody({
    ...{ probe, attemptCookie: `sandbox-${randomUUID()}`, clock: createTestClock() },
    sandbox: createSandbox(level, folders, host),
    env: { PATH: process.env["PATH"] ?? "", CANARY_OF_WORKER: "" },
  });
  return custody;
}

async function run(held: Custody, script: string, spec: Partial<HeldSpec> = {}) {
  const started = await held.spawn({ command: "sh", args: ["-c", script], ...spec });
  let out = "";
  for (const stream of [started.stdout, started.stderr]) {
    stream.on("data", (bytes: Buffer) => (out += String(bytes)));
  }
  const { code } = await started.exited;
  return { code, out };
}

describe("a strict sandbox", () => {
  it("shows the workspace and the home at fixed places, and keeps what is written there", async () => {
    const held = open("strict");
    const { out } = await run(
      held,
      "pwd; echo $HOME; echo a > file; echo b > ~/mine; echo $TMPDIR",
    );
    expect(out).toBe("/workspace\n/home/agent\n/tmp\n");
    expect(await readFile(join(folders.tree, "file"), "utf8")).toBe("a\n");
    expect(await readFile(join(folders.home, "mine"), "utf8")).toBe("b\n");
  });

  it("keeps /tmp from one command to the next", async () => {
    const held = open("strict");
    await run(held, "echo kept > /tmp/note");
    expect((await run(held, "cat /tmp/note")).out).toBe("kept\n");
  });

  it("hides the files of the host, whatever links lead to them", async () => {
    const secret = join(root, "secret");
    await writeFile(secret, "canary");
    await symlink(secret, join(folders.tree, "link"));
    const script = `cat ${secret} link /etc/shadow /root/.bashrc ../../../../${secret}; ls /home /root`;
    const { out } = await run(open("strict"), script);
    expect(out).not.toContain("canary");
    expect(out).toMatch(/agent/);
  });

  it("cannot write outside of its folders, nor to the kernel", async () => {
    const script = `for f in /usr/x /etc/x /opt/x /proc/sys/kernel/core_pattern; do
      echo x > $f && echo wrote $f; done 2> /dev/null; true`;
    expect((await run(open("strict"), script)).out).toBe("");
  });

  it("has no capability, whoever the worker is", async () => {
    const { out } = await run(open("strict"), "grep Cap /proc/self/status");
    expect(out.match(/0000000000000000/g)).toHaveLength(5);
  });

  it("has no network: not even the loopback of the host", async () => {
    const server = createServer((_, response) => response.end("reached"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const script = `require("net").connect(${port}, "127.0.0.1")
      .on("connect", () => console.log("reached")).on("error", () => console.log("refused"))`;
    const call = { command: process.execPath, args: ["-e", script] };
    expect((await run(open("strict"), "", call)).out).toBe("refused\n");
    server.close();
  });

  it("reaches a socket that it is given, and nothing beside it", async () => {
    const path = join(root, "door.sock");
    const server = createSocketServer((socket) => socket.end("hello")).listen(path);
    await once(server, "listening");
    const script = `require("net").connect(process.argv[1])
      .on("data", (b) => console.log(String(b))).on("error", (e) => console.log(e.code))`;
    const call = { command: process.execPath, args: ["-e", script, path] };
    const held = open("strict");
    expect((await run(held, "", call)).out).toBe("ENOENT\n");
    expect((await run(held, "", { ...call, exposes: [path] })).out).toBe("hello\n");
    server.close();
  });

  it("starts a program of a folder that it is given, and none beside it, within another too", async () => {
    const folder = join(root, "given");
    await mkdir(folder);
    const command = join(folder, "hello");
    await writeFile(command, "#!/bin/sh\necho hello\n", { mode: 0o755 });
    const held = open("strict");
    const call = { command, args: [], exposes: [folder] };
    expect((await run(held, "", call)).out).toBe("hello\n");
    expect((await run(held, "", { ...call, within: ["/usr/bin/env"] })).out).toBe("hello\n");
    await expect(run(held, "", { ...call, exposes: [] })).rejects.toMatchObject({
      code: "command_not_found",
    });
  });

  it("does not see the processes of others", async () => {
    const { out } = await run(open("strict"), "ls -d /proc/[0-9]* | wc -l");
    expect(Number(out)).toBeLessThan(10);
  });

  it("runs a program of the workspace, and says of one it does not show where it is", async () => {
    const script = join(folders.tree, "run.sh");
    await writeFile(script, "#!/bin/sh\necho ran\n", { mode: 0o755 });
    const elsewhere = await mkdtemp("/var/tmp/stint-outside-");
    await writeFile(join(elsewhere, "outside"), "#!/bin/sh\necho no\n", { mode: 0o755 });
    const held = open("strict");
    expect((await run(held, "", { command: "./run.sh", args: [] })).out).toBe("ran\n");
    expect((await run(held, "", { command: "/workspace/run.sh", args: [] })).out).toBe("ran\n");
    const outside = held.spawn({ command: join(elsewhere, "outside"), args: [] });
    await expect(outside).rejects.toMatchObject({ code: "command_not_found" });
    await expect(outside).rejects.toThrow(/outside of what the sandbox shows/);
    await rm(elsewhere, { recursive: true });
  });

  it("gives the command's own exit code", async () => {
    const held = open("strict");
    expect((await run(held, "exit 7")).code).toBe(7);
    expect((await run(held, "kill -TERM $$")).code).toBe(143);
  });
});

describe("a sandbox of the workspace", () => {
  it("reads the host, hides what is Stint's, and writes only its own folders", async () => {
    const secret = join(root, "data");
    await mkdir(secret);
    await writeFile(join(secret, "token"), "canary");
    const held = open("workspace", { hidden: [secret] });
    const script = `cat ${secret}/token; echo x > ${root}/x; echo a > a; echo b > /tmp/b; pwd`;
    const { out } = await run(held, script);
    expect(out).not.toContain("canary");
    expect(out).toContain(folders.tree);
    expect(await readFile(join(folders.tree, "a"), "utf8")).toBe("a\n");
    expect(await readFile(join(folders.scratch, "b"), "utf8")).toBe("b\n");
    await expect(readFile(join(root, "x"))).rejects.toThrow(/ENOENT/);
  });
});

describe("the probe of sandboxes", () => {
  const host = { readable: [], hidden: [], hasNetwork: false };

  it("says why there is none without bubblewrap", async () => {
    expect(await probeSandbox("strict", null, host)).toEqual({
      ...{ level: "none", wanted: "strict" },
      reason: expect.stringMatching(/bubblewrap/) as string,
    });
  });

  it("falls back by name when the program refuses", async () => {
    const { level, reason } = await probeSandbox("strict", "/bin/false", host);
    expect(level).toBe("none");
    expect(reason).toMatch(/strict: .*workspace: /s);
  });

  it("asks for nothing where nothing is wanted", async () => {
    const none = { level: "none", wanted: "none", reason: null };
    expect(await probeSandbox("none", bwrap, host)).toEqual(none);
  });
});
