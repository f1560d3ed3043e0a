import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runGit } from "./git.ts";
import { removeFolder } from "./remove.ts";
import { makePrivateFolder } from "./storage.ts";
import type { Workspace } from "./storage.ts";

const BINARY_PROBE_BYTES = 8_000;
const CODES_OF_CONFLICTS = Array.from({ length: 128 }, (_, count) => count);

/**
 * Merges two versions of a file with the one that both began with; null when they conflict, are no
 * text, or git is not installed.
 */
export async function mergeContent(
  workspace: Pick<Workspace, "store" | "snapshots">,
  base: Uint8Array,
  ours: Uint8Array,
  theirs: Uint8Array,
): Promise<Buffer | null> {
  if (Buffer.compare(base, theirs) === 0) return Buffer.from(ours);
  if (Buffer.compare(base, ours) === 0) return Buffer.from(theirs);
  const versions = { base, ours, theirs };
  const isText = Object.values(versions).every(
    (bytes) => !bytes.subarray(0, BINARY_PROBE_BYTES).includes(0),
  );
  if (workspace.snapshots === "plain" || !isText) return null;
  const folder = join(workspace.store, `.merging-${randomUUID()}`);
  await makePrivateFolder(folder);
  try {
    for (const [name, bytes] of Object.entries(versions))
      await writeFile(join(folder, name), bytes);
    const args = ["merge-file", "--stdout", "--quiet", "theirs", "base", "ours"];
    const { code, stdout } = await runGit({ args, cwd: folder, codes: CODES_OF_CONFLICTS });
    return code === 0 ? stdout : null;
  } finally {
    await removeFolder(folder);
  }
}
