import type { Clock, Timer } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { EventRow, Store, Viewer } from "../core/store.ts";
import { isTerminalRow, toStreamMessage } from "./event-json.ts";
import { LogReader } from "./log-reader.ts";

/** A comment is sent after this time without an event, so that nothing between gives up. */
export const KEEP_ALIVE_MS = 15_000;

/** A reader that takes nothing for this time, while something is there for it, is cut off. */
export const STALL_MS = 60_000;

/** Pieces in which a stream is handed on, in characters; one event may be larger. */
const CHUNK_CHARS = 65_536;

const PREAMBLE = "retry: 1000\n\n";
const KEEP_ALIVE = ": keep-alive\n\n";

/** Why a stream ended. */
export type StreamEnd = "terminal" | "client" | "stalled" | "shutdown" | "gone" | "error";

/** What one stream needs. */
export interface EventStreamOptions {
  readonly store: Pick<Store, "readEventRows" | "watchSession" | "getSession">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sessionId: string;
  readonly viewer: Viewer;
  /** The seq to go on from. */
  readonly after: number;
  /** Breaks the connection of a reader that takes nothing. */
  readonly disconnect: () => void;
  /** Called once, when everything the stream held is free. */
  readonly onEnd: (reason: StreamEnd) => void;
}

/**
 * The log of one session as an event stream: every event after the cursor exactly once, in order,
 * then whatever comes, until the terminal event.
 *
 * The reader pulls. Nothing is read from the database before the reader has taken what was read, so
 * a slow reader costs one slice of the log and one read at a time, and the log itself is the buffer.
 * The watch starts before the first read; a hint that comes while a read runs leads to another read.
 */
export class EventStream {
  /** The bytes to answer with. */
  readonly body: ReadableStream<Uint8Array>;
  readonly #options: EventStreamOptions;
  readonly #reader: LogReader;
  readonly #unwatch: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  #rows: readonly EventRow[] = [];
  #preamble = PREAMBLE;
  #mayHaveMore = true;
  #isTerminalSent = false;
  #end: StreamEnd | null = null;
  #wake: (() => void) | null = null;
  #timer: Timer | null = null;

  constructor(options: EventStreamOptions) {
    this.#options = options;
    this.#reader = new LogReader(options, options.after);
    this.#unwatch = options.store.watchSession(options.sessionId, () => {
      this.#mayHaveMore = true;
      this.#wake?.();
    });
    this.body = new ReadableStream(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: (controller) => this.#pull(controller),
        cancel: () => this.end("client"),
      },
      { highWaterMark: 0 },
    );
  }

  /**
   * Reads the first slice, so that errors can still be answered as such.
   * @throws {resync_required}
   */
  async open(): Promise<void> {
    try {
      await this.#readOn();
    } catch (error) {
      this.end("error");
      throw error;
    }
  }

  /** Ends the stream and frees what it holds; the first reason counts. */
  end(reason: StreamEnd): void {
    if (this.#end !== null) return;
    this.#end = reason;
    this.#unwatch();
    this.#timer?.cancel();
    this.#rows = [];
    // A reader that has gone has closed the stream itself.
    if (reason !== "client") this.#controller?.close();
    this.#wake?.();
    this.#options.onEnd(reason);
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    this.#timer?.cancel();
    try {
      const chunk = await this.#nextChunk();
      if (this.#end !== null) return;
      if (chunk === null) return this.end("terminal");
      controller.enqueue(Buffer.from(chunk));
      this.#timer = this.#options.clock.setTimer(() => this.#cutOff(), STALL_MS);
    } catch (error) {
      // The client comes back with its cursor and, if the cause lasts, gets it as an answer.
      const { logger, sessionId } = this.#options;
      logger.warn({ err: error, sessionId }, "Event stream broken off");
      this.end("error");
    }
  }

  #cutOff(): void {
    const { logger, sessionId, disconnect } = this.#options;
    logger.info({ sessionId, cursor: this.#reader.cursor }, "Event stream reader stalled");
    this.end("stalled");
    disconnect();
  }

  /** Waits for something to send; null when the terminal event was sent. */
  async #nextChunk(): Promise<string | null> {
    if (this.#preamble !== "") return this.#takePreamble();
    while (this.#end === null) {
      if (this.#rows.length > 0) return this.#takeChunk();
      if (this.#isTerminalSent) return null;
      if (this.#mayHaveMore) await this.#readOn();
      else if (!(await this.#waitForNews())) return await this.#keepAlive();
    }
    return null;
  }

  #takePreamble(): string {
    const preamble = this.#preamble;
    this.#preamble = "";
    return preamble;
  }

  async #readOn(): Promise<void> {
    // Set before the read: a hint that comes meanwhile may be about events it does not see.
    this.#mayHaveMore = false;
    const { rows, isFull } = await this.#reader.readSlice();
    this.#mayHaveMore ||= isFull;
    if (this.#end === null) this.#rows = rows;
  }

  #takeChunk(): string {
    let chunk = "";
    let taken = 0;
    for (const row of this.#rows) {
      chunk += toStreamMessage(this.#options.sessionId, row);
      taken += 1;
      this.#isTerminalSent ||= isTerminalRow(row);
      if (chunk.length >= CHUNK_CHARS) break;
    }
    this.#rows = this.#rows.slice(taken);
    return chunk;
  }

  /** True on news; false when none came for the time of a keep-alive. */
  #waitForNews(): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (isNews: boolean): void => {
        this.#timer?.cancel();
        this.#wake = null;
        resolve(isNews);
      };
      this.#wake = () => settle(true);
      this.#timer = this.#options.clock.setTimer(() => settle(false), KEEP_ALIVE_MS);
    });
  }

  /** Hints may be lost, sessions deleted and rights withdrawn: each keep-alive looks again. */
  async #keepAlive(): Promise<string | null> {
    const { store, sessionId, viewer } = this.#options;
    this.#mayHaveMore = true;
    if ((await store.getSession(sessionId, viewer)) === null) this.end("gone");
    return KEEP_ALIVE;
  }
}
