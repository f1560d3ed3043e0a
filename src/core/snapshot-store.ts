import type { Ownership } from "./store.ts";
import type { JsonObject } from "./json.ts";
import type { SnapshotId } from "./workspace.ts";

/** What is stored off a host to complete one state of a workspace, beside the parts before it. */
export interface SnapshotPart {
  /** A UUID. */
  readonly id: string;
  /** The state that can be made anew once this part is there. */
  readonly snapshotId: SnapshotId;
  readonly sizeBytes: number;
  /** Of the content, in hexadecimal. */
  readonly sha256: string;
  /** What another host has to know to make the workspace anew. */
  readonly about: JsonObject;
}

/**
 * A place off the host where states of workspaces are kept. All parts of a session together hold
 * everything that any of them needs, in whatever order they are read.
 *
 * The database refuses an owner that has lost the session; a folder cannot. It needs not: a part is
 * stored under an id of its own and replaces none, its content is checked against its hash, and which
 * state a session is at is decided by the id that the database holds. What such an owner leaves is a
 * part that nobody asks for. An owner removes only parts that its own full part holds.
 */
export interface SnapshotStore {
  /** Names the place: whoever opens it under the same name finds the same parts. */
  readonly name: string;
  /** The whole parts of a session, oldest first; what a crash cut off is not among them. */
  listParts(sessionId: string): Promise<readonly SnapshotPart[]>;
  /**
   * Stores a part. It is durable when this resolves, and not there at all until then; what earlier
   * uploads of the session have left unfinished is cleared away. One upload a session at a time.
   * @throws {snapshot_store_failed} when the place does not take it, {stale_epoch} when it knows that
   * the owner has lost the session.
   */
  putPart(owner: Ownership, part: SnapshotPart, content: AsyncIterable<Uint8Array>): Promise<void>;
  /** The content of a part, piece by piece. @throws {workspace_gone} when it is not there. */
  readPart(sessionId: string, partId: string): AsyncIterable<Uint8Array>;
  /** Removes parts whose content another part holds. Harmless where they are gone. */
  removeParts(owner: Ownership, partIds: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** The name of the place that the database is. */
export const DATABASE_SNAPSHOTS = "database";
/** How names of folders begin. */
export const FOLDER_PREFIX = "folder:";

/** Whether a setting names a place: `local`, `database`, a path that holds a slash, or a file URL. */
export function isSnapshotStoreSetting(setting: string): boolean {
  if (setting === "local" || setting === "database") return true;
  if (/^[a-z][a-z0-9+.-]*:/i.test(setting)) return /^file:\/\/\/./.test(setting);
  return setting.includes("/") && !setting.includes("\0");
}
