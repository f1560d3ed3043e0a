import { mkdir, realpath, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StintError } from "../core/error.ts";
import type { WorkspaceRequest } from "../core/workspace.ts";
import { cloneRepository, cloneUrl } from "./clone.ts";
import type { CloneResult } from "./clone.ts";
import { openCopier } from "./copy.ts";
import { findGit } from "./git.ts";
import { createGitSnapshots, initShadow, unlockShadow } from "./git-snapshots.ts";
import { discardLeftovers, keepLeftovers, nameDoomed, nameDraft } from "./leftovers.ts";
import { createPlainSnapshots } from "./plain-snapshots.ts";
import { removeFolder } from "./remove.ts";
import { isInside, listWorkTree, resolveSource, stripCredentials } from "./source.ts";
import type { WorkspaceSource } from "./source.ts";
import {
  STORED,
  exists,
  locateStore,
  makePrivateFolder,
  publishFolder,
  readManifest,
  syncTree,
  writeManifest,
} from "./storage.ts";
import type { Workspace } from "./storage.ts";

/** What to prepare. */
export interface PrepareOptions {
  readonly sessionId: string;
  readonly request: WorkspaceRequest;
  /** Folder of all data of this Stint. */
  readonly dataDir: string;
  /** Ignored files (node_modules and the like) come along up to this size. */
  readonly ignoredBytesMax: number;
  /** The first state is stored so that another host could go on from it. @default false */
  readonly isPortable?: boolean;
  /** Real paths, or links to them, under which a source must lie. @default anywhere */
  readonly allowedRoots?: readonly string[];
}

/** Which workspace. */
export interface WorkspaceKey {
  readonly sessionId: string;
  readonly dataDir: string;
}

const CONFIG_FILE = "git.config";
/** The source may belong to another user; what git must not do there is switched off anyway. */
const TRUST = "[safe]\n\tdirectory = *\n";

/**
 * Makes the workspace of a session, or finds the one that is there: a second call, also after a
 * crash in the middle of the first, gives the same workspace and the same base. A copy is made
 * beside, flushed, and renamed to its place; a half-made one is thrown away. Of
 * two processes at once both get what the first has made. The source is only
 * read.
 * @throws {workspace_missing} {workspace_invalid} {workspace_outside_roots} for the source.
 * @throws {workspace_clone_failed} with what git said.
 * @throws {workspace_gone} when the files of a prepared workspace were removed.
 * @throws {git_missing} when a URL is asked for and git is not installed.
 */
export async function prepareWorkspace(options: PrepareOptions): Promise<Workspace> {
  const { sessionId, request } = options;
  locateStore(options.dataDir, sessionId);
  await makePrivateFolder(join(options.dataDir, "workspaces"));
  const dataDir = await realpath(options.dataDir);
  const store = locateStore(dataDir, sessionId);
  await discardLeftovers(dataDir, sessionId);
  await keepLeftovers(dataDir, sessionId);
  const ready = await readManifest(store);
  if (ready !== null) return reuse(ready);

  const source = await resolveSource(request, options.allowedRoots);
  if (request.mode === "in-place") requireApart(source, dataDir);
  const making = await nameDraft(join(dataDir, "workspaces"), sessionId);
  await makePrivateFolder(making);
  try {
    const made = await makeWorkspace({ ...options, dataDir }, source, making);
    await writeManifest(making, made);
    await syncTree(making);
    await publishUnlessTaken(making, store);
  } catch (error) {
    await removeFolder(making);
    throw explainFull(error);
  }
  return openWorkspace({ sessionId, dataDir });
}

/** Of several processes that make the same workspace, the first one's stays. */
async function publishUnlessTaken(making: string, store: string): Promise<void> {
  try {
    await publishFolder(making, store);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    if ((await readManifest(store)) === null) throw error;
    await removeFolder(making);
  }
}

/**
 * Opens a workspace that was prepared before.
 * @throws {workspace_gone} when this host holds none for the session.
 */
export async function openWorkspace({ sessionId, dataDir }: WorkspaceKey): Promise<Workspace> {
  const found = await readManifest(locateStore(dataDir, sessionId));
  if (found !== null) return found;
  throw new StintError("workspace_gone", `there is no workspace of session ${sessionId} here`, {
    fields: { sessionId },
  });
}

/**
 * Removes a copy with all that belongs to it; of a workspace in place only what Stint keeps, never
 * the directory itself. Harmless when there is none. False when a living process still makes one.
 */
