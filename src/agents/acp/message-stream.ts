import type { Readable, Writable } from "node:stream";
import type { AnyMessage, Stream } from "@agentclientprotocol/sdk";
import { StintError } from "../../core/error.ts";
import type { JsonObject } from "../../core/json.ts";
import { asObject, readField, readText } from "../json-fields.ts";
import { delay, type Clock } from "../../core/clock.ts";
import { LineReader } from "../output/line-reader.ts";
import { Pace } from "../output/pace.ts";

/** What a MessageStream works with. */
export interface MessageStreamOptions {
  readonly stdout: Readable;
  readonly stdin: Writable;
  /** Handles a notification; nothing more is read until it resolves. */
  readonly onNotification: (method: string, params: JsonObject) => Promise<void>;
  /** Told of each line that is no message. */
  readonly onGarbage: (line: string) => void;
  readonly clock: Clock;
}

/** Largest message; one with a larger line breaks the protocol. */
const LINE_BYTES_MAX = 33_554_432;
/** What an agent may print beside the protocol: libraries like to greet. */
const GARBAGE_LINES_MAX = 1_000;
const GARBAGE_BYTES_MAX = 1_048_576;
const GARBAGE_CHARS_SHOWN = 200;
const GARBAGE_CHARS_KEPT = 1_000;
/** Requests of the agent that may wait for an answer at a time. */
const REQUESTS_MAX = 64;
const ID_CHARS_MAX = 200;
/** A replay of a long session comes at once; beyond that no agent has so much to say. */
const LINES_BURST = 20_000;
const LINES_PER_SECOND = 5_000;
/** A line that is longer counts as several. */
const LINE_BYTES = 8_192;
/** Lines that are read before others in this process have their turn. */
const LINES_AT_ONCE = 64;
const TOO_MANY_CODE = -32_000;

/**
 * The wire: one JSON-RPC message a line. Stands between an agent's pipes and the SDK, which would
 * take in whatever comes as fast as it comes: here notifications are handled one after the other,
 * before the answers that follow them, and the agent is read no faster than that. Only what the SDK
 * can answer reaches it.
 */
export class MessageStream {
  readonly #options: MessageStreamOptions;
  /** Ids of our requests that have no answer yet, and of the agent's. */
  readonly #asked = new Set<unknown>();
  readonly #toAnswer = new Set<unknown>();
  #controller: ReadableStreamDefaultController<AnyMessage> | null = null;
  #garbageLines = 0;
  #garbageBytes = 0;
  #lastGarbage = "";

  /** What the SDK connects to. */
  readonly stream: Stream;

