import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Logger } from "../../../src/core/log.ts";
import { silentLogger } from "../../../src/core/log.ts";
import type { SessionSnapshot } from "../../../src/core/session.ts";
import type { SnapshotStore } from "../../../src/core/snapshot-store.ts";
import type { OwnerCommit } from "../../../src/core/store.ts";
import { createDatabaseSnapshots } from "../../../src/store/database-snapshots.ts";
import type { AttemptWorkspace } from "../../../src/worker/attempt-workspace.ts";
import {
  createLocalWorkspaces,
  type LocalWorkspaces,
} from "../../../src/worker/local-workspaces.ts";
import { SessionHold } from "../../../src/worker/session-hold.ts";
import { commitSnapshot } from "../../../src/worker/snapshot-commit.ts";
import { SnapshotKeeper } from "../../../src/worker/snapshot-keeper.ts";
import { openSnapshotStores, type SnapshotStores } from "../../../src/worker/snapshot-stores.ts";
import { openWorkspace } from "../../../src/workspace/prepare.ts";
import { rebuildWorkspace } from "../../../src/workspace/rebuild.ts";
import { createSnapshot } from "../../../src/workspace/snapshot.ts";
import { systemClock as clock } from "../../system-clock.ts";
import { requireTool } from "../../tools.ts";
import { type Owner, StoreHarness } from "../store/harness.ts";

/** Whether this host has git; the plain form of snapshots is for those that do not. */
const tools = vi.hoisted(() => ({ hasGit: true }));
vi.mock("../../../src/workspace/git.ts", async (importActual) => {
  const actual = await importActual<{ findGit: () => Promise<string | null> }>();
  return { ...actual, findGit: () => (tools.hasGit ? actual.findGit() : Promise.resolve(null)) };
});

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let harness: StoreHarness;
let base: string;
const opened: { close(): Promise<void> }[] = [];
const signal = new AbortController().signal;

beforeAll(async () => {
  harness = await StoreHarness.create();
});
afterAll(() => harness.close());
beforeEach(async (context) => {
  requireTool(context, "git");
  base = await mkdtemp(join(tmpdir(), "stint-move-"));
  await mkdir(join(base, "shared"));
});
afterEach(async () => {
  tools.hasGit = true;
  for (const one of opened.splice(0).reverse()) await one.close();
  await rm(base, { recursive: true, force: true });
});

async function openStores(kind: string): Promise<SnapshotStores> {
  const snapshotStore = kind === "folder" ? join(base, "shared") : kind;
  const database = createDatabaseSnapshots(harness.source());
  const stores = await openSnapshotStores({ config: { snapshotStore }, database, clock });
  opened.push(stores);
  return stores;
}

/** A host: a data folder of its own. */
async function openHost(
  name: string,
  snapshots: SnapshotStores,
  more: { snapshotBytesMax?: number; logger?: Logger } = {},
): Promise<LocalWorkspaces & { readonly dataDir: string }> {
  const dataDir = join(base, name);
  const { logger = silentLogger, ...bounds } = more;
  const config = {
    ...{ dataDir, allowedRoots: [], environment: [], ignoredBytesMax: 1_000_000 },
    ...{ logLevel: "silent" as const, ...bounds },
  };
  const host = await createLocalWorkspaces({ config, env: process.env, clock, snapshots, logger });
  opened.push(host);
  return { ...host, dataDir };
}

const git = (cwd: string, ...args: string[]): string =>
  execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@t", ...args], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"], HOME: base, GIT_CONFIG_NOSYSTEM: "1" },
  });

/** Files, links and their modes; of a repository what it says of itself. */
const fingerprint = (path: string): string =>
  execFileSync(
    "sh",
    [
      "-c",
      `find . -path ./.git -prune -o -type f -printf '%p %m ' -exec sha256sum {} ';' | sort
       find . -path ./.git -prune -o -type l -printf '%p %l\\n' | sort`,
    ],
    { cwd: path, encoding: "utf8" },
  );

/** What git says of a repository, sound in all its objects; empty where there is none. */
function describeRepository(path: string): string {
  if (!existsSync(join(path, ".git"))) return "";
  git(path, "fsck", "--strict");
  return `${git(path, "status", "--porcelain")}${git(path, "log", "--all", "--format=%H %D %s")}`;
}

