import { randomUUID } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { lookUpProcess, markProcess } from "./process-mark.ts";
import { removeFolder } from "./remove.ts";

/** Longer than a preparation takes: older than this nobody works on it, whoever made it. */
const DRAFT_AGE_MS_MAX = 3_600_000;
const UNIQUE_LENGTH = ".".length + 36;

/** Where a process of ours makes a workspace before it gets its place. */
export async function nameDraft(workspaces: string, sessionId: string): Promise<string> {
  return join(workspaces, `${DRAFT}${sessionId}.${await markProcess()}.${randomUUID()}`);
}

/** Where a workspace goes that nobody wants any more, until its last file is removed. */
export function nameDoomed(workspaces: string, sessionId: string): string {
  return join(workspaces, `${DOOMED}${sessionId}.${randomUUID()}`);
}

const DRAFT = ".making-";
const DOOMED = ".removing-";

/**
 * Removes what crashes have left of making and removing the workspace of a session. What a living
 * process makes is its own: false when something of that kind is left.
 */
export async function discardLeftovers(dataDir: string, sessionId: string): Promise<boolean> {
  const folder = join(dataDir, "workspaces");
  const names = await readdir(folder).catch(ignoreMissing); // nothing was ever prepared
  let isClear = true;
  for (const name of names ?? []) {
    // No id holds a dot: another session's id may begin with this one.
    if (name.startsWith(`${DOOMED}${sessionId}.`)) await removeFolder(join(folder, name));
    if (!name.startsWith(`${DRAFT}${sessionId}.`)) continue;
    const mark = name.slice(`${DRAFT}${sessionId}.`.length, -UNIQUE_LENGTH);
    if (await isAbandoned(join(folder, name), mark)) await removeFolder(join(folder, name));
    else isClear = false;
  }
  return isClear;
}

async function isAbandoned(path: string, mark: string): Promise<boolean> {
  const maker = await lookUpProcess(mark);
  if (maker !== "unknown") return maker === "gone";
  const found = await stat(path).catch(ignoreMissing);
  return found === null || found.mtimeMs < Date.now() - DRAFT_AGE_MS_MAX;
}

function ignoreMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
  throw error;
}
