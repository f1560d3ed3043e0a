import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import type { DataFolder } from "./data-folder.ts";

/**
 * A free port of 127.0.0.1: the one in use last, so that a restart changes nobody's URL, else any.
 * Somebody may take it before Postgres does; then ask again with `keepLast` false.
 */
export async function chooseFreePort(folder: DataFolder, keepLast: boolean): Promise<number> {
  const last = keepLast ? readLastPort(folder) : undefined;
  return (last !== undefined && (await tryPort(last))) || requirePort(await tryPort(0));
}

function readLastPort({ portFile }: DataFolder): number | undefined {
  try {
    const port = Number(readFileSync(portFile, "utf8"));
    return Number.isInteger(port) && port >= 1024 && port <= 65_535 ? port : undefined;
  } catch {
    return undefined; // A preference only: without it any port will do.
  }
}

function requirePort(port: number | undefined): number {
  if (port === undefined) throw new Error("No free port on 127.0.0.1");
  return port;
}

function tryPort(port: number): Promise<number | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(undefined));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === "object" ? address?.port : undefined;
      server.close(() => resolve(bound));
    });
  });
}
