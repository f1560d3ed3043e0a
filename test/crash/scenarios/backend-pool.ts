import { connect, type Socket } from "node:net";

const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4]);
const QUERY = "Q".charCodeAt(0);
const DISCARD = frame(QUERY, "unlisten *; deallocate all\0");
const RESET_MS_MAX = 2_000;

function frame(type: number, body: string): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.writeUInt8(type);
  head.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}

/** A connection to Postgres that is logged in, and what Postgres said to that. */
export interface Backend {
  readonly socket: Socket;
  readonly greeting: Buffer;
}

/** What a client says first decides who may use its backend later: the whole startup packet. */
export type StartupKey = string;

/**
 * Keeps backends whose client is gone for the next one, as a pooler does: forking and warming up a
 * backend costs ten times as much as what a short life asks of it. What a client had sent by its
 * end is carried out all the same, as it would be by a backend of its own. One in which something
 * was cut off in the middle, or that does not answer, is not used again.
 */
export class BackendPool {
  readonly #socketPath: string;
  readonly #idle = new Map<StartupKey, Backend[]>();
  readonly #all = new Set<Socket>();

  /** @param socketPath where Postgres listens */
  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  open(): Socket {
    const socket = connect({ path: this.#socketPath });
    this.#all.add(socket);
    socket.on("error", () => undefined); // The close that follows is what counts.
    this.#own(socket);
    return socket;
  }

  /** Nobody but this pool listens to it. */
  #own(socket: Socket): void {
    socket.removeAllListeners("data");
    socket.removeAllListeners("close");
    socket.on("close", () => this.#all.delete(socket));
  }

  take(key: StartupKey): Backend | null {
    const idle = this.#idle.get(key) ?? [];
    for (;;) {
      const backend = idle.pop();
      if (backend === undefined) return null;
      if (backend.socket.destroyed) continue;
      this.#own(backend.socket);
      return backend;
    }
  }

  /** Takes a backend back, when it has done what it was asked for. */
  give(key: StartupKey, backend: Backend): void {
    const { socket } = backend;
    this.#own(socket);
    const timer = setTimeout(() => socket.destroy(), RESET_MS_MAX);
    let tail = Buffer.alloc(0);
    socket.once("close", () => clearTimeout(timer));
    socket.on("data", (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk]).subarray(-128);
      // CommandComplete of our own statement, then ReadyForQuery outside of any transaction.
      const place = tail.indexOf("DEALLOCATE ALL\0Z\0\0\0\u0005I");
      if (place < 0) return;
      clearTimeout(timer);
      const idle = this.#idle.get(key) ?? [];
      this.#idle.set(key, [...idle, backend]);
    });
    socket.write(DISCARD);
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }
}

/** Whether a chunk says goodbye, and what comes before that. */
export function splitGoodbye(chunk: Buffer): { rest: Buffer; isGoodbye: boolean } {
  const isGoodbye = chunk.subarray(-TERMINATE.length).equals(TERMINATE);
  return { rest: isGoodbye ? chunk.subarray(0, -TERMINATE.length) : chunk, isGoodbye };
}

/** Where the greeting of a login ends: after the first ReadyForQuery. Null: more is to come. */
export function findGreetingEnd(bytes: Buffer): number | null {
  return findMessage(bytes, "Z")?.end ?? null;
}

/** The process that a greeting comes from, by its BackendKeyData. */
export function readBackendPid(greeting: Buffer): number | null {
  const message = findMessage(greeting, "K");
  return message && greeting.readInt32BE(message.start + 5);
}

/** The first whole message of a type. */
function findMessage(bytes: Buffer, wanted: string): { start: number; end: number } | null {
  let start = 0;
  while (start + 5 <= bytes.length) {
    const end = start + 1 + bytes.readInt32BE(start + 1);
    if (end > bytes.length) return null;
    if (bytes.readUInt8(start) === wanted.charCodeAt(0)) return { start, end };
    start = end;
  }
  return null;
}
