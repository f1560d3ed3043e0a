import { join } from "node:path";
import type { SnapshotId } from "../core/workspace.ts";
import { GitFailure, readGitFields, runGit } from "./git.ts";
import { HOME_ENTRY, listMemory } from "./home-tree.ts";
import { openKeptPlace, openWay } from "./kept.ts";
import { inTurn, type SnapshotPlace } from "./snapshot.ts";
import { STORED } from "./storage.ts";
import { holdsEntry, writeTreeEntry } from "./tree-entry.ts";

/**
 * Brings a home back to what a snapshot holds of it, while nothing of the agent runs. What has
 * changed since is moved aside; what is no memory stays. False when the snapshot holds no home.
 */
export function restoreHome(place: SnapshotPlace, id: SnapshotId): Promise<boolean> {
  return inTurn(place, async () => {
    const home = join(place.store, STORED.home);
    const gitDir = join(place.store, STORED.shadow);
    const list = ["ls-tree", "-r", "-z", "--end-of-options", `${id}:${HOME_ENTRY}`];
    const fields = await readGitFields({ args: list, cwd: place.store, gitDir }).catch(
      (error: unknown) => {
        if (error instanceof GitFailure) return null; // no such snapshot here, or none of a home
        throw error;
      },
    );
    if (fields === null) return false;
    const wanted = new Map(fields.map(parseEntry));
    const present = (await listMemory(home))?.paths ?? [];
    // What changed since that snapshot is in none: it is moved aside, not written over.
    const kept = openKeptPlace(place.store);
    const makeWay = openWay(home, kept, () => false);
    for (const path of present) if (!wanted.has(path)) await kept.keep(home, path);
    for (const [path, { mode, hash }] of wanted) {
      const args = ["cat-file", "blob", hash];
      const { stdout: bytes } = await runGit({ args, cwd: place.store, gitDir });
      const kind = mode === "120000" ? "link" : mode === "100755" ? "executable" : "file";
      if (await holdsEntry(home, path, { kind, bytes })) continue;
      await makeWay(path);
      await writeTreeEntry(home, path, { kind, bytes });
    }
    return true;
  });
}

function parseEntry(field: string): [string, { readonly mode: string; readonly hash: string }] {
  const tab = field.indexOf("\t");
  const [mode = "", , hash = ""] = field.slice(0, tab).split(" ");
  return [field.slice(tab + 1), { mode, hash }];
}
