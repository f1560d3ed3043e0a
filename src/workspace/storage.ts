import { execFile } from "node:child_process";
import { lstat, mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { StintError } from "../core/error.ts";
import { toSystemPath } from "./path-bytes.ts";
import type { PreparedWorkspace, WorkspaceRequest } from "../core/workspace.ts";

/** A prepared workspace and what this room keeps beside it. */
export interface Workspace extends PreparedWorkspace {
  readonly sessionId: string;
  readonly mode: WorkspaceRequest["mode"];
  /** Real path or URL (without credentials) that it came from; null when it began empty. */
  readonly source: string | null;
  /** Whether `source` is a directory of this host, which changes can be brought back to. */
  readonly isLocalSource: boolean;
  /** Folder of the session's own data: snapshots, home, and the tree of a copy. */
  readonly store: string;
  /** `git`: a shadow repository; `plain`: files of ours, where git is not installed. */
  readonly snapshots: "git" | "plain";
  /** What a copy left out: large ignored entries, sockets, devices. */
  readonly omitted: readonly string[];
}

/** What is stored about a workspace: everything that its place does not tell. */
type Manifest = Omit<Workspace, "path" | "home" | "store"> & {
  /** Null for a copy, whose tree lies in the store. */
  readonly path: string | null;
};

const SESSION_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
const SYNC_MS_MAX = 120_000;

/** Names inside the folder of one session. */
export const STORED = {
  tree: "tree",
  home: "home",
  scratch: "tmp",
  /** What restores have moved out of their way. */
  kept: "kept",
  shadow: "shadow.git",
  plain: "snapshots",
  manifest: "workspace.json",
} as const;

/** Where the data of a session's workspace lies. */
export function locateStore(dataDir: string, sessionId: string): string {
  return locateSession(join(dataDir, "workspaces"), sessionId);
}

/** The folder of a session inside one for many. @throws {invalid_request} for what is no id. */
export function locateSession(folder: string, sessionId: string): string {
  if (!SESSION_ID.test(sessionId)) {
    throw new StintError("invalid_request", `${JSON.stringify(sessionId)} is no session id`);
  }
  return join(folder, sessionId);
}

/** Whether anything, even a dangling link, is at a path. */
export function exists(path: string): Promise<boolean> {
  return lstat(toSystemPath(path)).then(
    () => true,
    () => false,
  );
}

/** Makes a folder that only this user may enter. */
export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/** Writes down that a workspace is whole. */
export async function writeManifest(store: string, workspace: Workspace): Promise<void> {
  const { store: _, home: __, path, ...rest } = workspace;
  const manifest: Manifest = { ...rest, path: workspace.mode === "copy" ? null : path };
  const file = join(store, STORED.manifest);
  await writeFile(`${file}.new`, `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** The workspace that a folder holds, or null when it holds none. */
export async function readManifest(store: string): Promise<Workspace | null> {
  const text = await readFile(join(store, STORED.manifest), "utf8").catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  });
  if (text === null) return null;
  const manifest = JSON.parse(text) as Manifest;
  const path = manifest.path ?? join(store, STORED.tree);
  return { ...manifest, path, home: join(store, STORED.home), store };
}

/**
 * Makes everything below a folder durable: flushes its file system as a whole, which is far
 * cheaper than one call per file. Where there is no `sync -f`, the folder itself is flushed.
 */
export async function syncTree(folder: string): Promise<void> {
  const isSynced = await new Promise<boolean>((resolve) => {
    execFile("sync", ["-f", folder], { timeout: SYNC_MS_MAX }, (error) => resolve(error === null));
  });
  if (!isSynced) await syncFolder(folder);
}

/** Makes the names in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Renames a folder to its final name, durably. */
export async function publishFolder(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncFolder(dirname(to));
}
