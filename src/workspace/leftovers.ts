import { randomUUID } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { keepReplaced } from "./kept.ts";
import { lookUpProcess, markProcess } from "./process-mark.ts";
import { removeFolder } from "./remove.ts";
import { exists, locateStore } from "./storage.ts";

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

/** Where a workspace goes whose place another one takes, until it is kept there. */
export function nameReplaced(workspaces: string, sessionId: string): string {
  return join(workspaces, `${REPLACED}${sessionId}.${randomUUID()}`);
}

const DRAFT = ".making-";
const DOOMED = ".removing-";
const REPLACED = ".replaced-";

/**
 * Removes what crashes have left of making and removing the workspace of a session. What a living
 * process makes is its own: false when something of that kind is left. `withReplaced`: also what
 * would be kept.
 */
export async function discardLeftovers(
  dataDir: string,
  sessionId: string,
  { withReplaced = false } = {},
): Promise<boolean> {
  const folder = join(dataDir, "workspaces");
  const names = await readdir(folder).catch(ignoreMissing); // nothing was ever prepared
  let isClear = true;
  for (const name of names ?? []) {
    // No id holds a dot: another session's id may begin with this one.
    if (name.startsWith(`${DOOMED}${sessionId}.`)) await removeFolder(join(folder, name));
    if (withReplaced && name.startsWith(`${REPLACED}${sessionId}.`)) {
      await removeFolder(join(folder, name));
    }
    if (!name.startsWith(`${DRAFT}${sessionId}.`)) continue;
    const mark = name.slice(`${DRAFT}${sessionId}.`.length, -UNIQUE_LENGTH);
    if (await isAbandoned(join(folder, name), mark)) await removeFolder(join(folder, name));
    else isClear = false;
  }
  return isClear;
}

/** Keeps what was replaced in what has taken its place; until something has, it stays. */
export async function keepLeftovers(dataDir: string, sessionId: string): Promise<void> {
  const folder = join(dataDir, "workspaces");
  const store = locateStore(dataDir, sessionId);
  if (!(await exists(store))) return;
  const names = (await readdir(folder)).filter((name) => {
    return name.startsWith(`${REPLACED}${sessionId}.`);
  });
  for (const path of names.map((name) => join(folder, name))) {
    try {
      await keepReplaced(store, path);
    } catch (error) {
      if (await exists(path)) throw error; // else another process has kept it
    }
  }
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
