import { type Clock, waitWithin } from "../core/clock.ts";
import { toStintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import type { WorkspaceRemovals } from "../store/workspace-removals.ts";
import { removeWorkspace } from "../workspace/prepare.ts";
import { listMirrors, removeMirror } from "../workspace/rebuild.ts";
import { sweepEnvironment } from "../workspace/sweep.ts";
import { SESSION_COOKIE } from "./local-attempt.ts";
import { createPeriodicService, type Service } from "./service.ts";

/** What the removal of deleted sessions from a host needs. */
export interface WorkspaceSweepOptions {
  readonly dataDir: string;
  /** Of this data folder. */
  readonly hostId: string;
  readonly removals: WorkspaceRemovals;
  /** Whether this process still works on a session: its files go when it has let go of it. */
  readonly isHeld: (sessionId: string) => boolean;
  readonly logger: Logger;
}

/** How long a removal under way is waited for at the end. */
const STOP_MS_MAX = 1_000;
/** Smaller than every other. */
const FIRST_ID = "00000000-0000-0000-0000-000000000000";
const SESSION_ID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;

/**
 * Removes from this host what it holds of sessions that were deleted: workspace, home, snapshots,
 * mirror, and whatever of theirs still runs. A workspace goes only where the database has recorded
 * that this very session was deleted; that a session is not in the database proves nothing, since
 * it may be another database than the one the folder was filled with. Mirrors are made anew when
 * they are missed: of them, all that belong to no session go.
 */
export class WorkspaceSweep {
  readonly #options: WorkspaceSweepOptions;
  #after = FIRST_ID;
  #isStopping = false;

  constructor(options: WorkspaceSweepOptions) {
    this.#options = options;
  }

  /**
   * One bounded pass, which goes on where the last one ended, so that what cannot be removed keeps
   * nothing else waiting. Resolves to whether more is waiting. Any number of processes may sweep.
   */
  async runOnce(): Promise<boolean> {
    const { removals, hostId } = this.#options;
    const deleted = await removals.list(hostId, this.#after);
    const hasMore = deleted.length >= removals.listMax;
    this.#after = (hasMore && deleted.at(-1)) || FIRST_ID;
    const removed: string[] = [];
    for (const id of deleted) {
      if (this.#isStopping) break;
      if (await this.#removeSession(id)) removed.push(id);
    }
    await removals.finish(hostId, removed);
    await this.#removeMirrors();
    return hasMore;
  }

  /** A pass under way ends with the session that it is at; what it leaves is for the next process. */
  stop(): void {
    this.#isStopping = true;
  }

  /** False when something is left, for a later pass. */
  async #removeSession(sessionId: string): Promise<boolean> {
    const { dataDir, isHeld, logger } = this.#options;
    if (isHeld(sessionId)) return false;
    try {
      await sweepEnvironment(SESSION_COOKIE, sessionId);
      return await removeWorkspace({ sessionId, dataDir });
    } catch (thrown) {
      const { code, message } = toStintError(thrown);
      logger.warn({ sessionId, code, error: message }, "Workspace of a deleted session stays");
      return false;
    }
  }

  async #removeMirrors(): Promise<void> {
    const { dataDir, removals } = this.#options;
    const names = await listMirrors(dataDir);
    const ids = names.filter((name) => SESSION_ID.test(name)).slice(0, removals.listMax);
    if (ids.length === 0) return;
    const existing = new Set(await removals.listExisting(ids));
    for (const id of ids) if (!existing.has(id)) await removeMirror({ sessionId: id, dataDir });
  }
}

/** Sweeps every `intervalMs`, and on at once while more is waiting. */
export function createWorkspaceSweep(
  options: WorkspaceSweepOptions & { readonly intervalMs: number; readonly clock: Clock },
): Service {
  const { intervalMs, clock, logger } = options;
  const sweep = new WorkspaceSweep(options);
  const service = createPeriodicService({
    ...{ name: "workspace-sweep", intervalMs, clock, logger },
    runOnce: async () => {
      if (await sweep.runOnce()) service.wake();
    },
  });
  return {
    start: () => service.start(),
    async stop() {
      sweep.stop();
      // What is half removed has lost its name already, and is removed by the next process.
      await waitWithin(clock, STOP_MS_MAX, service.stop());
    },
  };
}
