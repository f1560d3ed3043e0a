import type { CallId } from "../core/attempt.ts";
import { toStintError } from "../core/error.ts";
import type { NewEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { SnapshotId, WorkspaceDiff } from "../core/workspace.ts";
import type { TakenSnapshot } from "./snapshot-commit.ts";
import { describeChanges, listTold, type ChangeBounds } from "./workspace-changes.ts";

/** What a report works with. */
export interface ChangeReportOptions {
  readonly takeSnapshot: () => Promise<SnapshotId>;
  readonly readChanges: (
    from: SnapshotId,
    to: SnapshotId,
  ) => Promise<Pick<WorkspaceDiff, "files" | "filesOmitted">>;
  /** Writes a state and what is told of it, in one. */
  readonly commit: (snapshot: TakenSnapshot, events: readonly NewEvent[]) => Promise<number>;
  readonly logger: Pick<Logger, "warn">;
  readonly bounds?: ChangeBounds;
}

/** Enough for a person to read; beyond, the diff of the session shows all. */
const BOUNDS: ChangeBounds = { filesMax: 200, diffBytesMax: 1_048_576 };
const TURN_FILES_MAX = 1_000;

/**
 * Tells the log what has changed in the files of one turn: with each state of the workspace that is
 * written down, what differs from the state before, and is not told by an event of its own already.
 * States are the truth, whatever tools or agents say. State and events are one write, so after a
 * crash nothing is told twice, and nothing that is stored is left untold.
 */
export class ChangeReport {
  readonly #options: ChangeReportOptions;
  #last: SnapshotId | null = null;
  #filesLeft = TURN_FILES_MAX;
  /** Paths that calls have told of since the last state. */
  #told = new Set<string>();

  constructor(options: ChangeReportOptions) {
    this.#options = options;
  }

  /** What was told up to this state is in the log. */
  begin(last: SnapshotId): void {
    this.#last = last;
  }

  /** These events go to the log by themselves. */
  note(events: readonly NewEvent[]): void {
    for (const path of listTold(events)) this.#told.add(path);
  }

  /**
   * Stores the present state and writes it down with what has changed. `underWay`: the calls that run
   * meanwhile.
   */
  async store(calls: readonly CallId[], underWay: readonly CallId[] = []): Promise<void> {
    const told = this.#told;
    this.#told = new Set();
    const id = await this.#options.takeSnapshot();
    await this.commit({ id, calls, underWay }, told);
  }

  /** The same for a state that is stored already. */
  async commit(snapshot: TakenSnapshot, told: ReadonlySet<string> = new Set()): Promise<number> {
    const events = await this.#describe(snapshot, told);
    const seq = await this.#options.commit(snapshot, events ?? []);
    if (events === null) return seq;
    this.#last = snapshot.id;
    this.#filesLeft -= events.length;
    return seq;
  }

  /** The last state of a turn, where it is another than the one that was written down last. */
  async finish(): Promise<void> {
    const id = await this.#options.takeSnapshot();
    if (id !== this.#last) await this.commit({ id, calls: [] }, this.#told);
  }

  /** Null where it could not be told: then the next state tells of it. */
  async #describe(
    { id, calls, underWay = [] }: TakenSnapshot,
    told: ReadonlySet<string>,
  ): Promise<readonly NewEvent[] | null> {
    const from = this.#last;
    if (from === null || from === id) return [];
    try {
      const { files, filesOmitted = 0 } = await this.#options.readChanges(from, id);
      const { filesMax, diffBytesMax } = this.#options.bounds ?? BOUNDS;
      const bounds = { filesMax: Math.max(1, Math.min(filesMax, this.#filesLeft)), diffBytesMax };
      const [callId = null] = calls.length === 1 && underWay.length === 0 ? calls : [];
      const isTold = (path: string): boolean => told.has(path) || this.#told.delete(path);
      return describeChanges(files, { isTold, filesOmitted, callId, bounds });
    } catch (thrown) {
      // The work is not lost for want of words about it.
      const { code, message } = toStintError(thrown);
      this.#options.logger.warn({ code, error: message }, "Changed files could not be told yet");
      return null;
    }
  }
}
