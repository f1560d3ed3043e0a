import type { ApplyResult, SnapshotId } from "../core/workspace.ts";
import { StintError } from "../core/error.ts";
import { mergeContent } from "./merge.ts";
import { createSnapshot, openSnapshots } from "./snapshot.ts";
import type { SnapshotEntry, Snapshots } from "./snapshot.ts";
import { resolveRealPath } from "./source.ts";
import type { Workspace } from "./storage.ts";
import { readTreeEntry, removeTreeEntry, writeTreeEntry } from "./tree-entry.ts";
import type { TreeEntry } from "./tree-entry.ts";

/** What to bring back, and where to. */
export interface ApplyOptions {
  /** A directory. @default the source of the workspace */
  readonly target?: string;
  /** @default the state now, of which a snapshot is taken */
  readonly to?: SnapshotId;
}

/** One file to change in the target. */
interface Change {
  readonly path: string;
  /** As the target has it now; null when it has none. */
  readonly now: TreeEntry | null;
  /** As it is to be; null when it has to go. */
  readonly next: TreeEntry | null;
}

const FILE_BYTES_MAX = 1_073_741_824;

/**
 * Brings the changes of a session to its source: for each file three ways, between the state that
 * the session began with, its state now, and the source as it stands, uncommitted work included.
 * Either all is applied or, where there are conflicts, nothing; an error in the middle is undone.
 * After a crash in the middle the same call finishes the work. Only files are changed, neither
 * index nor history of the source; nothing is written through a link or into a `.git`.
 * Where git is not installed, a file that both sides changed is a conflict.
 * @throws {workspace_invalid} when there is no directory to apply to.
 * @throws {workspace_gone} when the files of the session are no longer there.
 */
export async function applyToSource(
  workspace: Workspace,
  options: ApplyOptions = {},
): Promise<ApplyResult> {
  const target = await resolveTarget(workspace, options.target);
  if (target === workspace.path) return { applied: [], conflicts: [] };
  const to = options.to ?? (await createSnapshot(workspace));
  const snapshots = openSnapshots(workspace);
  const before = await snapshots.listEntries(workspace.base);
  const after = await snapshots.listEntries(to);
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort();
  const changes: Change[] = [];
  const conflicts: string[] = [];
  for (const path of paths) {
    const [base, ours] = [before.get(path), after.get(path)];
    if (base?.hash === ours?.hash && base?.kind === ours?.kind) continue;
    const change = await planChange({ workspace, snapshots, target, path, base, ours });
    if (change === "conflict") conflicts.push(path.toWellFormed());
    else if (change !== null) changes.push(change);
  }
  if (conflicts.length > 0) return { applied: [], conflicts };
  await carryOut(target, changes);
  return { applied: changes.map(({ path }) => path.toWellFormed()), conflicts: [] };
}

async function resolveTarget(workspace: Workspace, target: string | undefined): Promise<string> {
  if (target !== undefined) return resolveRealPath(target);
  if (workspace.isLocalSource && workspace.source !== null) {
    return resolveRealPath(workspace.source);
  }
  throw new StintError("workspace_invalid", "this workspace came from no directory of this host", {
    remedy: "Name the directory to apply the changes to.",
  });
}

interface PlanInput {
  readonly workspace: Workspace;
  readonly snapshots: Snapshots;
  readonly target: string;
  readonly path: string;
  readonly base: SnapshotEntry | undefined;
  readonly ours: SnapshotEntry | undefined;
}

/** What to do with one file; null when the target has the change already. */
async function planChange(input: PlanInput): Promise<Change | "conflict" | null> {
  const { workspace, snapshots, target, path } = input;
  if (!isSafePath(path)) return "conflict";
  const [base, ours] = [await load(snapshots, input.base), await load(snapshots, input.ours)];
  let now: TreeEntry | null;
  try {
    now = await readTreeEntry(target, path, FILE_BYTES_MAX);
  } catch (error) {
    if (error instanceof StintError) return "conflict"; // a directory, or a link on the way
    throw error;
  }
  if (isSame(now, ours)) return null;
  if (isSame(now, base)) return { path, now, next: ours };
  if (now === null || base === null || ours === null) return "conflict";
  const next = await mergeEntries(workspace, base, ours, now);
  return next === null ? "conflict" : isSame(now, next) ? null : { path, now, next };
}

async function load(
  snapshots: Snapshots,
  entry: SnapshotEntry | undefined,
): Promise<TreeEntry | null> {
  if (entry === undefined) return null;
  return { kind: entry.kind, bytes: await snapshots.readContent(entry.hash) };
}

function isSame(a: TreeEntry | null, b: TreeEntry | null): boolean {
  if (a === null || b === null) return a === b;
  return a.kind === b.kind && Buffer.compare(a.bytes, b.bytes) === 0;
}

/**
 * Names that are harmless in a snapshot and not elsewhere: `.git` in every spelling that some file
 * system takes for it.
 */
function isSafePath(path: string): boolean {
  if (path.includes("\\")) return false;
  return path.split("/").every((part) => {
    const plain = part
      .normalize("NFKC")
      .replace(/\p{Cf}/gu, "")
      .replace(/[. ]+$/, "")
      .toLowerCase();
    return plain !== ".git" && plain !== "git~1" && !plain.startsWith(".git:") && part !== "..";
  });
}

async function mergeEntries(
  workspace: Workspace,
  base: TreeEntry,
  ours: TreeEntry,
  theirs: TreeEntry,
): Promise<TreeEntry | null> {
  if ([base, ours, theirs].some(({ kind }) => kind === "link")) return null;
  const kind = ours.kind === base.kind ? theirs.kind : ours.kind;
  const bytes = await mergeContent(workspace, base.bytes, ours.bytes, theirs.bytes);
  return bytes === null ? null : { kind, bytes };
}

/** Changes file after file, each by a rename; puts all back when one of them fails. */
async function carryOut(target: string, changes: readonly Change[]): Promise<void> {
  const done: Change[] = [];
  // What has to go first: a file may make room for a directory of its name.
  const ordered = [...changes].sort((a, b) => Number(a.next !== null) - Number(b.next !== null));
  try {
    for (const change of ordered) {
      const { path, now } = change;
      if (!isSame(await readTreeEntry(target, path, FILE_BYTES_MAX), now)) {
        throw new StintError("workspace_conflict", `${path} changed while it was applied`, {
          fields: { path },
        });
      }
      done.push(change);
      await put(target, path, change.next);
    }
  } catch (error) {
    for (const { path, now } of done.reverse()) await put(target, path, now);
    throw error;
  }
}

function put(target: string, path: string, entry: TreeEntry | null): Promise<void> {
  return entry === null ? removeTreeEntry(target, path) : writeTreeEntry(target, path, entry);
}
