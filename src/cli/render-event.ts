import type { SessionEvent } from "../client.ts";
import { formatInstant } from "./duration.ts";
import type { Style } from "./output.ts";
import { toSafeLine, toSafeText } from "./terminal-safe.ts";
import { truncateLine } from "./text-width.ts";

/** Most text of one event that is shown; the log keeps all of it. */
const EVENT_CHARS_MAX = 200_000;

/** A diff of at most so many lines is shown with its file. */
const DIFF_LINES_MAX = 16;

/** An unfinished line of output is held back until it ends, up to this length. */
const OPEN_LINE_CHARS_MAX = 8_192;

const CALLS_MAX = 256;

/** Of a command that waits for leave more is shown than of others. */
const ASKED_COLUMNS_MAX = 400;

type Data = SessionEvent["data"];

/** The two outputs of a command: stdout and stderr, as the events name them. */
type OutputField = "output" | "error";
type OpenLines = Record<OutputField, string>;

/** How to render. */
export interface EventRendererOptions {
  readonly style: (style: Style, text: string) => string;
  /** Lets the colours of commands' output pass. */
  readonly color: boolean;
  /** Columns to stay within where a line is a summary. @default 120 */
  readonly columns?: number;
}

/**
 * Renders the events of one session, in order, as lines for people. It knows which commands are
 * running, so that pieces of output join into lines. What agents and commands say is made safe.
 */
export class EventRenderer {
  readonly #style: EventRendererOptions["style"];
  readonly #color: boolean;
  readonly #summaryWidth: number;
  /** The unfinished lines of each running command. */
  readonly #calls = new Map<string, OpenLines>();
  /** What the agent said last: its answer repeats it. */
  #said = "";
  #shownTime = "";

  constructor(options: EventRendererOptions) {
    this.#style = options.style;
    this.#color = options.color;
    this.#summaryWidth = Math.max(40, Math.min(100, (options.columns ?? 120) - 24));
  }

  render(event: SessionEvent): string[] {
    const isRunning = this.#calls.has(writeValue(event.data["callId"] ?? ""));
    const lines = this.#renderBody(event);
    const time = formatTime(event.createdAt);
    const gutter = " ".repeat(8);
    // More output of a command in the same second needs no time of its own.
    const isMore = event.type === "terminal" && isRunning && time === this.#shownTime;
    if (lines.length > 0) this.#shownTime = time;
    const first = isMore ? gutter : this.#style("dim", time);
    return lines.map((line, index) => `${index === 0 ? first : gutter} ${line}`.trimEnd());
  }

  #renderBody({ type, data }: SessionEvent): string[] {
    switch (type) {
      case "state_changed":
        return [this.#renderTransition(data)];
      case "thinking":
        return this.#renderThinking(data);
      case "terminal":
        return this.#renderTerminal(data);
      case "file_change":
        return [this.#renderFileChange(data), ...this.#renderDiff(data)];
      case "completion":
        return this.#renderCompletion(textOf(data, "message") ?? "completed");
      case "error":
        return this.#renderError(data);
      case "user_message":
        return this.#mark("cyan", "›", textOf(data, "text") ?? "");
      case "permission":
        return this.#renderPermission(data);
      case "tool":
        return [this.#renderTool(data)];
      case "model_call":
        return this.#renderModelCall(data);
      default:
        return [this.#style("dim", `${toSafeLine(type)} ${summarize(data, this.#summaryWidth)}`)];
    }
  }

  #renderPermission(data: Data): string[] {
    const status = lineOf(data, "status");
    const title = textOf(data, "title") ?? lineOf(data, "tool");
    const note = textOf(data, "note");
    if (status === "requested") {
      const lines = this.#mark("yellow", "◆", `asks leave: ${title}`);
      return [...lines, `  ${this.#style("dim", describeAsked(data))}`];
    }
    const late = data["by"] === "expiry" ? "nobody answered in time, " : "";
    const said = [`${late}${status}: ${title}`, note].filter(Boolean).join(" · ");
    return this.#mark(status === "allowed" ? "green" : "red", "◆", said);
  }

  /** A fault that passes ends nothing, and does not look like an end. */
  #renderError(data: Data): string[] {
    const said = [data["code"], textOf(data, "message")].join(": ");
    const { retryAt } = data;
    if (typeof retryAt !== "string") return this.#mark("red", "✕", said);
    const until = formatInstant(retryAt, Date.parse(retryAt));
    return this.#mark("yellow", "…", `waits until ${until}: ${said}`);
  }

  #renderTransition(data: Data): string {
    const to = lineOf(data, "to");
    const reason = lineOf(data, "reason").replaceAll("_", " ");
    const change = `${lineOf(data, "from")} → ${to}`;
    const { message } = (data["error"] ?? {}) as { readonly message?: unknown };
    const why = typeof message === "string" ? `: ${toSafeLine(message)}` : "";
    return `${this.#style(STATE_STYLES[to] ?? "bold", `● ${change}`)}  ${reason}${why}`.trimEnd();
  }

