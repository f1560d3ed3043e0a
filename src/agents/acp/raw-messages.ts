import type { Json, JsonObject } from "../../core/json.ts";

const MESSAGE_BYTES_MAX = 16_384;
const HEAD_CHARS = 4_096;
const WAITING_MAX = 200;
const WAITING_BYTES_MAX = 262_144;
/** Of one attempt; an agent may repeat all of its output with each word. */
const TOTAL_BYTES_MAX = 16_777_216;

/** Of stderr alone, so that it takes no room from messages. */
const STDERR_BYTES_MAX = 1_048_576;

/** Messages of an agent as they came, waiting to be stored beside the events made of them. */
export class RawMessages {
  #waiting: Json[] = [];
  #waitingBytes = 0;
  #totalBytes = 0;
  #stderrBytes = 0;

  /** True when enough wait to be written by themselves. */
  get isFull(): boolean {
    return this.#waiting.length >= WAITING_MAX || this.#waitingBytes >= WAITING_BYTES_MAX;
  }

  /** Large messages are cut, and those beyond the bound of an attempt left out; it says so. */
  add(message: JsonObject): void {
    if (this.#totalBytes > TOTAL_BYTES_MAX) return;
    const text = JSON.stringify(message);
    const isCut = text.length > MESSAGE_BYTES_MAX;
    const cut = { isCut: true, bytes: text.length, head: text.slice(0, HEAD_CHARS) };
    const bytes = isCut ? HEAD_CHARS : text.length;
    this.#waitingBytes += bytes;
    this.#totalBytes += bytes;
    this.#waiting.push(isCut ? cut : message);
    if (this.#totalBytes > TOTAL_BYTES_MAX)
      this.#waiting.push({ isOver: true, bytes: TOTAL_BYTES_MAX });
  }

  /** What it printed to stderr, up to a bound of its own; beyond it, it says so once. */
  addStderr(text: string): void {
    if (this.#stderrBytes > STDERR_BYTES_MAX) return;
    this.#stderrBytes += JSON.stringify(text).length;
    const isOver = this.#stderrBytes > STDERR_BYTES_MAX;
    this.add(
      isOver ? { kind: "stderr", isOver, bytes: STDERR_BYTES_MAX } : { kind: "stderr", text },
    );
  }

  /** Hands out what waits, once. */
  take(): Json[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    return waiting;
  }
}
