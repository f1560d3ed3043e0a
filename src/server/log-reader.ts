import { StintError } from "../core/error.ts";
import type { SessionEventType } from "../core/event.ts";
import type { EventRow, Store, Viewer } from "../core/store.ts";

/** A slice is never longer, however small the events are. */
const SLICE_ROWS_MAX = 128;
const SLICE_ROWS_START = 32;

/** The size that slices tend to, in characters of payload. */
const SLICE_CHARS = 524_288;

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
 * Reads a log forward in slices. The number of events in a slice follows their size, so that what
 * is held at a time stays small whatever an agent has written.
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
    this.#cursor = rows.at(-1)?.seq ?? this.#cursor;
    this.#adapt(rows);
    return { rows, isFull: rows.length === limit };
  }

  #adapt(rows: readonly EventRow[]): void {
    const chars = rows.reduce((sum, row) => sum + row.dataJson.length, 0);
    const fitting = Math.floor((rows.length * SLICE_CHARS) / Math.max(chars, 1));
    const grown = Math.min(this.#sliceRows * 2, SLICE_ROWS_MAX);
    this.#sliceRows = Math.max(1, Math.min(grown, Math.max(fitting, 1)));
  }
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
