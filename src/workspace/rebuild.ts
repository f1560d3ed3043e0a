import { mkdir, readdir, realpath, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { StintError } from "../core/error.ts";
import type { SnapshotPart, SnapshotStore } from "../core/snapshot-store.ts";
import type { SnapshotId } from "../core/workspace.ts";
import { checkOutSnapshot, initShadow } from "./git-snapshots.ts";
import { discardLeftovers, keepLeftovers, nameDraft, nameReplaced } from "./leftovers.ts";
import { explainFull, makeHome, openWorkspace, type WorkspaceKey } from "./prepare.ts";
import { restoreHome } from "./home-restore.ts";
import { removeFolder } from "./remove.ts";
import { inTurn, openSnapshots } from "./snapshot.ts";
import { importParts, type WorkspaceAbout } from "./snapshot-parts.ts";
import {
  STORED,
  exists,
  locateSession,
  locateStore,
  makePrivateFolder,
  publishFolder,
  syncTree,
  writeManifest,
} from "./storage.ts";
import type { Workspace } from "./storage.ts";
import { writeTreeEntry } from "./tree-entry.ts";

/** Which state to make anew, and from where. */
export interface RebuildOptions {
  readonly sessionId: string;
  readonly dataDir: string;
  readonly snapshotId: SnapshotId;
  readonly store: Pick<SnapshotStore, "name" | "listParts" | "readPart">;
}

const MIRRORS = "mirrors";
const MIRRORS_MAX = 16;

/**
 * Makes the workspace of a session that was last worked on elsewhere, as a stored state has it, in
 * the place of whatever an earlier attempt has left here, which is kept. It is made beside and
 * renamed, so that after a crash in the middle the same call makes it again. Ignored files are in no
 * state.
 * @throws {workspace_gone} when the state is not whole where it is stored.
 */
export async function rebuildWorkspace(options: RebuildOptions): Promise<Workspace> {
  const { sessionId } = options;
  locateStore(options.dataDir, sessionId);
  await makePrivateFolder(join(options.dataDir, "workspaces"));
  const dataDir = await realpath(options.dataDir);
  await discardLeftovers(dataDir, sessionId);
  await keepLeftovers(dataDir, sessionId);
  const folder = join(dataDir, "workspaces");
  const making = await nameDraft(folder, sessionId);
  await makePrivateFolder(making);
  try {
    await makeHome(join(making, STORED.home));
    const path = join(making, STORED.tree);
    await mkdir(path, { mode: 0o700 });
    const made = await fillStore(options, making, path);
    await writeFiles(made, options.snapshotId);
    await writeManifest(making, made);
    await syncTree(making);
    const store = locateStore(dataDir, sessionId);
    if (await exists(store)) await rename(store, nameReplaced(folder, sessionId));
    await publishFolder(making, store);
  } catch (error) {
    await removeFolder(making);
    throw explainFull(error);
  }
  await keepLeftovers(dataDir, sessionId);
  return openWorkspace({ sessionId, dataDir });
}

/** Brings all parts to a new folder. The workspace is not in its place yet. */
async function fillStore(
  { sessionId, snapshotId, store }: RebuildOptions,
  folder: string,
  path: string,
): Promise<Workspace> {
  const parts = await store.listParts(sessionId);
  const about = readAbout(parts, snapshotId, store.name);
  const place = { path, store: folder, snapshots: about.snapshots } as const;
  if (place.snapshots === "git" && !(await exists(join(folder, STORED.shadow)))) {
    await initShadow(place, { isGit: about.isGit, forced: [] });
  }
  await importParts(place, sessionId, store, parts);
  if (!(await openSnapshots(place).has(snapshotId))) throw missing(snapshotId, store.name);
  return { ...about, ...place, sessionId, mode: "copy", home: join(folder, STORED.home) };
}

function readAbout(
  parts: readonly SnapshotPart[],
  snapshotId: SnapshotId,
  place: string,
): WorkspaceAbout {
  const part = parts.find((one) => one.snapshotId === snapshotId) ?? parts.at(-1);
  if (part === undefined) throw missing(snapshotId, place);
  return part.about as unknown as WorkspaceAbout;
}

function missing(snapshotId: SnapshotId, place: string): StintError {
  const fields = { snapshot: snapshotId };
  return new StintError("workspace_gone", `${place} does not hold the snapshot ${snapshotId}`, {
    fields,
  });
}

async function writeFiles(workspace: Workspace, id: SnapshotId): Promise<void> {
  if (workspace.snapshots === "git") {
    await checkOutSnapshot(workspace, id);
    await restoreHome(workspace, id);
    return;
  }
  const snapshots = openSnapshots(workspace);
  for (const [path, { kind, hash }] of await snapshots.listEntries(id)) {
    const bytes = await snapshots.readContent(hash);
    await writeTreeEntry(workspace.path, path, { kind, bytes });
  }
}

/**
 * Brings the stored states of a session here to be looked at, without its files: to compare them, or
 * to apply them. What was brought before is not brought again; only the last few sessions are kept.
 * @throws {workspace_gone} when the state is not where it is said to be.
 */
export async function mirrorWorkspace(options: RebuildOptions): Promise<Workspace> {
  const mirrors = join(await realpath(options.dataDir), MIRRORS);
  const folder = locateSession(mirrors, options.sessionId);
  await makePrivateFolder(folder);
  await discardOldMirrors(mirrors, options.sessionId);
  return inTurn({ store: folder }, () => fillStore(options, folder, folder));
}

/** Names of the mirrors that lie here. */
export async function listMirrors(dataDir: string): Promise<string[]> {
  try {
    return await readdir(join(dataDir, MIRRORS));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []; // none was ever made
    throw error;
  }
}

/** Removes what was brought here of a session to be looked at. Harmless when there is nothing. */
export async function removeMirror({ sessionId, dataDir }: WorkspaceKey): Promise<void> {
  const folder = locateSession(join(await realpath(dataDir), MIRRORS), sessionId);
  await inTurn({ store: folder }, () => removeFolder(folder));
}

async function discardOldMirrors(mirrors: string, keep: string): Promise<void> {
  const names = (await readdir(mirrors)).filter((name) => name !== keep);
  if (names.length < MIRRORS_MAX) return;
  const found = names.map(async (name) => {
    const entry = await stat(join(mirrors, name)).catch(() => null); // removed by another process
    return { name, at: entry?.mtimeMs ?? 0 };
  });
  const byAge = (await Promise.all(found)).sort((a, b) => a.at - b.at);
  for (const { name } of byAge.slice(0, names.length - MIRRORS_MAX + 1)) {
    await removeFolder(join(mirrors, name));
  }
}
