import { StintError } from "../core/error.ts";
import type { SnapshotId } from "../core/workspace.ts";
import { createGitSnapshots } from "./git-snapshots.ts";
import { createPlainSnapshots } from "./plain-snapshots.ts";
import type { Workspace } from "./storage.ts";
import { exists } from "./storage.ts";

/** One file of a snapshot. */
export interface SnapshotEntry {
  readonly kind: "file" | "executable" | "link";
  /** Equal for equal content. */
  readonly hash: string;
}

/** The stored states of one workspace. */
export interface Snapshots {
  /**
   * Stores the state as it is. The id is returned only when all of it is durable. `isPortable`: with
   * all that another host needs, the whole of the agent's own repository among it. @default false
   */
  create(options?: { readonly isPortable?: boolean }): Promise<SnapshotId>;
  /** Whether another host could make the workspace anew from this snapshot alone. */
  isPortable(id: SnapshotId): Promise<boolean>;
  /**
   * Lets files that were brought back be part of the snapshots after this one, also where something
   * says that they are to be ignored, as what a repository tracks may be.
   */
  track(paths: readonly string[]): Promise<void>;
  /** The last one that was made here; null where that is not known. */
  readLast(): Promise<SnapshotId | null>;
  /** Whether this is a snapshot of this workspace. */
  has(id: SnapshotId): Promise<boolean>;
  /** All files of a snapshot by path. */
  listEntries(id: SnapshotId): Promise<Map<string, SnapshotEntry>>;
  /** The content behind a hash. */
  readContent(hash: string): Promise<Buffer>;
  /** State of the agent's own repository that belongs to a snapshot; null where it has none. */
  readRepository(id: SnapshotId): Promise<Buffer | null>;
}

/** Where snapshots are taken from and kept. */
export type SnapshotPlace = Pick<Workspace, "path" | "store" | "snapshots">;

/** Opens the snapshots of a workspace. */
export function openSnapshots(workspace: SnapshotPlace): Snapshots {
  return workspace.snapshots === "git"
    ? createGitSnapshots(workspace)
    : createPlainSnapshots(workspace);
}

const queues = new Map<string, Promise<unknown>>();

/** Lets one after another work on the stored states of a workspace. */
export async function inTurn<T>(
  place: Pick<SnapshotPlace, "store">,
  work: () => Promise<T>,
): Promise<T> {
  const before = queues.get(place.store) ?? Promise.resolve();
  const turn = before.then(work, work);
  const settled = turn.catch(() => undefined); // the caller has the error; the next one does not
  queues.set(place.store, settled);
  try {
    return await turn;
  } finally {
    if (queues.get(place.store) === settled) queues.delete(place.store);
  }
}

/**
 * Stores the state of a workspace. Objects are durable before the id exists; an unchanged state
 * gives the id of the last snapshot again. Ignored files, empty directories and times are not part
 * of it. The agent's own repository is not modified; its HEAD, refs and index belong to the
 * snapshot. Calls for one workspace run one after another.
 * @throws {workspace_gone} when the files are no longer there.
 */
export async function createSnapshot(
  workspace: Workspace,
  options: { readonly isPortable?: boolean } = {},
): Promise<SnapshotId> {
  if (!(await exists(workspace.path))) {
    throw new StintError("workspace_gone", `the workspace ${workspace.path} is gone`);
  }
  return inTurn(workspace, () => openSnapshots(workspace).create(options));
}

/**
 * Reads one file as a snapshot holds it; null when it holds none at that path.
 * @throws {workspace_gone} when there is no such snapshot here.
 */
export async function readSnapshotFile(
  workspace: Workspace,
  id: SnapshotId,
  path: string,
): Promise<Buffer | null> {
  const snapshots = openSnapshots(workspace);
  await requireSnapshot(snapshots, id);
  const entry = (await snapshots.listEntries(id)).get(path);
  return entry === undefined ? null : snapshots.readContent(entry.hash);
}

/** The paths of a snapshot, sorted. */
export async function listSnapshotFiles(
  workspace: Workspace,
  id: SnapshotId,
): Promise<readonly string[]> {
  const snapshots = openSnapshots(workspace);
  await requireSnapshot(snapshots, id);
  return [...(await snapshots.listEntries(id)).keys()].sort();
}

/** @throws {workspace_gone} when there is no such snapshot here. */
export async function requireSnapshot(snapshots: Snapshots, id: SnapshotId): Promise<void> {
  if (await snapshots.has(id)) return;
  throw new StintError("workspace_gone", `there is no snapshot ${id} of this workspace`, {
    fields: { snapshot: id },
  });
}
