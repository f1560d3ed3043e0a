import { unlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import {
  createMissingPassword,
  type DataFolder,
  describeDataFolder,
  readErrno,
} from "./data-folder.ts";
import type { SandboxProbe } from "./sandbox-probe.ts";
import { openSocketAddress } from "./socket-address.ts";
import { Supervision } from "./supervision.ts";
import { type SupervisorLock, takeSupervisorLock } from "./supervisor-lock.ts";

/** A supervisor that is ending lets go of the lock within the time that Postgres needs to stop. */
const LOCK_PATIENCE_MS = 75_000;
const LOCK_RETRY_MS = 30;
const HOLDERS_MAX = 1_000;

/** What the one argument of this program holds, as JSON. */
export interface SupervisorArgument {
  readonly dataDir: string;
  readonly stopDelayMs: number;
  readonly probe: Partial<SandboxProbe>;
}

/**
 * The supervisor's program: one process per data folder, apart from the process that started it.
 * It ends at once when the folder has a supervisor, and otherwise when nobody holds it any more.
 */
async function main(argument: SupervisorArgument): Promise<number> {
  process.title = "stint: supervisor";
  process.umask(0o077);
  const folder = describeDataFolder(argument.dataDir);
  const isPasswordNew = createMissingPassword(folder);
  process.on("SIGHUP", () => {
    // The terminal of whoever started us is none of our business.
  });
  if ((await waitForLock(folder)) === undefined) return 0;
  const server = createServer();
  server.maxConnections = HOLDERS_MAX;
  await listenAlone(server, folder);
  const supervision = new Supervision({ ...argument, folder, isPasswordNew, log });
  server.on("connection", (socket) => supervision.addHolder(socket));
  process.on("SIGINT", () => supervision.end());
  process.on("SIGTERM", () => supervision.end());
  process.on("exit", () => supervision.signalPostmaster());
  const exitCode = await supervision.ended;
  server.close();
  return exitCode;
}

/** Returns the lock, or undefined when another supervisor serves the folder. */
async function waitForLock(folder: DataFolder): Promise<SupervisorLock | undefined> {
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  while (!(await isServed(folder))) {
    const lock = await takeSupervisorLock(folder);
    if (lock !== undefined) {
      // Asked again: it may have begun to serve between the two. A folder shared between
      // containers is served by one whose lock cannot be seen here.
      if (!(await isServed(folder))) return lock;
      lock.release();
      return undefined;
    }
    if (performance.now() > deadline) throw new Error("Another process keeps the lock");
    await delay(LOCK_RETRY_MS);
  }
  return undefined;
}

/** Whether somebody accepts connections for this folder. */
function isServed(folder: DataFolder): Promise<boolean> {
  const address = openSocketAddress(folder);
  return new Promise((resolve) => {
    const socket = connect(address.path);
    const settle = (answer: boolean): void => {
      socket.destroy();
      address.close();
      resolve(answer);
    };
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
  });
}

/** Listens on the folder's socket. Only the holder of the lock may remove an old one. */
async function listenAlone(server: Server, folder: DataFolder): Promise<void> {
  // Never closed: Node removes the socket by this path when the server closes.
  const { path } = openSocketAddress(folder);
  try {
    unlinkSync(path);
  } catch (error) {
    if (readErrno(error) !== "ENOENT") throw error;
  }
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
}

function log(message: string): void {
  process.stdout.write(`${new Date().toISOString()} [${process.pid}] ${message}\n`);
}

try {
  process.exit(await main(JSON.parse(process.argv[2] ?? "{}") as SupervisorArgument));
} catch (error) {
  log(`failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  process.exit(1);
}
