import { type Clock, waitWithin } from "../core/clock.ts";
import { StintError, toStintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import type { SnapshotPart, SnapshotStore } from "../core/snapshot-store.ts";
import type { Ownership } from "../core/store.ts";
import type { SnapshotId } from "../core/workspace.ts";
import { openSnapshots } from "../workspace/snapshot.ts";
import { packSnapshot, type PackedPart } from "../workspace/snapshot-parts.ts";
import type { Workspace } from "../workspace/storage.ts";

/** What a keeper works with. */
export interface SnapshotKeeperOptions {
  readonly store: SnapshotStore;
  readonly workspace: Workspace;
  readonly owner: Ownership;
  /** Most that is stored of one session. */
  readonly bytesMax: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Parts after which one full part takes their place. @default 50 */
  readonly partsMax?: number;
  /** Longest time that one part may take. @default 10 min */
  readonly timeoutMs?: number;
}

const PARTS_MAX = 50;
const TIMEOUT_MS = 600_000;

/** Codes that say that the session is another's: nothing may be written any more. */
const LOST: ReadonlySet<string> = new Set(["stale_epoch", "session_not_found"]);

/**
 * Stores the snapshots of one attempt off its host, each as what is new since the last, every so
 * often whole. A snapshot that cannot be stored keeps the session on this host and is told in the
 * log of the worker; the work goes on, and the next snapshot is tried again.
 */
export class SnapshotKeeper {
  readonly #options: SnapshotKeeperOptions;
  /** Null: to be read again. */
  #parts: readonly SnapshotPart[] | null = null;
  #lastTold = "";
  #isTooLarge = false;
  #owner: Ownership;

  constructor(options: SnapshotKeeperOptions) {
    this.#options = options;
    this.#owner = options.owner;
  }

  /** The attempt goes on under another epoch. */
  renew(epoch: number): void {
    this.#owner = { ...this.#owner, epoch };
    this.#parts = null;
  }

  /**
   * Stores a snapshot that is durable here. Resolves with the name of the place once the snapshot is
   * durable there too, or with null when the session has to stay on this host.
   * @throws {stale_epoch} when the session is another's.
   */
  async keep(id: SnapshotId): Promise<string | null> {
    const { store, clock, timeoutMs = TIMEOUT_MS } = this.#options;
    if (this.#isTooLarge) return null;
    const storing = this.#store(id);
    storing.catch(() => undefined); // told below, unless it took too long
    try {
      if (!(await waitWithin(clock, timeoutMs, storing))) {
        throw new StintError("snapshot_store_failed", `it took longer than ${timeoutMs} ms`);
      }
      await storing;
      this.#lastTold = "";
      return store.name;
    } catch (thrown) {
      const error = toStintError(thrown);
      if (LOST.has(error.code)) throw error;
      // Whether anything of it was stored is not known.
      this.#parts = null;
      this.#tell(error);
      return null;
    }
  }

  /** False once the files have proved to be too large: nothing is tried again in this attempt. */
  get isTrying(): boolean {
    return !this.#isTooLarge;
  }

  async #store(id: SnapshotId): Promise<void> {
    const { store, workspace, partsMax = PARTS_MAX } = this.#options;
    const owner = this.#owner;
    const parts = (this.#parts ??= await store.listParts(owner.sessionId));
    if (parts.some(({ snapshotId }) => snapshotId === id)) return;
    if (!(await openSnapshots(workspace).isPortable(id))) {
      throw new StintError("snapshot_store_failed", "it has a repository that cannot be stored");
    }
    const isDue = parts.length === 0 || parts.length >= partsMax;
    if (!isDue && (await this.#pack(id, parts, false))) return;
    await this.#pack(id, parts, true);
  }

  /** False when the bound would be passed that a full part may still keep. */
  async #pack(id: SnapshotId, parts: readonly SnapshotPart[], isFull: boolean): Promise<boolean> {
    const { workspace, bytesMax } = this.#options;
    const stored = parts.map(({ snapshotId }) => snapshotId);
    const superseded = isFull ? await this.#selectHeld(parts) : [];
    const packed = await packSnapshot(workspace, { id, stored, isFull });
    const before = parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    try {
      if (!isFull && before + packed.part.sizeBytes > bytesMax) return false;
      await this.#put(packed, parts, superseded);
      return true;
    } finally {
      await packed.discard();
    }
  }

  /**
   * Those of them that a full part takes the place of: whose states are here. Others are of an owner
   * that this one does not know of, and may be all that is stored of the newest state: a place may not
   * know that this owner has lost the session.
   */
  async #selectHeld(parts: readonly SnapshotPart[]): Promise<readonly SnapshotPart[]> {
    const snapshots = openSnapshots(this.#options.workspace);
    const held: SnapshotPart[] = [];
    for (const part of parts) if (await snapshots.has(part.snapshotId)) held.push(part);
    return held;
  }

  async #put(
    packed: PackedPart,
    parts: readonly SnapshotPart[],
    superseded: readonly SnapshotPart[],
  ): Promise<void> {
    const { store, bytesMax } = this.#options;
    const owner = this.#owner;
    const { part } = packed;
    const { sizeBytes } = part;
    if (sizeBytes > bytesMax) {
      this.#isTooLarge = true;
      const message = `its files take ${sizeBytes} bytes, more than snapshotBytesMax (${bytesMax})`;
      throw new StintError("snapshot_store_failed", message);
    }
    await store.putPart(owner, part, packed.read());
    this.#parts = [...parts.filter((one) => !superseded.includes(one)), part];
    if (superseded.length > 0) await this.#discard(superseded);
  }

  /** All that they hold is in the full part; left behind they cost space alone. */
  async #discard(parts: readonly SnapshotPart[]): Promise<void> {
    const { store, logger } = this.#options;
    const owner = this.#owner;
    try {
      await store.removeParts(
        owner,
        parts.map(({ id }) => id),
      );
    } catch (thrown) {
      const { code, message } = toStintError(thrown);
      if (LOST.has(code)) throw thrown;
      this.#parts = null;
      const fields = { sessionId: owner.sessionId, code, error: message };
      logger.warn(fields, "Superseded snapshots could not be removed");
    }
  }

  /** Once for each cause, not once a snapshot. */
  #tell({ code, message }: StintError): void {
    if (this.#lastTold === message) return;
    this.#lastTold = message;
    const { sessionId } = this.#options.owner;
    const fields = { sessionId, store: this.#options.store.name, code, error: message };
    this.#options.logger.warn(
      fields,
      "Session stays on this host: its snapshot is not stored off it",
    );
  }
}
