import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const TOKEN_BYTES = 24;

/**
 * The token of the local owner: generated once and kept beside the data (0600), so that clients
 * stay signed in over a restart.
 */
export async function readOrCreateToken(dataDir: string): Promise<string> {
  const path = join(dataDir, "token");
  const token = `stint_${randomBytes(TOKEN_BYTES).toString("base64url")}`;
  try {
    await writeFile(path, token, { mode: 0o600, flag: "wx" });
    return token;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return (await readFile(path, "utf8")).trim();
  }
}
