/** One message of a stream of server-sent events. */
export interface SseMessage {
  /** The field `event`, or "message". */
  readonly event: string;
  readonly data: string;
  /** The last `id` seen, also of earlier messages. */
  readonly id: string;
}

/** Longest message that is held while it comes in, in characters: some times a largest event. */
const MESSAGE_CHARS_MAX = 16 * 1_048_576;

/**
 * Reads server-sent events from text that comes in arbitrary pieces. Ends of line may be CRLF, LF or
 * CR, also cut in two. A message that the stream cuts off is dropped: it comes again after reconnect.
 */
export class SseParser {
  #rest = "";
  #data: string[] = [];
  #dataChars = 0;
  #event = "";
  #id = "";
  #atStart = true;
  #endsWithCr = false;

  /** Takes a piece; returns the messages that it completes. @throws {RangeError} beyond the bound. */
  push(piece: string): SseMessage[] {
    if (piece === "") return [];
    const messages: SseMessage[] = [];
    const text = this.#rest + this.#prepare(piece);
    let from = 0;
    for (;;) {
      const end = findLineEnd(text, from);
      if (end === -1) break;
      const message = this.#takeLine(text.slice(from, end));
      if (message) messages.push(message);
      from = end + (text.startsWith("\r\n", end) ? 2 : 1);
    }
    this.#endsWithCr = from === text.length && text.endsWith("\r");
    this.#rest = text.slice(from);
    if (this.#rest.length + this.#dataChars > MESSAGE_CHARS_MAX) {
      throw new RangeError(`a message of the stream is over ${MESSAGE_CHARS_MAX} characters`);
    }
    return messages;
  }

  /** Drops a byte order mark, and the LF of a CRLF whose CR ended the piece before. */
  #prepare(piece: string): string {
    const start = this.#atStart && piece.startsWith("\uFEFF") ? 1 : 0;
    const lf = this.#endsWithCr && piece.startsWith("\n") ? 1 : 0;
    this.#atStart = false;
    return piece.slice(start + lf);
  }

  #takeLine(line: string): SseMessage | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "data") {
      this.#data.push(value);
      this.#dataChars += value.length;
    } else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #dispatch(): SseMessage | null {
    const message =
      this.#data.length === 0
        ? null
        : { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    this.#data = [];
    this.#dataChars = 0;
    this.#event = "";
    return message;
  }
}

function findLineEnd(text: string, from: number): number {
  const lf = text.indexOf("\n", from);
  const cr = text.slice(from, lf === -1 ? undefined : lf).indexOf("\r");
  return cr === -1 ? lf : from + cr;
}
