import { randomUUID } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { StintError } from "../core/error.ts";

/** How clients on this machine find the server of a data folder. */
export interface ServerFile {
  readonly url: string;
  readonly token: string;
  /** Process of the server. */
  readonly pid: number;
}

/** Path of the file: `server.json` in the data folder. */
export function serverFilePath(dataDir: string): string {
  return join(dataDir, "server.json");
}

/**
 * Writes the file whole or not at all, readable by this user only: it holds the token.
 * @throws {data_dir_unusable}
 */
export async function writeServerFile(dataDir: string, server: ServerFile): Promise<void> {
  const path = serverFilePath(dataDir);
  const draft = `${path}.${process.pid}-${randomUUID()}`;
  try {
    const file = await open(draft, "wx", 0o600);
    try {
      const { url, token, pid } = server;
      await file.writeFile(`${JSON.stringify({ url, token, pid })}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (cause) {
    await rm(draft, { force: true });
    throw new StintError("data_dir_unusable", `cannot write ${path}: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** Reads the file; null when there is none. @throws {data_dir_unusable} when it cannot be read. */
export async function readServerFile(dataDir: string): Promise<ServerFile | null> {
  const path = serverFilePath(dataDir);
  try {
    const { url, token, pid } = JSON.parse(await readFile(path, "utf8")) as Partial<ServerFile>;
    if (typeof url !== "string" || typeof token !== "string" || !Number.isInteger(pid)) {
      throw new Error("it holds no url, token and pid");
    }
    return { url, token, pid: pid as number };
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw new StintError("data_dir_unusable", `cannot read ${path}: ${messageOf(cause)}`, {
      cause,
      remedy: "Start the server again with `stint dev`, which writes the file anew.",
    });
  }
}

/** Removes the file if it still names this server; a later server's file stays. */
export async function removeServerFile(dataDir: string, server: ServerFile): Promise<void> {
  const found = await readServerFile(dataDir).catch(() => null); // unreadable: not ours to judge
  if (found?.pid !== server.pid || found.url !== server.url) return;
  await rm(serverFilePath(dataDir), { force: true });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
