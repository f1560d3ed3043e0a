import type { SnapshotId } from "../core/workspace.ts";
import { restoreAgentRepository } from "./agent-repository.ts";
import { openKeptPlace, openWay } from "./kept.ts";
import { inTurn, openSnapshots, requireSnapshot } from "./snapshot.ts";
import type { Workspace } from "./storage.ts";
import { removeTreeEntry, writeTreeEntry } from "./tree-entry.ts";

/** What a restore changed. */
export interface RestoreResult {
  readonly written: readonly string[];
  readonly removed: readonly string[];
  /** The state before the restore, so that it can be undone. */
  readonly undo: SnapshotId;
  /** Where it put what stood in its way and is in no snapshot; null when there was no such thing. */
  readonly kept: string | null;
}

/**
 * Brings a workspace back to a snapshot: its files, and HEAD, refs and index of the agent's own
 * repository. The state before is stored first. What is in no snapshot (ignored files, empty
 * directories) stays as it is, or is moved aside where something of the snapshot has to stand.
 * Follows no link. Safe to run again after a crash in the middle.
 * @throws {workspace_gone} when there is no such snapshot here.
 */
export function restoreSnapshot(workspace: Workspace, id: SnapshotId): Promise<RestoreResult> {
  return inTurn(workspace, async () => {
    const snapshots = openSnapshots(workspace);
    await requireSnapshot(snapshots, id);
    const undo = await snapshots.create();
    const wanted = await snapshots.listEntries(id);
    const present = await snapshots.listEntries(undo);
    const removed = [...present.keys()].filter((path) => !wanted.has(path));
    // First what has to go: a link in the place of a directory must not be written through.
    for (const path of removed) await removeTreeEntry(workspace.path, path);
    const kept = openKeptPlace(workspace.store);
    const makeWay = openWay(workspace.path, kept, (path) => present.has(path));
    const written: string[] = [];
    for (const [path, { kind, hash }] of wanted) {
      const now = present.get(path);
      if (now?.kind === kind && now.hash === hash) continue;
      const bytes = await snapshots.readContent(hash);
      await makeWay(path);
      await writeTreeEntry(workspace.path, path, { kind, bytes });
      written.push(path);
    }
    await snapshots.track(written.filter((path) => !present.has(path)));
    const repository = await snapshots.readRepository(id);
    if (repository !== null) await restoreAgentRepository(workspace.path, repository, kept);
    return { written, removed, undo, kept: await kept.locate() };
  });
}
