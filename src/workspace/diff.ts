import { join } from "node:path";
import type { FileDiff, SnapshotId, WorkspaceDiff } from "../core/workspace.ts";
import { readGitFields, runGit } from "./git.ts";
import { nameTree } from "./git-snapshots.ts";
import { sumUp } from "./diff-summary.ts";
import type { DiffBounds } from "./diff-summary.ts";
import { diffPlainSnapshots } from "./plain-diff.ts";
import { createSnapshot, openSnapshots, requireSnapshot } from "./snapshot.ts";
import { STORED } from "./storage.ts";
import type { Workspace } from "./storage.ts";

/** Bounds of a diff. */
export interface DiffOptions {
  /** @default the state before the agent did anything */
  readonly from?: SnapshotId;
  /** @default the state now, of which a snapshot is taken */
  readonly to?: SnapshotId;
  /** Files beyond are counted, not listed. @default 2_000 */
  readonly filesMax?: number;
  /** Patch of one file. @default 262_144 (256 KiB) */
  readonly filePatchBytesMax?: number;
  /** Patch of all files together. @default 4_194_304 (4 MiB) */
  readonly patchBytesMax?: number;
}

/**
 * What changed between two snapshots, files in the order of their paths. Renames are found where
 * git is installed. `additions` and `deletions` count all lines, whatever the patch holds.
 * @throws {workspace_gone} when a snapshot is not here.
 */
export async function diffWorkspace(
  workspace: Workspace,
  options: DiffOptions = {},
): Promise<WorkspaceDiff> {
  const from = options.from ?? workspace.base;
  const to = options.to ?? (await createSnapshot(workspace));
  const snapshots = openSnapshots(workspace);
  await requireSnapshot(snapshots, from);
  await requireSnapshot(snapshots, to);
  const bounds: DiffBounds = {
    filesMax: options.filesMax ?? 2_000,
    filePatchBytesMax: options.filePatchBytesMax ?? 262_144,
    patchBytesMax: options.patchBytesMax ?? 4_194_304,
  };
  if (from === to) return { files: [], additions: 0, deletions: 0, patch: "", truncated: false };
  if (workspace.snapshots === "plain") return diffPlainSnapshots(snapshots, from, to, bounds);
  return diffGitSnapshots(workspace, from, to, bounds);
}

async function diffGitSnapshots(
  workspace: Workspace,
  from: SnapshotId,
  to: SnapshotId,
  bounds: DiffBounds,
): Promise<WorkspaceDiff> {
  const gitDir = join(workspace.store, STORED.shadow);
  const common = { cwd: workspace.store, gitDir };
  const options = ["-r", "-M", "--no-ext-diff", "--no-textconv", "--full-index"];
  const trees = [nameTree(from), nameTree(to)];
  const listArgs = ["diff-tree", ...options, "--raw", "--numstat", "-z", ...trees];
  const changes = parseChanges(await readGitFields({ ...common, args: listArgs }));
  const patchArgs = ["diff-tree", ...options, "-p", ...trees];
  const outputBytesMax = bounds.patchBytesMax;
  const answer = await runGit({ ...common, args: patchArgs, outputBytesMax });
  const patch = answer.stdout.toString("utf8");
  const parts = patch.split(/^(?=diff --git )/m);
  if (answer.truncated) parts.pop(); // cut in the middle
  const files = changes.slice(0, bounds.filesMax).map((change, at): FileDiff => {
    if (change.binary) return change;
    const part = parts[at];
    if (part === undefined || part.length > bounds.filePatchBytesMax) {
      return { ...change, truncated: true };
    }
    return { ...change, patch: part };
  });
  return sumUp(files, changes, parts.join(""), answer.truncated);
}

const ACTIONS: Readonly<Record<string, FileDiff["action"]>> = {
  A: "created",
  D: "deleted",
  R: "renamed",
};

/** Reads `--raw --numstat -z`: first all raw records, then, in the same order, all counts. */
function parseChanges(fields: readonly string[]): FileDiff[] {
  const raw: { action: FileDiff["action"]; path: string; oldPath?: string }[] = [];
  let at = 0;
  const take = (): string => fields[at++] ?? "";
  while (fields[at]?.startsWith(":") === true) {
    const letter = take().split(" ").at(-1)?.[0] ?? "M";
    const first = take();
    const action = ACTIONS[letter] ?? "modified";
    raw.push(letter === "R" ? { action, path: take(), oldPath: first } : { action, path: first });
  }
  return raw.map((change) => {
    const [added = "-", deleted = "-", name = ""] = take().split("\t");
    if (name === "") at += 2; // of a rename both names follow
    const binary = added === "-";
    const additions = binary ? 0 : Number(added);
    return { ...change, additions, deletions: binary ? 0 : Number(deleted), binary };
  });
}
