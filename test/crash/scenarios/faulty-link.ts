import type { Socket } from "node:net";
import {
  type BackendPool,
  findGreetingEnd,
  readBackendPid,
  splitGoodbye,
  type StartupKey,
} from "./backend-pool.ts";
import { LinkSocket } from "./link-socket.ts";

/** Towards Postgres, or back. */
export type Direction = "up" | "down";

/** Where in the traffic of a process something happens, counted over all its connections. */
export interface TrafficPoint {
  readonly direction: Direction;
  /** The chunk that carries this byte is the one. */
  readonly atByte: number;
  /** How much of that chunk still passes: nothing of it, or what comes before the byte. */
  readonly passes: "none" | "part";
}

/** A connection through the link. */
export interface LinkedConnection {
  /** Loses what is under way, both ways. */
  cut(): void;
  /** From now on nothing passes, until it is released. */
  hold(): void;
  release(): void;
  /** Of the process of Postgres behind it; null before it has said so. */
  readonly backendPid: number | null;
}

interface Trigger extends TrafficPoint {
  readonly act: (connection: LinkedConnection) => void;
}

/** What all connections of one process to Postgres pass through. */
export class FaultyLink {
  readonly #pool: BackendPool;
  readonly #connections = new Set<Connection>();
  readonly #bytes = { up: 0, down: 0 };
  #triggers: Trigger[] = [];
  #isHeld = false;
  #isClosed = false;

  constructor(pool: BackendPool) {
    this.#pool = pool;
  }

  /** The client's end of a new connection, which is made when the client connects it. */
  createSocket(): LinkSocket {
    return new LinkSocket((client) => this.#join(client));
  }

  /** Calls `act` once, as soon as the traffic has come to the point. */
  plan(point: TrafficPoint, act: (connection: LinkedConnection) => void): void {
    this.#triggers.push({ ...point, act });
  }

  /** Nothing happens from now on; what is held goes on. */
  heal(): void {
    this.#triggers = [];
    this.release();
  }

  /** Holds every connection, new ones too. */
  hold(): void {
    this.#isHeld = true;
    for (const connection of this.#connections) connection.hold();
  }

  release(): void {
    this.#isHeld = false;
    for (const connection of this.#connections) connection.release();
  }

  /** Destroys every socket: the process is dead. */
  close(): void {
    this.#isClosed = true;
    this.#triggers = [];
    for (const connection of this.#connections) connection.cut();
  }

  #join(client: LinkSocket): void {
    if (this.#isClosed) {
      client.destroy();
      return;
    }
    const onBytes: Meet = (direction, bytes) => this.#meet(direction, bytes);
    const onGone = (): void => void this.#connections.delete(connection);
    const connection = new Connection({ client, pool: this.#pool, onBytes, onGone });
    this.#connections.add(connection);
    if (this.#isHeld) connection.hold();
  }

  /** The trigger that lies in the bytes that come now, and how many of them come before it. */
  #meet(direction: Direction, bytes: number): { trigger: Trigger; before: number } | null {
    const from = this.#bytes[direction];
    this.#bytes[direction] += bytes;
    const place = this.#triggers.findIndex(
      (one) => one.direction === direction && one.atByte <= from + bytes,
    );
    const [trigger] = place < 0 ? [] : this.#triggers.splice(place, 1);
    return trigger ? { trigger, before: Math.max(0, trigger.atByte - from - 1) } : null;
  }
}

type Meet = (direction: Direction, bytes: number) => { trigger: Trigger; before: number } | null;

interface ConnectionOptions {
  readonly client: LinkSocket;
  readonly pool: BackendPool;
  readonly onBytes: Meet;
  readonly onGone: () => void;
}

class Connection implements LinkedConnection {
  readonly #client: LinkSocket;
  readonly #pool: BackendPool;
  readonly #onGone: () => void;
  readonly #held: { readonly direction: Direction; readonly chunk: Buffer }[] = [];
  #upstream: Socket | null = null;
  #key: StartupKey | null = null;
  #greeting: Buffer | null = null;
  #loginBytes = Buffer.alloc(0);
  /** Something was cut off in the middle of a message: nobody else can use this backend. */
  #isTorn = false;
  #isHeld = false;
  #isCut = false;

  constructor({ client, pool, onBytes, onGone }: ConnectionOptions) {
    this.#client = client;
    this.#pool = pool;
    this.#onGone = onGone;
    client.onSent((chunk) => this.#take("up", chunk, onBytes));
    client.on("error", () => this.cut());
    client.on("close", () => this.cut());
    this.#meet = onBytes;
  }

  readonly #meet: Meet;

  get backendPid(): number | null {
    return this.#greeting && readBackendPid(this.#greeting);
  }

  cut(): void {
    if (this.#isCut) return;
    this.#isCut = true;
    this.#client.destroy();
    this.#onGone();
    const [socket, key, greeting] = [this.#upstream, this.#key, this.#greeting];
    if (socket === null) return;
    const isReusable = key !== null && greeting !== null && !this.#isTorn && !socket.destroyed;
    if (isReusable) this.#pool.give(key, { socket, greeting });
    else socket.destroy();
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    for (const { direction, chunk } of this.#held.splice(0)) this.#pass(direction, chunk);
  }

  #take(direction: Direction, chunk: Buffer, onBytes: Meet): void {
    const met = onBytes(direction, chunk.length);
    if (met === null) {
      this.#pass(direction, chunk);
      return;
    }
    const { trigger, before } = met;
    const end = trigger.passes === "none" ? 0 : before;
    this.#pass(direction, chunk.subarray(0, end));
    if (direction === "up" && end > 0) this.#isTorn = true;
    trigger.act(this);
    // Where it was not cut, the rest waits with it or goes on.
    this.#pass(direction, chunk.subarray(end));
    this.#isTorn = false;
  }

  #pass(direction: Direction, chunk: Buffer): void {
    if (chunk.length === 0 || this.#isCut) return;
    if (this.#isHeld) this.#held.push({ direction, chunk });
    else if (direction === "down") this.#client.deliver(chunk);
    else this.#send(chunk);
  }

  #send(chunk: Buffer): void {
    if (this.#upstream === null) {
      this.#logIn(chunk);
      return;
    }
    const { rest, isGoodbye } = splitGoodbye(chunk);
    if (rest.length > 0) this.#upstream.write(rest);
    if (isGoodbye) this.cut();
  }

  /** The startup packet comes first, alone: its answer is awaited before anything else is sent. */
  #logIn(startup: Buffer): void {
    const key = startup.toString("latin1");
    const known = this.#pool.take(key);
    const socket = known?.socket ?? this.#pool.open();
    this.#upstream = socket;
    this.#key = key;
    this.#greeting = known?.greeting ?? null;
    socket.once("close", () => this.cut());
    socket.on("data", (chunk: Buffer) => {
      if (this.#isCut) return;
      if (this.#greeting === null) this.#noteLogin(chunk);
      this.#take("down", chunk, this.#meet);
    });
    // A copy: the client's parser moves bytes about in what it is given.
    if (known) this.#take("down", Buffer.from(known.greeting), this.#meet);
    else socket.write(startup);
  }

  #noteLogin(chunk: Buffer): void {
    this.#loginBytes = Buffer.concat([this.#loginBytes, chunk]);
    const end = findGreetingEnd(this.#loginBytes);
    if (end !== null) this.#greeting = this.#loginBytes.subarray(0, end);
  }
}
