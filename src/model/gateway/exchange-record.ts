import type { JsonObject } from "../../core/json.ts";
import type { Redactor } from "./redactor.ts";

/** Characters kept of a request and of its answer, each. */
export const RECORDED_CHARS_MAX = 262_144;

/** Keeps what a model was asked and answered, without keys and within a bound. */
export class ExchangeRecord {
  readonly #redactor: Redactor;
  readonly #callId: string;
  readonly #request: string;
  readonly #requestChars: number;
  readonly #decoder = new TextDecoder();
  #answer = "";
  #answerChars = 0;

  constructor(callId: string, request: string, redactor: Redactor) {
    this.#callId = callId;
    this.#redactor = redactor;
    this.#requestChars = request.length;
    this.#request = redactor.redact(request).slice(0, RECORDED_CHARS_MAX);
  }

  /** Takes the next bytes of the answer. */
  take(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    this.#answerChars += text.length;
    const room = RECORDED_CHARS_MAX - this.#answer.length;
    if (room > 0) this.#answer += text.slice(0, room);
  }

  /** As it is stored among the raw messages. */
  toJson(): JsonObject {
    const isCut = this.#answerChars > this.#answer.length;
    const answer = isCut
      ? this.#redactor.redactCut(this.#answer)
      : this.#redactor.redact(this.#answer);
    return {
      kind: "model_exchange",
      callId: this.#callId,
      request: this.#request,
      answer,
      isCut: this.#requestChars > RECORDED_CHARS_MAX || this.#answerChars > RECORDED_CHARS_MAX,
    };
  }
}
