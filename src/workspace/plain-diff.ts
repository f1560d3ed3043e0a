import type { FileDiff, SnapshotId, WorkspaceDiff } from "../core/workspace.ts";
import { decodeOutput } from "../core/json.ts";
import { sumUp } from "./diff-summary.ts";
import type { DiffBounds } from "./diff-summary.ts";
import { encodePath } from "./path-bytes.ts";
import type { SnapshotEntry, Snapshots } from "./snapshot.ts";
import { diffText } from "./unified-diff.ts";

const MODES = { file: "100644", executable: "100755", link: "120000" } as const;
const BINARY_PROBE_BYTES = 8_000;
/** Longer files are compared as a whole only. */
const TEXT_BYTES_MAX = 4_194_304;

/** Compares two snapshots that were made without git, in git's format. */
export async function diffPlainSnapshots(
  snapshots: Snapshots,
  from: SnapshotId,
  to: SnapshotId,
  bounds: DiffBounds,
): Promise<WorkspaceDiff> {
  const before = await snapshots.listEntries(from);
  const after = await snapshots.listEntries(to);
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort();
  const all: FileDiff[] = [];
  const shown: FileDiff[] = [];
  let patch = "";
  let isCut = false;
  for (const path of paths) {
    const [old, now] = [before.get(path), after.get(path)];
    if (old?.hash === now?.hash && old?.kind === now?.kind) continue;
    const file = await diffEntry(snapshots, path, old, now);
    all.push(file);
    if (shown.length >= bounds.filesMax) continue;
    const size = file.patch?.length ?? 0;
    const isTooLong = size > bounds.filePatchBytesMax || patch.length + size > bounds.patchBytesMax;
    if (patch.length + size > bounds.patchBytesMax) isCut = true;
    else patch += file.patch ?? "";
    const { patch: _, ...bare } = file;
    shown.push(isTooLong ? { ...bare, truncated: true } : file);
  }
  return sumUp(shown, all, patch, isCut);
}

async function diffEntry(
  snapshots: Snapshots,
  path: string,
  old: SnapshotEntry | undefined,
  now: SnapshotEntry | undefined,
): Promise<FileDiff> {
  const action = old === undefined ? "created" : now === undefined ? "deleted" : "modified";
  const shown = path.toWellFormed();
  const name = { path: shown, ...decodeOutput("path", encodePath(path)) };
  const empty = Buffer.alloc(0);
  const before = old === undefined ? empty : await snapshots.readContent(old.hash);
  const after = now === undefined ? empty : await snapshots.readContent(now.hash);
  if (isBinary(before) || isBinary(after)) {
    return { ...name, action, additions: 0, deletions: 0, binary: true };
  }
  const { hunks, additions, deletions } = diffText(before.toString("utf8"), after.toString("utf8"));
  const patch =
    formatHead(shown, old, now) + (hunks === "" ? "" : formatNames(shown, old, now)) + hunks;
  return { ...name, action, additions, deletions, binary: false, patch };
}

function isBinary(bytes: Buffer): boolean {
  return bytes.length > TEXT_BYTES_MAX || bytes.subarray(0, BINARY_PROBE_BYTES).includes(0);
}

function formatHead(
  path: string,
  old: SnapshotEntry | undefined,
  now: SnapshotEntry | undefined,
): string {
  const head = `diff --git a/${path} b/${path}\n`;
  if (old === undefined) return `${head}new file mode ${MODES[now?.kind ?? "file"]}\n`;
  if (now === undefined) return `${head}deleted file mode ${MODES[old.kind]}\n`;
  if (old.kind === now.kind) return head;
  return `${head}old mode ${MODES[old.kind]}\nnew mode ${MODES[now.kind]}\n`;
}

function formatNames(
  path: string,
  old: SnapshotEntry | undefined,
  now: SnapshotEntry | undefined,
): string {
  const before = old === undefined ? "/dev/null" : `a/${path}`;
  const after = now === undefined ? "/dev/null" : `b/${path}`;
  return `--- ${before}\n+++ ${after}\n`;
}
