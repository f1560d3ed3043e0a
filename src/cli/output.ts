import { styleText } from "node:util";
import type { SessionEvent } from "../client.ts";
import { COMMANDS } from "./command-table.ts";
import { formatDuration } from "./duration.ts";
import { toCliProblem, type CliProblem } from "./problem.ts";
import { EventRenderer } from "./render-event.ts";
import { toSafeLine, toSafeText } from "./terminal-safe.ts";

/** The styles in use; names of node:util. */
export type Style = Parameters<typeof styleText>[0];

/** Where text goes: process.stdout, or a test's list. */
export interface Sink {
  write(text: string): unknown;
}

/** How to write. */
export interface OutputOptions {
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** One JSON document for reads, one JSON line per event for streams and services. */
  readonly json: boolean;
  readonly quiet: boolean;
  readonly color: boolean;
  /** Columns of the terminal; null when stdout is none. */
  readonly columns: number | null;
  /** False leaves out `step` and `event` in JSON. @default true */
  readonly events?: boolean;
  /** How the person calls this program. @default "stint" */
  readonly program?: string;
}

/** Where a text names one of our commands. */
const OWN_COMMAND = new RegExp(
  `\\bstint (?=(?:${COMMANDS.map(({ name }) => name).join("|")}|--help)(?![\\w-]))`,
  "g",
);

/**
 * Everything the command line says. For people: lines. With `--json`, and for services whose stdout
 * is no terminal: JSON. Results go to stdout; errors and notices to stderr.
 */
export class Output {
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly hasColor: boolean;
  /** Columns of the terminal; null when stdout is none. */
  readonly columns: number | null;
  readonly #options: OutputOptions;
  readonly #stdout: Sink;
  readonly #stderr: Sink;
  readonly #hasEvents: boolean;
  #renderer: EventRenderer | null = null;
  #showsProgress = false;

  constructor(options: OutputOptions) {
    this.isJson = options.json;
    this.isQuiet = options.quiet;
    this.hasColor = options.color;
    this.columns = options.columns;
    this.#options = options;
    this.#hasEvents = options.events ?? true;
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
  }

  /** The same for a read: its document is all that stands on stdout in JSON. */
  withoutEvents(): Output {
    return new Output({ ...this.#options, events: false });
  }

  /** A hint of ours as the person can type it: `stint ls` may become `npx stint ls`. */
  hint(text: string): string {
    return text.replaceAll(OWN_COMMAND, `${this.#options.program ?? "stint"} `);
  }

  /** Whether a person watches the results. */
  get isTerminal(): boolean {
    return this.columns !== null && !this.isJson;
  }

  /**
   * Something of a service is ready: `✓ database  embedded  0.4s`.
   * In JSON: `{"msg":"step","step":…,"detail":…,"ms":…}`.
   */
  step(name: string, detail: string, ms?: number): void {
    if (this.isJson) {
      this.event("step", { step: name, detail, ...(ms === undefined ? {} : { ms }) });
    } else if (!this.isQuiet) {
      const took = ms === undefined ? "" : `  ${this.style("dim", formatDuration(ms))}`;
      const mark = this.style("green", "✓");
      this.#writeLine(`  ${mark} ${toSafeLine(name).padEnd(10)} ${toSafeLine(detail)}${took}`);
    }
  }

  /** What is under way; on a terminal the next line takes its place. */
  progress(step: string): void {
    this.event("progress", { step });
    if (!this.isTerminal || this.isQuiet) return;
    this.#clearProgress();
    this.#stdout.write(`  ${this.style("dim", `… ${toSafeLine(step)}`)}`);
    this.#showsProgress = true;
  }

  /** A fact for machines: one JSON line. People are not shown it; say what they need by `step` or `line`. */
  event(msg: string, fields: Readonly<Record<string, unknown>> = {}): void {
    if (this.isJson && this.#hasEvents) this.#writeJson({ msg, ...fields });
  }

  /** A line for people; nothing in JSON. The text is the caller's own: it is not made safe. */
  line(text = ""): void {
    if (!this.isJson && !this.isQuiet) this.#writeLine(text);
  }

  /** A result that `-q` keeps, for people; nothing in JSON. Not made safe. */
  result(text: string): void {
    if (!this.isJson) this.#writeLine(text);
  }

  /** The one document of a read; nothing without `--json`. */
  document(value: unknown): void {
    if (this.isJson) this.#stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  }

  /** An event of a session's log: rendered for people, in JSON one line as the server sent it. */
  sessionEvent(event: SessionEvent): void {
    if (this.isJson) {
      this.#writeJson(event);
      return;
    }
    this.#renderer ??= new EventRenderer({
      style: this.style,
      color: this.hasColor,
      ...(this.columns === null ? {} : { columns: this.columns }),
    });
    for (const line of this.#renderer.render(event)) this.#writeLine(line);
  }

  /** A remark beside the results, on stderr; none in JSON or when quiet. Made safe. */
  notice(text: string): void {
    if (!this.isJson && !this.isQuiet) this.#stderr.write(`${toSafeText(text)}\n`);
  }

  /** An error: what and why, its code, what to do next. In JSON the problem object on stderr. */
  error(thrown: unknown): CliProblem {
    const problem = toCliProblem(thrown);
    if (this.isJson) {
      this.#stderr.write(`${JSON.stringify(problem)}\n`);
      return problem;
    }
    this.#clearProgress();
    const mark = this.style("red", "✕");
    const [what = "", ...more] = toSafeText(problem.detail).trimEnd().split("\n");
    const code = this.style("dim", `(${toSafeLine(problem.code)})`);
    this.#stderr.write(`${[`${mark} ${what} ${code}`, ...more].join("\n  ")}\n`);
    if (problem.remedy !== "") {
      this.#stderr.write(`  next: ${toSafeLine(this.hint(problem.remedy))}\n`);
    }
    return problem;
  }

  /** Colours text where colour is wanted. */
  readonly style = (style: Style, text: string): string =>
    this.hasColor ? styleText(style, text, { validateStream: false }) : text;

  /** Text as it is, without an end of line: prompts, and what redraws a screen. */
  raw(text: string): void {
    this.#stdout.write(text);
  }

  #clearProgress(): void {
    if (this.#showsProgress) this.#stdout.write("\r\u001B[K");
    this.#showsProgress = false;
  }

  #writeLine(text: string): void {
    this.#clearProgress();
    this.#stdout.write(`${text}\n`);
  }

  #writeJson(value: unknown): void {
    this.#stdout.write(`${JSON.stringify(value)}\n`);
  }
}

/** Whether to colour: `NO_COLOR` and `--no-color` forbid, `FORCE_COLOR` demands, else a terminal. */
export function wantsColor(
  env: Readonly<Record<string, string | undefined>>,
  isTerminal: boolean,
  flag: boolean,
): boolean {
  if (!flag || (env["NO_COLOR"] ?? "") !== "") return false;
  const forced = env["FORCE_COLOR"];
  if (forced !== undefined && forced !== "") return forced !== "0" && forced !== "false";
  return isTerminal && env["TERM"] !== "dumb";
}
