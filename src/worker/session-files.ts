import type { Clock } from "../core/clock.ts";
import { StintError, toStintError } from "../core/error.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { SnapshotStore } from "../core/snapshot-store.ts";
import { prepareWorkspace } from "../workspace/prepare.ts";
import { rebuildWorkspace } from "../workspace/rebuild.ts";
import type { Workspace } from "../workspace/storage.ts";
import { tryOpenWorkspace } from "./newest-workspace.ts";
import { readPatiently } from "./patience.ts";

/** What finding the files of sessions needs. */
export interface SessionFilesOptions {
  readonly dataDir: string;
  /** Of this data folder. */
  readonly hostId: string;
  readonly ignoredBytesMax: number;
  /** Folders under which sources must lie; empty: anywhere. */
  readonly allowedRoots: readonly string[];
  /** The place off the host for new states; null: none. */
  readonly target: SnapshotStore | null;
  /** Places off the host whose states can be read here. */
  readonly readable: readonly SnapshotStore[];
  readonly clock: Clock;
}

const TAKEOVERS_MAX = 10_000;

/** Brings the files of a session to this host: its own where it ran last, else as stored last. */
export class SessionFiles {
  readonly #options: SessionFilesOptions;
  /** Sessions whose files an attempt has made anew here, with its epoch: a later turn has them. */
  readonly #takenOver = new Map<string, number>();

  constructor(options: SessionFilesOptions) {
    this.#options = options;
  }

  /**
   * Opens the files of a session; `isMoved` when they were made anew from a stored state.
   * @throws {snapshot_store_failed} when the place of that state cannot be read now.
   * @throws {workspace_missing} and other workspace errors.
   */
  async open(
    session: SessionSnapshot,
    signal: AbortSignal,
  ): Promise<{ readonly workspace: Workspace; readonly isMoved: boolean }> {
    const { dataDir, ignoredBytesMax, allowedRoots } = this.#options;
    const { mode, source, ref, snapshotId, snapshotStore } = session.workspace;
    const isStored = typeof snapshotId === "string" && typeof snapshotStore === "string";
    if (isStored && !(await this.#isHere(session))) {
      const workspace = await this.#rebuild(session, { snapshotId, snapshotStore }, signal);
      return { workspace, isMoved: true };
    }
    const workspace = await prepareWorkspace({
      sessionId: session.id,
      request: { mode, ...(source && { source }), ...(ref && { ref }) },
      dataDir,
      ignoredBytesMax,
      isPortable: this.mayMove(session),
      ...(allowedRoots.length > 0 && { allowedRoots }),
    });
    return { workspace, isMoved: false };
  }

  /** The attempt that has the files goes on under another epoch. */
  renew({ id, epoch }: SessionSnapshot): void {
    if (this.#takenOver.has(id)) this.#noteTakeover(id, epoch);
  }

  /** Only what may be restored may be restored elsewhere. */
  mayMove({ recovery, workspace }: SessionSnapshot): boolean {
    return this.#options.target !== null && recovery === "restore" && workspace.mode === "copy";
  }

  async #isHere({ id, epoch, workspace: { host } }: SessionSnapshot): Promise<boolean> {
    const { dataDir, hostId } = this.#options;
    if (this.#takenOver.get(id) === epoch) return true;
    return (host ?? hostId) === hostId && (await tryOpenWorkspace(id, dataDir)) !== null;
  }

  async #rebuild(
    { id, epoch }: SessionSnapshot,
    state: { readonly snapshotId: string; readonly snapshotStore: string },
    signal: AbortSignal,
  ): Promise<Workspace> {
    const { dataDir, readable, clock } = this.#options;
    const { snapshotId, snapshotStore } = state;
    const store = readable.find(({ name }) => name === snapshotStore);
    if (store === undefined) throw unreadable(snapshotStore);
    const request = { sessionId: id, dataDir, snapshotId, store };
    try {
      const workspace = await readPatiently(clock, signal, () => rebuildWorkspace(request));
      this.#noteTakeover(id, epoch);
      return workspace;
    } catch (error) {
      throw signal.aborted ? error : unreadable(snapshotStore, error);
    }
  }

  #noteTakeover(id: string, epoch: number): void {
    this.#takenOver.set(id, epoch);
    const [oldest] = this.#takenOver.keys();
    if (this.#takenOver.size > TAKEOVERS_MAX && oldest !== undefined)
      this.#takenOver.delete(oldest);
  }
}

function unreadable(place: string, thrown?: unknown): StintError {
  const why = thrown === undefined ? "this worker does not know it" : toStintError(thrown).message;
  return new StintError("snapshot_store_failed", `the files lie in ${place}: ${why}`, {
    cause: thrown,
  });
}
