import type { Answer } from "./answer.ts";
import type { ModelRequest } from "./request.ts";

/** A piece of a streamed answer: text for the socket, or a wait. */
export type StreamPiece = string | { readonly delayMs: number };

/** A vendor's request format: how to read what comes and to write what goes. */
export interface Wire {
  /** The path, below the base URL, to which requests for an answer are posted. */
  readonly answerPath: string;
  /** The path to which requests for a count of tokens are posted; null where there is none. */
  readonly countTokensPath: string | null;
  /** The header that carries the id of a request. */
  readonly requestIdHeader: string;
  /** What a stream sends while it waits. */
  readonly keepAlive: string;
  readRequest(body: unknown): ModelRequest;
  writeJson(answer: Answer): unknown;
  writeStream(answer: Answer, request: ModelRequest): Iterable<StreamPiece>;
  /** The body of an error with this status. */
  writeError(status: number, message: string): unknown;
  /** The body of the list of models. */
  writeModels(): unknown;
}
