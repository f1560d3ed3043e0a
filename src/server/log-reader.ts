import { StintError } from "../core/error.ts";
import type { SessionEventType } from "../core/event.ts";
import type { EventRow, Store, Viewer } from "../core/store.ts";

/** A slice is never longer, however small the events are. */
const SLICE_ROWS_MAX = 64;
const SLICE_ROWS_START = 8;

/** Characters of payload after which a slice ends; one event may be larger. */
const SLICE_CHARS_MAX = 524_288;

/** Whose log is read, by whom. */
export interface LogSource {
  readonly store: Pick<Store, "readEventRows">;
  readonly sessionId: string;
  readonly viewer: Viewer;
  readonly types?: readonly SessionEventType[];
}

/** A piece of a log; `isFull` says that more may follow at once. */
export interface LogSlice {
  readonly rows: readonly EventRow[];
  readonly isFull: boolean;
}

/**
 * Reads a log forward in slices. What a slice holds is bounded in size, whatever an agent has
 * written; the number of events asked for follows their size, so that little is read in vain.
 */
export class LogReader {
  readonly #source: LogSource;
  #cursor: number;
  #sliceRows = SLICE_ROWS_START;

  /** @param after the seq to read on from; 0 reads from the earliest event. */
  constructor(source: LogSource, after: number) {
    this.#source = source;
    this.#cursor = after;
  }

  /** The seq of the last event that was read. */
  get cursor(): number {
    return this.#cursor;
  }

  /**
   * Reads on, `rowsMax` events at most.
   * @throws {resync_required} with `earliestSeq` when the event after the cursor is gone.
   */
  async readSlice(rowsMax: number = SLICE_ROWS_MAX): Promise<LogSlice> {
    const { store, sessionId, viewer, types } = this.#source;
    const limit = Math.min(this.#sliceRows, rowsMax);
    const query = { after: this.#cursor, limit, ...(types === undefined ? {} : { types }) };
    const rows = await store.readEventRows(sessionId, query, viewer);
    if (types === undefined) assertDense(rows, this.#cursor);
    const kept = rows.slice(0, countFitting(rows));
    this.#cursor = kept.at(-1)?.seq ?? this.#cursor;
    this.#sliceRows = Math.min(kept.length < rows.length ? kept.length : limit * 2, SLICE_ROWS_MAX);
    return { rows: kept, isFull: rows.length === limit || kept.length < rows.length };
  }
}

/** How many rows fill a slice: at least one, where there is one. */
function countFitting(rows: readonly EventRow[]): number {
  let chars = 0;
  const end = rows.findIndex((row, index) => {
    chars += row.dataJson.length;
    return index > 0 && chars > SLICE_CHARS_MAX;
  });
  return end === -1 ? rows.length : end;
}

/** A reader gets every event or is told that it cannot: never a skip. */
function assertDense(rows: readonly EventRow[], after: number): void {
  let previous = after === 0 ? (rows[0]?.seq ?? 1) - 1 : after;
  for (const row of rows) {
    if (row.seq !== previous + 1) {
      throw new StintError("resync_required", `the log has no event ${previous + 1} any more`, {
        fields: { earliestSeq: row.seq },
      });
    }
    previous = row.seq;
  }
}
