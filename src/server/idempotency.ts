/** Requests that may be repeated: the key that a client gives them. */
import { createHash } from "node:crypto";
import { z } from "@hono/zod-openapi";
import type { AppContext } from "./route.ts";
import { invalidField } from "./validation.ts";

/** The header, for the description of a route. */
export const idempotencyHeaders = z.object({
  "idempotency-key": z.string().min(1).max(255).optional(),
});

/** The key of a request, if it has one. @throws {invalid_request} */
export function readIdempotencyKey(c: AppContext): string | undefined {
  const key = c.req.header("idempotency-key");
  if (key === undefined || /^[\x21-\x7e]{1,255}$/.test(key)) return key;
  throw invalidField("Idempotency-Key", "must have 1 to 255 visible ASCII characters");
}

/** The id that a message has for its key: the same for every repetition, a UUID of version 8. */
export function deriveMessageId(userId: string, sessionId: string, key: string): string {
  const digest = createHash("sha256").update(`${userId}\n${sessionId}\n${key}`).digest();
  digest[6] = ((digest[6] ?? 0) & 0x0f) | 0x80;
  digest[8] = ((digest[8] ?? 0) & 0x3f) | 0x80;
  const hex = digest.toString("hex");
  return [0, 8, 12, 16, 20]
    .map((start, index, starts) => hex.slice(start, starts[index + 1] ?? 32))
    .join("-");
}
