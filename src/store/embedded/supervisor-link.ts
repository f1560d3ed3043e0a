import { connect, type Socket } from "node:net";
import { StintError } from "../../core/error.ts";
import { type DataFolder, readErrno } from "./data-folder.ts";
import {
  decodeFailure,
  type FailedMessage,
  PROTOCOL_VERSION,
  readMessages,
  type ReadyMessage,
  sendMessage,
} from "./protocol.ts";
import { openSocketAddress } from "./socket-address.ts";

/** After the greeting a step may be the recovery after a crash. */
const STEP_TIMEOUT_MS = 150_000;

/** Our hold on a supervisor whose Postgres accepts connections. */
export interface SupervisorLink {
  readonly ready: ReadyMessage;
  /** True once the hold is gone, by `close` or with the supervisor. */
  readonly isClosed: () => boolean;
  /** Calls the listener once when the supervisor or its URL is gone; never after `close`. */
  onLost(listener: () => void): void;
  /** Gives up the hold. Idempotent. */
  close(): Promise<void>;
}

/** How to talk to the supervisor. */
export interface LinkOptions {
  readonly stopDelayMs: number;
  readonly greetingTimeoutMs: number;
  readonly onProgress: (step: string) => void;
}

/**
 * Connects to the folder's supervisor and waits until Postgres is ready. Returns undefined when
 * nobody serves the folder, or who did ended meanwhile: start one, then try again.
 * @throws what kept the supervisor from starting Postgres
 */
export async function openSupervisorLink(
  folder: DataFolder,
  options: LinkOptions,
): Promise<SupervisorLink | undefined> {
  const socket = await connectToSupervisor(folder);
  if (socket === undefined) return undefined;
  try {
    const ready = await waitUntilReady(socket, options);
    return ready && describeLink(socket, ready);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function connectToSupervisor(folder: DataFolder): Promise<Socket | undefined> {
  const address = openSocketAddress(folder);
  const socket = connect(address.path);
  return new Promise<Socket | undefined>((resolve, reject) => {
    socket.once("connect", () => {
      socket.on("error", () => {
        // The `close` that follows is what counts.
      });
      resolve(socket);
    });
    socket.once("error", (error) => {
      if (!["EACCES", "EPERM"].includes(readErrno(error) ?? "")) return resolve(undefined);
      const message = `Another user's processes use the data folder ${folder.root}`;
      reject(new StintError("data_dir_unusable", message, { cause: error }));
    });
  }).finally(() => address.close());
}

function waitUntilReady(socket: Socket, options: LinkOptions): Promise<ReadyMessage | undefined> {
  return new Promise((resolve, reject) => {
    const expectMessage = (withinMs: number) =>
      setTimeout(() => reject(describeSilence()), withinMs);
    let timer = expectMessage(options.greetingTimeoutMs);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(undefined);
    });
    let ready: ReadyMessage | undefined;
    readMessages(socket, (message) => {
      clearTimeout(timer);
      if (message.kind === "failed") reject(decodeFailure(message as FailedMessage));
      if (message.kind === "progress" && ready === undefined) {
        timer = expectMessage(STEP_TIMEOUT_MS);
        options.onProgress(readStep(message));
      }
      if (message.kind !== "ready") return;
      const { port, protocol } = message as ReadyMessage;
      if (protocol !== PROTOCOL_VERSION) return reject(describeOtherVersion());
      // Postgres came back elsewhere: our URL is dead though the supervisor lives.
      if (ready !== undefined && ready.port !== port) return void socket.destroy();
      ready = message as ReadyMessage;
      resolve(ready);
    });
    sendMessage(socket, { kind: "hello", stopDelayMs: options.stopDelayMs });
  });
}

function readStep(message: object): string {
  return "step" in message ? String(message.step).slice(0, 200) : "";
}

function describeSilence(): StintError {
  return new StintError("database_unavailable", "The supervisor of Postgres does not answer");
}

function describeOtherVersion(): StintError {
  return new StintError("database_unavailable", "Another version of stint runs this database", {
    remedy: "Stop the other stint processes of this data folder, then try again.",
  });
}

function describeLink(socket: Socket, ready: ReadyMessage): SupervisorLink {
  const listeners: (() => void)[] = [];
  let isReleased = false;
  const closed = new Promise<void>((resolve) => {
    if (socket.closed) resolve();
    socket.once("close", resolve);
  });
  socket.once("close", () => {
    if (!isReleased) for (const listener of listeners.splice(0)) listener();
  });
  // A forgotten hold does not keep the process alive; its end gives it up.
  socket.unref();
  return {
    ready,
    isClosed: () => socket.closed,
    onLost: (listener) => {
      if (isReleased) return;
      if (socket.closed) queueMicrotask(listener);
      else listeners.push(listener);
    },
    close: () => {
      isReleased = true;
      socket.ref();
      socket.destroy();
      return closed;
    },
  };
}
