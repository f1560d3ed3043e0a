import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { silentLogger } from "../../../src/core/log.ts";
import type { WorkspaceRequest } from "../../../src/core/workspace.ts";
import { createDatabaseSnapshots } from "../../../src/store/database-snapshots.ts";
import { WorkspaceSweep } from "../../../src/worker/workspace-sweep.ts";
import { prepareWorkspace } from "../../../src/workspace/prepare.ts";
import { markProcess } from "../../../src/workspace/process-mark.ts";
import { StoreHarness, type Owner } from "../store/harness.ts";

let harness: StoreHarness;
let database: ReturnType<typeof createDatabaseSnapshots>;
let dataDir: string;
let source: string;

beforeAll(async () => {
  harness = await StoreHarness.create();
  database = createDatabaseSnapshots(harness.source());
});
afterAll(async () => {
  await database.close();
  await harness.close();
});
beforeEach(async () => {
  dataDir = await realpath(await mkdtemp(join(tmpdir(), "stint-removals-")));
  source = await realpath(await mkdtemp(join(tmpdir(), "stint-source-")));
  await writeFile(join(source, "kept"), "of the user\n");
});
afterEach(async () => {
  await rm(dataDir, { recursive: true, force: true });
  await rm(source, { recursive: true, force: true });
});

/** The folder's own name: each test has another host. */
const openSweep = (held: readonly string[] = [], hostId = dataDir): WorkspaceSweep =>
  new WorkspaceSweep({
    ...{ dataDir, hostId, removals: database.workspaces, logger: silentLogger },
    isHeld: (id) => held.includes(id),
  });

async function claimOn(hostId: string, sessionId: string): Promise<Owner> {
  return harness.claim(await harness.registerWorker(60_000, harness.store, hostId), sessionId);
}

/** A session with files here, whose worker is gone and forgotten. */
async function startHere(mode: WorkspaceRequest["mode"] = "copy"): Promise<Owner> {
  const owner = await claimOn(dataDir, await harness.createSession());
  const request = { mode, source };
  await prepareWorkspace({
    ...{ sessionId: owner.sessionId, request, dataDir, ignoredBytesMax: 0 },
  });
  return owner;
}

async function deleteSession(owner: Owner): Promise<void> {
  await harness.commit(owner, { transition: { to: "completed", reason: "end_turn" } });
  await harness.sql("delete from stint.workers");
  await harness.store.deleteSession(owner.sessionId);
}

const listWorkspaces = (): Promise<string[]> => readdir(join(dataDir, "workspaces"));
const listWaiting = (): Promise<readonly string[]> =>
  database.workspaces.list(dataDir, "00000000-0000-0000-0000-000000000000");

it("removes the files of a deleted session and those of no other", async () => {
  const deleted = await startHere();
  const kept = await startHere();
  await mkdir(join(dataDir, "workspaces", "notes"));
  await deleteSession(deleted);
  expect(await listWaiting()).toEqual([deleted.sessionId]);
  expect(await openSweep().runOnce()).toBe(false);
  expect((await listWorkspaces()).sort()).toEqual([kept.sessionId, "notes"].sort());
  expect(await listWaiting()).toEqual([]);
});

it("removes of a session in place what Stint kept, and leaves the directory as it is", async () => {
  const owner = await startHere("in-place");
  await deleteSession(owner);
  await openSweep().runOnce();
  expect(await listWorkspaces()).toEqual([]);
  expect(await readdir(source)).toEqual(["kept"]);
  expect(await readFile(join(source, "kept"), "utf8")).toBe("of the user\n");
});

it("removes nothing because the database does not know it", async () => {
  const sessionId = randomUUID();
  const request = { mode: "copy", source } as const;
  await prepareWorkspace({ sessionId, request, dataDir, ignoredBytesMax: 0 });
  await openSweep().runOnce();
  expect(await listWorkspaces()).toEqual([sessionId]);
});

it("tells each host that has worked on a session, and no other, until each is done", async () => {
  const id = await harness.createSession();
  const elsewhere = `${dataDir}/elsewhere`;
  const first = await claimOn(elsewhere, id);
  await harness.commit(first, { transition: { to: "paused", reason: "backoff" } });
  await harness.sql("update coding_sessions set resume_at = now() where id = $1", [id]);
  await deleteSession(await claimOn(dataDir, id));
  await openSweep([], `${dataDir}/third`).runOnce();
  await openSweep().runOnce();
  const hosts = await harness.sql("select workspace_host as host from stint.workspace_removals");
  expect(hosts).toEqual([{ host: elsewhere }]);
  await openSweep([], elsewhere).runOnce();
  expect(await harness.sql("select * from stint.workspace_removals")).toEqual([]);
});

it("waits for what this process still holds and for what another one still makes", async () => {
  const owner = await startHere();
  const { sessionId } = owner;
  await deleteSession(owner);
  await openSweep([sessionId]).runOnce();
  expect(await listWorkspaces()).toEqual([sessionId]);
  const maker = spawn("sleep", ["600"]);
  const draft = `.making-${sessionId}.${await markProcess(maker.pid)}.${randomUUID()}`;
  await mkdir(join(dataDir, "workspaces", draft));
  await openSweep().runOnce();
  expect(await listWorkspaces()).toEqual([draft]);
  expect(await listWaiting()).toEqual([sessionId]);
  maker.kill("SIGKILL");
  await once(maker, "exit");
  await openSweep().runOnce();
  expect(await listWorkspaces()).toEqual([]);
  expect(await listWaiting()).toEqual([]);
});

it("ends what still runs of a deleted session", async () => {
  const owner = await startHere();
  const { PATH } = process.env;
  const left = spawn("sleep", ["600"], { env: { PATH, STINT_SESSION: owner.sessionId } });
  const ended = once(left, "exit");
  await deleteSession(owner);
  await openSweep().runOnce();
  expect(await ended).toEqual([null, "SIGKILL"]);
});

it("goes past what cannot be removed, a bounded number in a pass", async () => {
  const { listMax } = database.workspaces;
  const ids = Array.from({ length: listMax + 1 }, () => randomUUID()).sort();
  await harness.sql(
    "insert into stint.workspace_removals (workspace_host, session_id) select $1, unnest($2::uuid[])",
    [dataDir, ids],
  );
  const sweep = openSweep(ids.slice(0, listMax));
  expect(await sweep.runOnce()).toBe(true);
  expect(await sweep.runOnce()).toBe(false);
  expect(await listWaiting()).toEqual(ids.slice(0, listMax));
  expect(
    await harness.sql("select session_id from stint.workspace_removals where session_id = $1", [
      ids.at(-1),
    ]),
  ).toEqual([]);
});

it("does not wait for a host that was away for a year", async () => {
  await harness.sql(
    `insert into stint.workspace_removals (workspace_host, session_id, created_at)
     values ('gone', gen_random_uuid(), now() - interval '366 days'),
       ('away', gen_random_uuid(), now() - interval '364 days')`,
  );
  await openSweep().runOnce();
  const hosts = await harness.sql(
    "select workspace_host as host from stint.workspace_removals where workspace_host in ('gone', 'away')",
  );
  expect(hosts).toEqual([{ host: "away" }]);
});

it("removes mirrors of sessions that are no more, and nothing else that lies there", async () => {
  const kept = await harness.createSession();
  for (const name of [kept, randomUUID(), "notes"]) {
    await mkdir(join(dataDir, "mirrors", name, "shadow.git"), { recursive: true });
  }
  await openSweep().runOnce();
  expect((await readdir(join(dataDir, "mirrors"))).sort()).toEqual([kept, "notes"].sort());
});
