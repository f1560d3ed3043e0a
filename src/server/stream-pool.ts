import { StintError } from "../core/error.ts";
import type { Metrics } from "../core/metrics.ts";
import { EventStream, type EventStreamOptions } from "./event-stream.ts";

/** Most event streams that one server keeps open. */
export const SUBSCRIBERS_MAX = 1_000;

/** The open event streams of a server: counted, bounded, ended together. */
export class StreamPool {
  readonly #streams = new Set<EventStream>();
  readonly #metrics: Metrics;
  readonly #subscribersMax: number;
  #isClosed = false;

  constructor(metrics: Metrics, subscribersMax: number = SUBSCRIBERS_MAX) {
    this.#metrics = metrics;
    this.#subscribersMax = subscribersMax;
  }

  /** Streams that are open now. */
  get size(): number {
    return this.#streams.size;
  }

  /**
   * Opens a stream and reads the first slice of it.
   * @throws {overloaded} when there are too many, or the server is about to stop.
   */
  async open(options: Omit<EventStreamOptions, "onEnd">): Promise<EventStream> {
    if (this.#isClosed) throw new StintError("overloaded", "the server is shutting down");
    if (this.#streams.size >= this.#subscribersMax) {
      throw new StintError("overloaded", `${this.#subscribersMax} event streams are open already`);
    }
    const stream: EventStream = new EventStream({
      ...options,
      onEnd: (reason) => {
        this.#streams.delete(stream);
        this.#metrics.count("streamDisconnects", { reason });
        this.#showSize();
      },
    });
    this.#streams.add(stream);
    this.#showSize();
    await stream.open();
    return stream;
  }

  /** Ends all streams, so that their readers go to another server, and opens no more. */
  close(): void {
    this.#isClosed = true;
    for (const stream of this.#streams) stream.end("shutdown");
  }

  #showSize(): void {
    this.#metrics.set("streamSubscribers", {}, this.#streams.size);
  }
}
