import { randomBytes, randomUUID } from "node:crypto";
import { join } from "node:path";
import { readOrCreateFile } from "../worker/create-once.ts";

const TOKEN_BYTES = 24;

/**
 * The token of the local owner: generated once and kept beside the data (0600), so that clients
 * stay signed in over a restart.
 */
export function readOrCreateToken(dataDir: string): Promise<string> {
  const token = `stint_${randomBytes(TOKEN_BYTES).toString("base64url")}`;
  return readOrCreateFile(join(dataDir, "token"), token, randomUUID());
}