export async function removeWorkspace({ sessionId, dataDir }: WorkspaceKey): Promise<boolean> {
  const store = locateStore(dataDir, sessionId);
  try {
    await rename(store, nameDoomed(join(dataDir, "workspaces"), sessionId));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return discardLeftovers(dataDir, sessionId, { withReplaced: true });
}

async function reuse(workspace: Workspace): Promise<Workspace> {
  if (!(await exists(workspace.path))) {
    throw new StintError("workspace_gone", `the workspace ${workspace.path} was removed`);
  }
  if (workspace.snapshots === "git") await unlockShadow(workspace);
  return workspace;
}

function requireApart(source: WorkspaceSource, dataDir: string): void {
  const path = "path" in source ? source.path : "";
  if (!isInside(dataDir, path) && !isInside(path, dataDir)) return;
  throw new StintError(
    "workspace_invalid",
    `${path} and the data folder ${dataDir} lie inside each other; in-place would mix them`,
    { remedy: "Work in a copy, or put STINT_DATA elsewhere.", fields: { path, dataDir } },
  );
}

async function makeWorkspace(
  options: PrepareOptions,
  source: WorkspaceSource,
  making: string,
): Promise<Workspace> {
  const { sessionId, request } = options;
  const isInPlace = request.mode === "in-place" && "path" in source;
  const path = isInPlace ? source.path : join(making, STORED.tree);
  const configFile = join(making, CONFIG_FILE);
  await writeFile(configFile, TRUST);
  await makeHome(join(making, STORED.home));
  const { forced, omitted } = isInPlace
    ? { forced: await listForced(source, configFile), omitted: [] }
    : await makeCopy(options, source, path, configFile);
  const isGit = source.kind === "repository" || source.kind === "url";
  const snapshots = (await findGit()) === null ? "plain" : "git";
  const place = { path, store: making, snapshots } as const;
  if (snapshots === "git") await initShadow(place, { isGit, forced });
  // Not flushed object by object: all of it is flushed at once before it gets its name.
  const base = await (
    snapshots === "git" ? createGitSnapshots(place, false) : createPlainSnapshots(place)
  ).create({ isPortable: options.isPortable ?? false });
  return {
    sessionId,
    mode: request.mode,
    path,
    home: join(making, STORED.home),
    store: making,
    base,
    isGit,
    snapshots,
    source: "path" in source ? source.path : "url" in source ? stripCredentials(source.url) : null,
    isLocalSource: "path" in source,
    omitted,
  };
}

async function makeCopy(
  options: PrepareOptions,
  source: WorkspaceSource,
  tree: string,
  configFile: string,
): Promise<CloneResult> {
  const ref = options.request.ref === undefined ? {} : { ref: options.request.ref };
  switch (source.kind) {
    case "empty":
      await mkdir(tree, { mode: 0o700 });
      return { forced: [], omitted: [] };
    case "url":
      return cloneUrl({ source: source.url, tree, configFile, ...ref });
    case "repository":
      return cloneRepository({
        ...{ source: source.path, tree, configFile, isBare: source.isBare, ...ref },
        ignoredBytesMax: options.ignoredBytesMax,
        except: listOwnFolders(source.path, options.dataDir),
      });
    case "directory": {
      if (options.request.ref !== undefined) {
        const why = (await findGit()) === null ? "git is not installed" : "it is no repository";
        throw new StintError("workspace_invalid", `${source.path} has no refs: ${why}`);
      }
      const except = listOwnFolders(source.path, options.dataDir);
      const copier = openCopier({ from: source.path, to: tree, except });
      await copier.copyEntry(".");
      return { forced: [], omitted: copier.result().omitted };
    }
  }
}

/** Our own data is never copied, unless the source itself lies in it: a fork of a session. */
function listOwnFolders(source: string, dataDir: string): string[] {
  return isInside(dataDir, source) ? [dataDir] : [];
}

async function listForced(source: WorkspaceSource, configFile: string): Promise<readonly string[]> {
  if (source.kind !== "repository" || source.isBare) return [];
  return (await listWorkTree(source.path, configFile)).forced;
}

/** A home of the session's own; git finds an identity there, so that agents can commit. */
export async function makeHome(home: string): Promise<void> {
  await makePrivateFolder(home);
  const config =
    "[user]\n\tname = Stint agent\n\temail = agent@localhost\n[safe]\n\tdirectory = *\n";
  await writeFile(join(home, ".gitconfig"), config);
}

export function explainFull(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  return new StintError("disk_full", "no space for a copy of the workspace", { cause: error });
}