  #renderThinking(data: Data): string[] {
    const said = textOf(data, "text");
    const reasoning = textOf(data, "reasoning");
    const lines = reasoning ? this.#mark("dim", "…", reasoning, "dim") : [];
    if (said) {
      lines.push(...this.#mark("blue", "·", said));
      this.#said = said;
    }
    if (lines.length > 0) return lines;
    const tools = Array.isArray(data["toolsUsed"]) ? data["toolsUsed"].join(", ") : "";
    const step = `step ${lineOf(data, "iteration")}${tools === "" ? "" : `: ${tools}`}`;
    return [this.#style("dim", `· ${toSafeLine(step)}`)];
  }

  /** Those that went well are many, and show in what they led to. */
  #renderModelCall(data: Data): string[] {
    const status = lineOf(data, "status");
    if (status === "finished") return [];
    const model = `${lineOf(data, "provider")}:${lineOf(data, "model")}`;
    const answer = data["httpStatus"] == null ? "" : ` (HTTP ${lineOf(data, "httpStatus")})`;
    return [this.#style("dim", toSafeLine(`· call of ${model} ${status}${answer}`))];
  }

  #renderTerminal(data: Data): string[] {
    const callId = writeValue(data["callId"] ?? "");
    const isFinal = data["final"] !== false;
    const lines: string[] = [];
    if (!this.#calls.has(callId)) {
      const command = textOf(data, "command");
      if (command !== undefined) lines.push(...this.#mark("yellow", "$", command, "bold"));
    }
    const open = this.#calls.get(callId) ?? { output: "", error: "" };
    const output = open.output + (textOf(data, "output") ?? "");
    // In the last event of a command `error` is what went wrong with it, and nothing that it wrote.
    const error = open.error + ((isFinal ? undefined : textOf(data, "error")) ?? "");
    lines.push(...this.#takeOutput(callId, { output, error }, isFinal));
    if (isFinal) lines.push(...this.#renderEnd(data));
    return lines;
  }

  /** The whole lines of both outputs of a command; the rest waits for its end. */
  #takeOutput(callId: string, texts: OpenLines, isFinal: boolean): string[] {
    const output = this.#cutLines("output", texts.output, isFinal);
    const error = this.#cutLines("error", texts.error, isFinal);
    this.#calls.delete(callId);
    if (!isFinal) this.#calls.set(callId, { output: output.rest, error: error.rest });
    if (this.#calls.size > CALLS_MAX) this.#calls.delete(this.#calls.keys().next().value ?? "");
    return [...output.lines, ...error.lines];
  }

  #cutLines(
    field: OutputField,
    text: string,
    isFinal: boolean,
  ): { readonly lines: readonly string[]; readonly rest: string } {
    const cut = isFinal || text.length - text.lastIndexOf("\n") > OPEN_LINE_CHARS_MAX;
    const end = cut ? text.length : text.lastIndexOf("\n") + 1;
    if (end === 0) return { lines: [], rest: text };
    const bar = field === "error" ? this.#style("red", "┃") : this.#style("dim", "│");
    const lines = this.#safeLines(text.slice(0, end)).map((line) => `${bar} ${line}`);
    return { lines, rest: text.slice(end) };
  }

  #renderEnd(data: Data): string[] {
    const lines: string[] = [];
    const error = textOf(data, "error");
    if (error) lines.push(...this.#mark("red", "│", error));
    const omitted = Number(data["omittedBytes"] ?? 0);
    if (omitted > 0) lines.push(this.#style("dim", `│ … ${omitted} bytes of output left out`));
    const exitCode = data["exitCode"];
    if (typeof exitCode === "number") {
      if (exitCode !== 0) lines.push(this.#style("red", `│ exit code ${exitCode}`));
    } else if (!error && data["final"] === true) {
      lines.push(this.#style("yellow", `│ ${describeUnknownEnd(data)}`));
    }
    return lines;
  }

  #renderFileChange(data: Data): string {
    const action = lineOf(data, "action");
    const [letter, style] = FILE_MARKS[action] ?? ["M", "yellow"];
    const former = nameOf(data, "oldPath");
    const old = former === "" ? "" : `${former} → `;
    const isBinary = data["binary"] === true;
    const lines = typeof data["diff"] === "string" ? ` ${this.#countLines(data["diff"])}` : "";
    const diff = isBinary ? this.#style("dim", " binary") : lines;
    const more = data["omittedFiles"];
    const rest = typeof more === "number" ? this.#style("dim", ` … and ${more} more files`) : "";
    return `${this.#style(style, letter)} ${old}${nameOf(data, "path")}${diff}${rest}`;
  }

  /** The changed lines of a small diff. */
  #renderDiff(data: Data): string[] {
    const diff = typeof data["diff"] === "string" ? data["diff"] : "";
    const hunks = diff.slice(Math.max(0, diff.search(/^@@/m)));
    const lines = hunks.split("\n").filter((line) => /^[-+]/.test(line));
    if (lines.length === 0 || lines.length > DIFF_LINES_MAX) return [];
    const bar = this.#style("dim", "│");
    return lines.map((line) => {
      const text = truncateLine(this.#safeLines(line)[0] ?? "", this.#summaryWidth);
      return `${bar} ${this.#style(line.startsWith("+") ? "green" : "red", text)}`;
    });
  }

  #renderCompletion(message: string): string[] {
    const isSaid = message.trim() === this.#said.trim();
    return this.#mark("green", "✓", isSaid ? "done" : message);
  }

  #countLines(diff: string): string {
    const lines = diff.split("\n");
    const added = lines.filter((line) => line.startsWith("+") && !line.startsWith("+++")).length;
    const removed = lines.filter((line) => line.startsWith("-") && !line.startsWith("---")).length;
    return `${this.#style("green", `+${added}`)} ${this.#style("red", `−${removed}`)}`;
  }

  #renderTool(data: Data): string {
    const failed = data["isError"] === true || data["status"] === "interrupted";
    const mark = this.#style(failed ? "red" : "magenta", "◇");
    const status = failed ? `  ${lineOf(data, "status") || "failed"}` : "";
    const input = this.#style("dim", summarize(data["input"], this.#summaryWidth));
    return `${mark} ${lineOf(data, "name")} ${input}${status}`;
  }

  #mark(style: Style, mark: string, text: string, textStyle?: Style): string[] {
    const lines = this.#safeLines(text.trimEnd());
    const styled = textStyle ? lines.map((line) => this.#style(textStyle, line)) : lines;
    return styled.map((line, index) => `${index === 0 ? this.#style(style, mark) : " "} ${line}`);
  }

  /** Safe lines. Each is made safe by itself, so that no colour reaches the next. */
  #safeLines(text: string): string[] {
    const shown = text.slice(0, EVENT_CHARS_MAX).replace(/\r?\n$/, "");
    const lines = shown.split(/\r\n|\r|\n/).map((line) => toSafeText(line, { color: this.#color }));
    const more = text.length - EVENT_CHARS_MAX;
    return more > 0 ? [...lines, `… ${more} more characters; see --json`] : lines;
  }
}

/** No exit code is no success: what is known of the end is said instead. */
function describeUnknownEnd({ agentExitCode, isError }: Data): string {
  if (typeof agentExitCode === "number") {
    return `exit code not known; the agent says ${agentExitCode}`;
  }
  return isError === true
    ? "failed, as the agent says; exit code not told"
    : "ended; exit code not told";
}

const STATE_STYLES: Readonly<Record<string, Style>> = {
  active: "blue",
  paused: "magenta",
  completed: "green",
  failed: "red",
  expired: "yellow",
};

const FILE_MARKS: Readonly<Record<string, readonly [string, Style]>> = {
  created: ["A", "green"],
  modified: ["M", "yellow"],
  deleted: ["D", "red"],
  renamed: ["R", "cyan"],
};

/** What is asked leave for, beside its title, which is the agent's own word. */
function describeAsked(data: Data): string {
  const { command } = (data["input"] ?? {}) as { readonly command?: unknown };
  const paths = Array.isArray(data["paths"]) ? data["paths"].map(writeValue).join(", ") : "";
  const line = Array.isArray(command) ? command.map(writeValue).join(" ") : command;
  const subject = typeof line === "string" ? line : paths;
  const said = subject === "" ? lineOf(data, "tool") : `${lineOf(data, "tool")}: ${subject}`;
  return truncateLine(toSafeLine(said), ASKED_COLUMNS_MAX);
}

/** A text field, also where its bytes came as `…Base64`. */
function textOf(data: Data, field: string): string | undefined {
  const text = data[field];
  if (typeof text === "string") return text;
  const bytes = data[`${field}Base64`];
  return typeof bytes === "string" ? Buffer.from(bytes, "base64").toString("utf8") : undefined;
}

/** A name that no text can hold is shown as far as text can. */
function nameOf(data: Data, field: string): string {
  const bytes = data[`${field}Base64`];
  if (typeof bytes !== "string") return lineOf(data, field);
  const binary = Uint8Array.from(atob(bytes), (char) => char.codePointAt(0) ?? 0);
  return toSafeLine(new TextDecoder().decode(binary)).slice(0, 4_096);
}

function lineOf(data: Data, field: string): string {
  const value = data[field];
  return value === undefined || value === null ? "" : toSafeLine(writeValue(value)).slice(0, 4_096);
}

function summarize(value: unknown, width: number): string {
  if (value === undefined) return "";
  const text = JSON.stringify(value).slice(0, 1_000);
  return truncateLine(toSafeLine(text), width);
}

function formatTime(createdAt: string): string {
  const date = new Date(createdAt);
  return Number.isNaN(date.getTime()) ? "--:--:--" : date.toTimeString().slice(0, 8);
}

/** Any value of a payload as text. An object's own `toString` is its sender's: it is never called. */
function writeValue(value: unknown): string {
  return typeof value === "object" || typeof value === "function"
    ? JSON.stringify(value)
    : String(value);
}