async function makeSource(isRepository: boolean): Promise<string> {
  const source = join(base, "source");
  await mkdir(join(source, "dir"), { recursive: true });
  await writeFile(join(source, "a.txt"), "a\n");
  await writeFile(join(source, "dir/b.bin"), Buffer.alloc(300_000, 7));
  await writeFile(join(source, "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
  if (isRepository) {
    await writeFile(join(source, ".gitignore"), "ignored\nforced\n");
    await writeFile(join(source, "forced"), "tracked although ignored\n");
    git(source, "init", "-q", "-b", "main");
    git(source, "add", "-A");
    git(source, "add", "-f", "forced");
    git(source, "commit", "-qm", "first");
  }
  return source;
}

/** A session as a worker on some host claims it. */
async function startSession(source: string): Promise<{ owner: Owner; session: SessionSnapshot }> {
  const owner = await harness.startSession({ workspace: { mode: "copy", source } });
  return { owner, session: await read(owner.sessionId) };
}

const read = async (id: string): Promise<SessionSnapshot> =>
  (await harness.store.getSession(id)) as SessionSnapshot;

/** What the log would say after this, as the next worker reads it. */
const after = (
  session: SessionSnapshot,
  host: string,
  snapshotId: string,
  snapshotStore: string | null,
): SessionSnapshot => ({
  ...session,
  workspace: { ...session.workspace, host, snapshotId, snapshotStore },
});

async function work(workspace: AttemptWorkspace, isRepository: boolean): Promise<void> {
  await writeFile(join(workspace.path, "a.txt"), "a\nchanged\n");
  await writeFile(join(workspace.path, "new 'file'.txt"), "new\n");
  await rm(join(workspace.path, "dir"), { recursive: true });
  if (!isRepository) return;
  git(workspace.path, "checkout", "-qb", "topic");
  git(workspace.path, "commit", "-qam", "by the agent");
  await writeFile(join(workspace.path, "staged.txt"), "staged\n");
  git(workspace.path, "add", "staged.txt");
}

describe.each(["git", "plain"])("a workspace with %s snapshots", (form) => {
  const isRepository = form === "git";
  beforeEach(() => {
    tools.hasGit = isRepository;
  });

  it.each(["database", "folder"])(
    "stored in the %s, is on another host what the last committed state was here",
    async (kind) => {
      const stores = await openStores(kind);
      const [here, there] = [await openHost("a", stores), await openHost("b", stores)];
      const { session } = await startSession(await makeSource(isRepository));
      const workspace = await here.open(session, signal);
      expect(workspace.isMoved).toBe(false);
      const place = stores.target?.name ?? "";
      expect(await workspace.storeSnapshot?.(workspace.base)).toBe(place);
      await work(workspace, isRepository);
      const id = await workspace.takeSnapshot();
      expect(await workspace.storeSnapshot?.(id)).toBe(place);
      const expected = [fingerprint(workspace.path), describeRepository(workspace.path)];
      await writeFile(join(workspace.path, "a.txt"), "not committed\n");
      await workspace.close();

      const moved = after(session, here.hostId, id, place);
      const shown = await there.diff(moved);
      expect(shown.files.map(({ path }) => path)).toContain("new 'file'.txt");
      await rm(here.dataDir, { recursive: true });
      const anew = await there.open(moved, signal);
      expect(anew.isMoved).toBe(true);
      expect([fingerprint(anew.path), describeRepository(anew.path)]).toEqual(expected);
      expect(anew.base).toBe(workspace.base);
      const { files } = await anew.readChanges(anew.base, await anew.takeSnapshot());
      expect(files).toHaveLength(isRepository ? 4 : 3);
      // A later turn of the same attempt goes on with the files as they are.
      await writeFile(join(anew.path, "a.txt"), "by the second host\n");
      await anew.close();
      const again = await there.open(moved, signal);
      expect(again.isMoved).toBe(false);
      expect(await readFile(join(again.path, "a.txt"), "utf8")).toBe("by the second host\n");
      await again.close();
    },
  );

  it("stored local, stays on its host, and whoever looks elsewhere is told which that is", async () => {
    const stores = await openStores("local");
    const [here, there] = [await openHost("a", stores), await openHost("b", stores)];
    const { session } = await startSession(await makeSource(isRepository));
    const workspace = await here.open(session, signal);
    await work(workspace, isRepository);
    const id = await workspace.takeSnapshot();
    expect(workspace.storeSnapshot).toBeUndefined();
    await workspace.close();
    const bound = after(session, here.hostId, id, null);
    expect((await here.diff(bound)).files).not.toEqual([]);
    expect(there.hostId).not.toBe(here.hostId);
    await expect(there.diff(bound)).rejects.toMatchObject({
      code: "workspace_elsewhere",
      message: expect.stringContaining(here.hostId) as string,
    });
  });

  it("goes back to a host that knows an older state of it", async () => {
    const stores = await openStores("folder");
    const [here, there] = [await openHost("a", stores), await openHost("b", stores)];
    const { session } = await startSession(await makeSource(isRepository));
    const first = await here.open(session, signal);
    const place = (await first.storeSnapshot?.(first.base)) ?? null;
    await writeFile(join(first.path, "a.txt"), "only here\n");
    await first.close();
    const second = await there.open(after(session, here.hostId, first.base, place), signal);
    await writeFile(join(second.path, "a.txt"), "elsewhere\n");
    const id = await second.takeSnapshot();
    expect(await second.storeSnapshot?.(id)).toBe(place);
    await second.close();
    const resumed = { ...after(session, there.hostId, id, place), epoch: session.epoch + 2 };
    const third = await here.open(resumed, signal);
    expect(third.isMoved).toBe(true);
    expect(await readFile(join(third.path, "a.txt"), "utf8")).toBe("elsewhere\n");
    const kept = join(third.path, "../kept/00000001-replaced/tree/a.txt");
    expect(await readFile(kept, "utf8")).toBe("only here\n");
    await third.close();
  });

  it("is stored as what is new, and every so often whole, with all that was there before", async () => {
    const stores = await openStores("database");
    const here = await openHost("a", await openStores("local"));
    const { owner, session } = await startSession(await makeSource(isRepository));
    const attempt = await here.open(session, signal);
    const workspace = await openWorkspace({ sessionId: session.id, dataDir: here.dataDir });
    const store = stores.target as SnapshotStore;
    const keeper = new SnapshotKeeper({
      ...{ store, workspace, owner, clock, logger: silentLogger, partsMax: 3 },
      bytesMax: Number.MAX_SAFE_INTEGER,
    });
    const ids: string[] = [];
    const counts: number[] = [];
    for (let at = 0; at < 5; at++) {
      await writeFile(join(attempt.path, "counter"), `${at}\n`);
      const id = await createSnapshot(workspace, { isPortable: true });
      ids.push(id);
      expect(await keeper.keep(id)).toBe("database");
      expect(await keeper.keep(id)).toBe("database");
      counts.push((await store.listParts(session.id)).length);
    }
    expect(counts).toEqual([1, 2, 3, 1, 2]);
    const sizes = (await store.listParts(session.id)).map(({ sizeBytes }) => sizeBytes);
    expect(sizes[1]).toBeLessThan((sizes[0] ?? 0) / (isRepository ? 1 : 10));
    for (const at of [0, 4]) {
      const snapshotId = ids[at] ?? "";
      const dataDir = join(base, `copy-${at}`);
      const request = { sessionId: session.id, dataDir, snapshotId, store };
      const { path } = await rebuildWorkspace(request);
      expect(await readFile(join(path, "counter"), "utf8")).toBe(`${at}\n`);
    }
    await attempt.close();
  });

  it("stays on its host, and the worker says so, when it is too large or cannot be stored", async () => {
    const told: string[] = [];
    const logger = {
      ...silentLogger,
      warn: (fields: Readonly<Record<string, unknown>>, msg: string) =>
        told.push(`${msg} (${String(fields["error"])})`),
    };
    const stores = await openStores("folder");
    const small = await openHost("a", stores, { snapshotBytesMax: 100, logger });
    const { session } = await startSession(await makeSource(isRepository));
    const workspace = await small.open(session, signal);
    expect(await workspace.storeSnapshot?.(workspace.base)).toBeNull();
    expect(await workspace.storeSnapshot?.(workspace.base)).toBeNull();
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/^Session stays on this host: .*more than snapshotBytesMax \(100\)/);
    await workspace.close();

    const wide = await openHost("b", stores, { logger });
    const other = await startSession(await makeSource(false));
    const lost = await wide.open(other.session, signal);
    await rm(join(base, "shared"), { recursive: true });
    await writeFile(join(base, "shared"), "no folder any more");
    expect(await lost.storeSnapshot?.(lost.base)).toBeNull();
    expect(told).toHaveLength(2);
    await rm(join(base, "shared"));
    await mkdir(join(base, "shared"));
    expect(await lost.storeSnapshot?.(lost.base)).toMatch(/^folder:/);
    await lost.close();
  });
});

it("an owner that does not know that it has lost the session leaves what a later one stored in a folder", async () => {
  const stores = await openStores("folder");
  const store = stores.target as SnapshotStore;
  const [here, there] = [await openHost("a", stores), await openHost("b", stores)];
  const { owner, session } = await startSession(await makeSource(true));
  const first = await here.open(session, signal);
  const place = (await first.storeSnapshot?.(first.base)) ?? null;
  const second = await there.open(after(session, here.hostId, first.base, place), signal);
  await writeFile(join(second.path, "a.txt"), "newest\n");
  const newest = await second.takeSnapshot();
  expect(await second.storeSnapshot?.(newest)).toBe(place);
  const workspace = await openWorkspace({ sessionId: session.id, dataDir: here.dataDir });
  const stale = new SnapshotKeeper({
    ...{ store, workspace, owner, clock, logger: silentLogger, partsMax: 2 },
    bytesMax: Number.MAX_SAFE_INTEGER,
  });
  await writeFile(join(first.path, "a.txt"), "too late\n");
  expect(await stale.keep(await createSnapshot(workspace, { isPortable: true }))).toBe(place);
  const request = { sessionId: session.id, dataDir: join(base, "c"), snapshotId: newest, store };
  const { path } = await rebuildWorkspace(request);
  expect(await readFile(join(path, "a.txt"), "utf8")).toBe("newest\n");
  await Promise.all([first.close(), second.close()]);
});

it("a repository without git to store it, and a session in place, stay on their host", async () => {
  const stores = await openStores("folder");
  const host = await openHost("a", stores);
  const source = await makeSource(true);
  tools.hasGit = false;
  const { session } = await startSession(source);
  const plain = await host.open(session, signal);
  expect(await plain.storeSnapshot?.(plain.base)).toBeNull();
  await plain.close();
  tools.hasGit = true;
  const inPlace = { ...session, id: randomUUID(), workspace: { ...session.workspace } };
  const request = { ...inPlace.workspace, mode: "in-place" as const };
  const direct = await host.open({ ...inPlace, workspace: request }, signal);
  expect(direct.storeSnapshot).toBeUndefined();
  await direct.close();
});

it("an attempt that is tried where the states cannot be read fails for now, not for good", async () => {
  const stores = await openStores("database");
  const host = await openHost("a", stores);
  const { session } = await startSession(await makeSource(true));
  for (const place of ["database", "folder:unknown"]) {
    await expect(
      host.open(after(session, "elsewhere", "0".repeat(40), place), signal),
    ).rejects.toMatchObject({ code: "snapshot_store_failed" });
  }
});

/** Commits a state; each id that the log gets has to be restorable elsewhere at that moment. */
async function commitInOrder(plant: (workspace: AttemptWorkspace) => AttemptWorkspace) {
  const stores = await openStores("folder");
  const [here, there] = [await openHost("a", stores), join(base, "c")];
  const { session } = await startSession(await makeSource(true));
  const workspace = plant(await here.open(session, signal));
  let count = 0;
  const lifecycle = {
    async commit(_: unknown, { snapshot }: OwnerCommit): Promise<number> {
      const store = stores.readable.find(({ name }) => name === snapshot?.store);
      if (snapshot === undefined || store === undefined) throw new Error("no state, or no place");
      const dataDir = join(there, String(count++));
      const request = { sessionId: session.id, dataDir, snapshotId: snapshot.id, store };
      const { path } = await rebuildWorkspace(request);
      expect(fingerprint(path)).toBe(fingerprint(workspace.path));
      return count;
    },
  };
  const access = { lifecycle, hold: new SessionHold(session), workspace };
  try {
    for (let at = 0; at < 2; at++) {
      await writeFile(join(workspace.path, "state"), `${at}`);
      await commitSnapshot(access, { id: await workspace.takeSnapshot(), calls: [] });
    }
  } finally {
    await workspace.close();
  }
  return count;
}

describe("the order of a commit", () => {
  it("is objects first, then the id: what the log names is whole elsewhere", async () => {
    expect(await commitInOrder((workspace) => workspace)).toBe(2);
  });

  it("would be caught the other way round", async () => {
    const held = new EventEmitter();
    const released = once(held, "release");
    const late: Promise<unknown>[] = [];
    const planted = commitInOrder((workspace) => ({
      ...workspace,
      async storeSnapshot(id) {
        late.push(released.then(() => workspace.storeSnapshot?.(id)));
        return (await openStores("folder")).target?.name ?? null;
      },
    }));
    await expect(planted).rejects.toMatchObject({ code: "workspace_gone" });
    held.emit("release");
    await Promise.all(late);
  });
});
