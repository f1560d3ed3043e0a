import type { Context } from "hono";
import type { z } from "zod";
import { StintError } from "../core/error.ts";
import { checkInput } from "./validation.ts";

const JSON_TYPE = /^application\/([a-z.-]+\+)?json\s*(;|$)/i;

/**
 * Reads the JSON body of a request and checks it; never more than `bytesMax` of it is held.
 * @throws {invalid_request} when it is no JSON object of this schema. @throws {payload_too_large}
 */
export async function readBody<S extends z.ZodType>(
  c: Context,
  schema: S,
  bytesMax: number,
): Promise<z.output<S>> {
  // A browser sends other types across origins without asking first, so they are never accepted.
  if (!JSON_TYPE.test(c.req.header("content-type") ?? "")) {
    throw new StintError("invalid_request", "send the body with content-type: application/json", {
      fields: { field: "content-type" },
    });
  }
  const declared = Number(c.req.header("content-length") ?? 0);
  if (declared > bytesMax) throw tooLarge(bytesMax);
  return checkInput(schema, parseJson(await readBytes(c.req.raw.body, bytesMax)), "body");
}

async function readBytes(
  body: ReadableStream<Uint8Array> | null,
  bytesMax: number,
): Promise<Uint8Array> {
  if (body === null) return new Uint8Array();
  const reader = body.getReader();
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(pieces);
    bytes += value.byteLength;
    if (bytes > bytesMax) {
      // The rest is of no interest; a failure to say so to the sender changes nothing.
      reader.cancel().catch(() => undefined);
      throw tooLarge(bytesMax);
    }
    pieces.push(value);
  }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const reason = error instanceof SyntaxError ? error.message : "it is not UTF-8";
    throw new StintError("invalid_request", `the body is no JSON: ${reason.slice(0, 200)}`, {
      fields: { field: "body" },
    });
  }
}

function tooLarge(bytesMax: number): StintError {
  return new StintError("payload_too_large", `the body is larger than ${bytesMax} bytes`, {
    fields: { bytesMax },
  });
}
