import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { requireTool } from "../../test/tools.ts";
import type { WorkspaceRequest } from "../core/workspace.ts";
import { runAbandonable } from "./git.ts";
import { prepareWorkspace } from "./prepare.ts";
import { listPids } from "./process-table.ts";
import { createSnapshot, listSnapshotFiles } from "./snapshot.ts";
import { STORED } from "./storage.ts";

let base: string;
let dataDir: string;

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), "stint-abandon-")));
  dataDir = join(base, "data");
});

afterEach(async () => {
  await rm(base, { recursive: true, force: true });
});

/** Prepares a workspace that is abandoned when `moment` has come. */
async function abandon(request: WorkspaceRequest, moment: Promise<unknown>): Promise<unknown> {
  const controller = new AbortController();
  const options = { sessionId: "s1", request, dataDir, ignoredBytesMax: 1_000_000 };
  const preparing = runAbandonable(controller.signal, () => prepareWorkspace(options));
  void moment.then(() => controller.abort(new Error("told to stop")));
  return preparing.then(
    () => "prepared",
    (error: unknown) => error,
  );
}

/** Pids of processes whose command line names the text. */
async function findMentions(text: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await listPids()) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (pid !== process.pid && line.includes(text)) found.push(pid);
  }
  return found;
}

test("a clone that hangs is killed at once when nobody waits for it, and leaves nothing", async (context) => {
  requireTool(context, "git");
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  try {
    const source = `git://127.0.0.1:${port}/repository`;
    const outcome = await abandon({ mode: "copy", source }, once(server, "connection"));
    expect(outcome).toMatchObject({ message: "told to stop" });
    expect(await readdir(join(dataDir, "workspaces"))).toEqual([]);
    expect(await findMentions(source)).toEqual([]);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

test("a copy under way ends and leaves nothing; the next preparation gives the whole", async () => {
  const source = join(base, "source");
  await mkdir(source);
  for (let index = 0; index < 300; index++) await writeFile(join(source, `${index}`), "x");
  const request = { mode: "copy", source } as const;
  const outcome = await abandon(request, waitForEntry(join(dataDir, "workspaces")));
  expect(outcome).toMatchObject({ message: "told to stop" });
  expect(await readdir(join(dataDir, "workspaces"))).toEqual([]);
  const options = { sessionId: "s1", request, dataDir, ignoredBytesMax: 1_000_000 };
  const { path } = await prepareWorkspace(options);
  expect(execFileSync("diff", ["-r", source, path], { encoding: "utf8" })).toBe("");
});

test("a git that is killed amid storing a repository inside leaves no lock to the next attempt", async (context) => {
  requireTool(context, "git");
  const request = { mode: "copy" } as const;
  const options = { sessionId: "s1", request, dataDir, ignoredBytesMax: 1_000_000 };
  const workspace = await prepareWorkspace(options);
  const inner = join(workspace.path, "inner");
  execFileSync("git", ["init", "-q", inner]);
  await writeFile(join(inner, "large"), randomBytes(67_108_864));
  const shadow = join(workspace.store, STORED.shadow);
  const controller = new AbortController();
  const storing = runAbandonable(controller.signal, () => createSnapshot(workspace));
  void waitForEntry(shadow, isLock).then(() => controller.abort(new Error("told to stop")));
  await expect(storing).rejects.toThrow("told to stop");
  expect((await readdir(shadow)).filter(isLock)).toHaveLength(1);
  const again = await prepareWorkspace(options);
  expect(await listSnapshotFiles(again, await createSnapshot(again))).toEqual(["inner/large"]);
});

/** The lock of the index of a repository inside. */
function isLock(name: string): boolean {
  return /^index-[0-9a-f]{16}\.lock$/.test(name);
}

/** Resolves as soon as something is being made. */
async function waitForEntry(folder: string, isIt?: (name: string) => boolean): Promise<void> {
  for (;;) {
    const names = await readdir(folder).catch(() => []); // not made yet
    if (names.some((name) => isIt?.(name) ?? true)) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
