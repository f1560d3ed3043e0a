import type { Readable } from "node:stream";
import type { AttemptContext } from "../../core/attempt.ts";
import type { NewEvent } from "../../core/event.ts";
import { LineReader, type PrintedLine } from "../output/line-reader.ts";
import type { OutputLog } from "../output/output-log.ts";
import { Pace } from "../output/pace.ts";
import { parseTold, showTold, type Told } from "./told-event.ts";

/** Longest line that can be something told; a longer one is left out, and that is said. */
const LINE_BYTES_MAX = 1_048_576;
/** Things told by one program; the rest is output. */
const TOLD_MAX = 10_000;
/** Things told that are written together; each write costs all sessions a flush. */
const TOLD_AT_ONCE = 50;
const TOLD_BURST = 500;
const TOLD_PER_SECOND = 500;

/** What a program has said of its end. */
export interface ToldEnd {
  readonly text: string;
  readonly isError: boolean;
}

/** Reads a stream to its end as output, no faster than the log takes it. */
export async function logOutput(
  context: Pick<AttemptContext, "recordActivity">,
  stream: Readable,
  field: "output" | "error",
  log: OutputLog,
): Promise<void> {
  for await (const bytes of stream) {
    context.recordActivity();
    await log.write(field, bytes as Uint8Array);
  }
}

/** Reads the stdout of a program that tells events; what is none of them is output. */
export class ToldOutput {
  readonly #context: Pick<AttemptContext, "recordActivity" | "emit" | "clock" | "signal">;
  readonly #log: OutputLog;
  readonly #iteration: number;
  readonly #pace: Pace;
  /** Read, and not written yet. */
  readonly #told: NewEvent[] = [];
  #count = 0;
  #last: ToldEnd | null = null;
  #result: ToldEnd | null = null;

  constructor(
    context: Pick<AttemptContext, "recordActivity" | "emit" | "clock" | "signal">,
    log: OutputLog,
    iteration: number,
  ) {
    this.#context = context;
    this.#log = log;
    this.#iteration = iteration;
    const { clock } = context;
    this.#pace = new Pace({ clock, burst: TOLD_BURST, perSecond: TOLD_PER_SECOND });
  }

  /** The result, or else what was said last. */
  get end(): ToldEnd | null {
    return this.#result ?? this.#last;
  }

  async read(stdout: Readable): Promise<void> {
    const lines = new LineReader(LINE_BYTES_MAX);
    for await (const bytes of stdout) {
      this.#context.recordActivity();
      for (const line of lines.take(bytes as Uint8Array)) await this.#take(line);
      await this.#write();
    }
    const rest = lines.takeRest();
    if (rest !== null) await this.#take(rest);
    await this.#write();
  }

  async #take(line: PrintedLine): Promise<void> {
    if ("tooLongBytes" in line) {
      const note = `[a line of ${line.tooLongBytes} bytes is left out here]\n`;
      await this.#log.write("output", Buffer.from(note));
      return;
    }
    const told = this.#count < TOLD_MAX ? parseTold(line.bytes.toString("utf8").trim()) : null;
    if (told === null) await this.#log.write("output", Buffer.concat([line.bytes, LINE_END]));
    else this.#show(told);
    if (this.#told.length >= TOLD_AT_ONCE) await this.#write();
  }

  /** Writes what was told; resolves when more may be read. */
  async #write(): Promise<void> {
    const events = this.#told.splice(0);
    if (events.length === 0) return;
    await this.#context.emit(...events);
    await this.#pace.take(events.length, this.#context.signal);
  }

  #show(told: Told): void {
    this.#count += 1;
    if (told.type === "result") {
      this.#result = { text: told.text, isError: told.isError ?? false };
    } else if (told.type === "text") this.#last = { text: told.text, isError: false };
    const event = showTold(told, this.#iteration, this.#context.clock.newId());
    if (event !== null) this.#told.push(event);
  }
}

const LINE_END = Buffer.from("\n");