  constructor(options: MessageStreamOptions) {
    this.#options = options;
    this.stream = {
      readable: new ReadableStream<AnyMessage>({
        start: (controller) => {
          this.#controller = controller;
        },
      }),
      writable: new WritableStream<AnyMessage>({ write: (message) => this.#send(message) }),
    };
  }

  /**
   * Reads to the end of the agent's output; resolves when all of it is handled.
   * @throws {agent_protocol_error} when there is more beside the protocol than can be a greeting,
   * and what handling a notification throws.
   */
  async read(): Promise<void> {
    const { stdout, clock } = this.#options;
    const lines = new LineReader(LINE_BYTES_MAX);
    const pace = new Pace({ clock, burst: LINES_BURST, perSecond: LINES_PER_SECOND });
    for await (const piece of stdout) {
      let count = 0;
      for (const line of lines.take(piece as Uint8Array)) {
        if ("tooLongBytes" in line) throw refuseLine(line.tooLongBytes);
        await this.#handle(line.bytes);
        await pace.take(Math.max(1, line.bytes.length / LINE_BYTES));
        if (++count % LINES_AT_ONCE === 0) await delay(clock, 0);
      }
    }
    const rest = lines.takeRest();
    if (rest !== null && "bytes" in rest) await this.#handle(rest.bytes);
  }

  /** The end of what was printed beside the protocol; some say there why they cannot work. */
  get garbage(): string {
    return this.#lastGarbage.trim();
  }

  /** Ends what the SDK reads. */
  close(): void {
    const controller = this.#controller;
    this.#controller = null;
    try {
      controller?.close();
    } catch {
      // It was cancelled by the SDK's own end.
    }
  }

  async #handle(line: Buffer): Promise<void> {
    const text = line.toString("utf8").trim();
    if (text === "") return;
    const message = parseMessage(text);
    const method = readText(message, "method");
    const id = readField(message, "id");
    if (message === null || (method === null && id === undefined)) this.#countGarbage(text);
    else if (method === null) this.#handleAnswer(message, text);
    else if (id === undefined) {
      await this.#options.onNotification(method, asObject(message["params"]) ?? {});
    } else this.#handleRequest(message, id);
  }

  /** An answer to nothing is noise: a second one, or one to another client. */
  #handleAnswer(message: JsonObject, text: string): void {
    if (this.#asked.delete(message["id"])) this.#forward(message);
    else this.#countGarbage(text);
  }

  #handleRequest(message: JsonObject, id: unknown): void {
    const isId = typeof id === "number" || (typeof id === "string" && id.length <= ID_CHARS_MAX);
    if (!isId || this.#toAnswer.has(id)) {
      this.#countGarbage(JSON.stringify(message).slice(0, GARBAGE_CHARS_SHOWN));
      return;
    }
    if (this.#toAnswer.size >= REQUESTS_MAX) {
      const error = { code: TOO_MANY_CODE, message: `more than ${REQUESTS_MAX} requests wait` };
      this.#write({ jsonrpc: "2.0", id, error });
      return;
    }
    this.#toAnswer.add(id);
    this.#forward(message);
  }

  #forward(message: JsonObject): void {
    this.#controller?.enqueue(message as unknown as AnyMessage);
  }

  #countGarbage(line: string): void {
    this.#garbageLines += 1;
    this.#garbageBytes += line.length;
    this.#lastGarbage = `${this.#lastGarbage}\n${line}`.slice(-GARBAGE_CHARS_KEPT);
    this.#options.onGarbage(line.slice(0, GARBAGE_CHARS_SHOWN));
    if (this.#garbageLines <= GARBAGE_LINES_MAX && this.#garbageBytes <= GARBAGE_BYTES_MAX) return;
    const size = `${this.#garbageLines} lines, ${this.#garbageBytes} characters`;
    throw new StintError(
      "agent_protocol_error",
      `The agent prints to its stdout what is no message of the protocol (${size}).`,
    );
  }

  async #send(message: AnyMessage): Promise<void> {
    const { id, method } = message as { id?: unknown; method?: unknown };
    if (method === undefined) this.#toAnswer.delete(id);
    else if (id !== undefined) this.#asked.add(id);
    const isTaken = this.#write(message);
    const { stdin } = this.#options;
    if (isTaken || stdin.destroyed) return;
    await new Promise<void>((resolve) => {
      stdin.once("drain", resolve);
      stdin.once("close", resolve);
      stdin.once("error", () => resolve());
    });
  }

  /** False when the pipe is full. A pipe that is closed takes everything: the exit tells. */
  #write(message: object): boolean {
    const { stdin } = this.#options;
    return stdin.destroyed || stdin.writableEnded || stdin.write(`${JSON.stringify(message)}\n`);
  }
}

function parseMessage(text: string): JsonObject | null {
  try {
    const message = asObject(JSON.parse(text));
    return readText(message, "jsonrpc") === "2.0" ? message : null;
  } catch {
    return null; // no JSON, or nested deeper than the engine reads
  }
}

function refuseLine(bytes: number): StintError {
  return new StintError(
    "agent_protocol_error",
    `The agent sent a line of ${bytes} bytes; the longest that is taken has ${LINE_BYTES_MAX}.`,
  );
}
