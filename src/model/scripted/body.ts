import type { IncomingMessage } from "node:http";
import { refuseOverload, RequestRefused } from "./refusal.ts";

/** Largest body of one request: 32 MB, as at the vendors. */
export const BODY_BYTES_MAX = 32 * 1_048_576;

/** Bytes of bodies in memory at a time, over all requests. */
export const BODIES_BYTES_MAX = 8 * BODY_BYTES_MAX;

/** Reads the bodies of requests within bounds. */
export class BodyReader {
  #heldBytes = 0;

  /**
   * The body as JSON. Rejects with RequestRefused: 413 when it is too large, 400 when it is no
   * JSON or ends too early, 529 when too much is being read at once.
   */
  async readJson(request: IncomingMessage): Promise<unknown> {
    if (Number(request.headers["content-length"] ?? 0) > BODY_BYTES_MAX) throw tooLarge();
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        const { length } = chunk as Buffer;
        bytes += length;
        this.#heldBytes += length;
        chunks.push(chunk as Buffer);
        if (bytes > BODY_BYTES_MAX) throw tooLarge();
        if (this.#heldBytes > BODIES_BYTES_MAX) throw refuseOverload();
      }
      return parse(Buffer.concat(chunks));
    } catch (error) {
      if (error instanceof RequestRefused) throw error;
      throw new RequestRefused(400, "The request ended too early.", { cause: error });
    } finally {
      this.#heldBytes -= bytes;
    }
  }
}

function tooLarge(): RequestRefused {
  return new RequestRefused(413, `A request has at most ${BODY_BYTES_MAX} bytes.`);
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8")) as unknown;
  } catch (error) {
    throw new RequestRefused(400, "The body is not JSON.", { cause: error });
  }
}
