import type { Clock } from "../core/clock.ts";
import { cancelOnAbort, linkAbort } from "./abort-link.ts";
import { openStream, requestJson, toNetworkError, type Transport } from "./http.ts";
import { SseParser } from "./sse-parser.ts";
import type { EventPage, SessionEvent } from "./wire.ts";

/** The server sends a comment each 15 s: after three of them missing the connection is dead. */
const SILENCE_MS_MAX = 45_000;

const PAGE_EVENTS = 500;

interface Source {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly sessionId: string;
}

/**
 * Opens the stream of a session after `seq`. Null: the session has ended and there is no more. The
 * iteration ends when the server closes, and throws when the connection breaks or falls silent.
 */
export async function openEventStream(
  source: Source,
  after: number,
  signal: AbortSignal,
): Promise<AsyncIterable<SessionEvent> | null> {
  const connection = new AbortController();
  const unlink = linkAbort(connection, signal);
  const silence = new SilenceWatch(source.clock, connection);
  silence.restart();
  try {
    const response = await openStream(source.transport, {
      method: "GET",
      path: `/v1/sessions/${encodeURIComponent(source.sessionId)}/stream`,
      query: { after },
      headers: { "cache-control": "no-store", "last-event-id": String(after) },
      signal: connection.signal,
    });
    silence.cancel();
    if (response?.body == null) {
      unlink();
      return null;
    }
    return readEvents(source, response.body, silence, connection, unlink);
  } catch (error) {
    silence.cancel();
    unlink();
    throw error;
  }
}

async function* readEvents(
  source: Source,
  body: ReadableStream<Uint8Array>,
  silence: SilenceWatch,
  connection: AbortController,
  unlink: () => void,
): AsyncGenerator<SessionEvent, void, void> {
  const reader = body.getReader();
  const release = cancelOnAbort(reader, connection.signal);
  const decoder = new TextDecoder();
  const parser = new SseParser();
  try {
    for (;;) {
      silence.restart();
      const { done, value } = await readPiece(source, reader, connection.signal);
      silence.cancel();
      if (done) return;
      for (const message of parser.push(decoder.decode(value, { stream: true }))) {
        if (message.event === "message") yield parseEvent(message.data);
      }
    }
  } finally {
    silence.cancel();
    unlink();
    // Also ends the request of a reader that stopped in the middle.
    connection.abort();
    release();
  }
}

async function readPiece(
  source: Source,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  signal: AbortSignal,
) {
  try {
    const piece = await reader.read();
    if (piece.done && signal.aborted) throw signal.reason;
    return piece;
  } catch (error) {
    throw toNetworkError(source.transport.url, error, signal);
  }
}

/** @throws {Error} when the server sent something else. */
function parseEvent(data: string): SessionEvent {
  const event = JSON.parse(data) as SessionEvent;
  if (Number.isSafeInteger(event?.seq) && typeof event.type === "string") return event;
  throw new Error("a message of the stream is no event");
}

/** One page of the log after `seq`. */
export function readEventPage(
  source: Source,
  after: number,
  signal: AbortSignal,
): Promise<EventPage> {
  return requestJson<EventPage>(source.transport, {
    method: "GET",
    path: `/v1/sessions/${encodeURIComponent(source.sessionId)}/events`,
    query: { after, limit: PAGE_EVENTS },
    signal,
  });
}

/** Breaks a connection on which nothing has come for too long. */
class SilenceWatch {
  readonly #clock: Clock;
  readonly #connection: AbortController;
  #timer: { cancel(): void } | null = null;

  constructor(clock: Clock, connection: AbortController) {
    this.#clock = clock;
    this.#connection = connection;
  }

  restart(): void {
    this.cancel();
    this.#timer = this.#clock.setTimer(() => {
      this.#connection.abort(new DOMException("the stream fell silent", "TimeoutError"));
    }, SILENCE_MS_MAX);
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
