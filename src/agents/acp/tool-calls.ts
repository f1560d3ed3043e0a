import type { AttemptContext, CallId, LedgerCall } from "../../core/attempt.ts";
import { StintError } from "../../core/error.ts";
import type { EventData, NewEvent } from "../../core/event.ts";
import { truncateText, type JsonObject } from "../../core/json.ts";
import { cleanText } from "../output/clean-text.ts";
import { OutputLog } from "../output/output-log.ts";
import { shortenInput } from "../shown-input.ts";
import type { AgentQuirks } from "./definition.ts";
import { OutputShape } from "./output-shape.ts";
import {
  describeInput,
  isDescribed,
  readCommand,
  readCommandLine,
  readOutput,
  readToolCallId,
  updateToolCall,
  type ToldOutput,
  type ToolCall,
} from "./tool-call.ts";

/** Calls that may be under way at a time. */
const OPEN_MAX = 64;
/** Ids of calls that have ended, kept to know them when an agent tells of them again. */
const ENDED_MAX = 10_000;
const COMMAND_BYTES_MAX = 8_192;
const SHOWN_OUTPUT_BYTES_MAX = 65_536;
const RESULT_BYTES_MAX = 32_768;

/** The end of a call that was waiting for leave. */
const NOT_BEGUN = {
  status: "interrupted",
  isError: true,
  note: "This call never began: it was waiting for leave. Nothing was done.",
} as const;

/** How a call came to its end. */
interface Ending {
  readonly status: "finished" | "interrupted" | "unknown";
  readonly isError: boolean;
  /** Said in the place of an output, where there is none. */
  readonly note?: string;
}

/** A call that is under way. */
interface OpenCall {
  call: ToolCall;
  /** Its id in the ledger; null until enough is known of it. */
  callId: CallId | null;
  output: OutputLog | null;
  readonly shape: OutputShape;
  /** Whether it waits for leave: then it has not begun. */
  isWaiting: boolean;
  /** The newest text of a call that is no command. */
  text: string;
  raw: string | null;
  exitCode: number | null;
  readonly changed: Set<string>;
}

/** What a ToolCalls works with. */
export interface ToolCallsOptions {
  readonly context: AttemptContext;
  readonly quirks: AgentQuirks;
  /** The turn that calls belong to. */
  readonly iteration: number;
  /** Calls of earlier attempts, of which a replay may tell. */
  readonly known: readonly LedgerCall[];
  /** Ids of calls that have ended in earlier turns of this attempt. */
  readonly seen: ReadonlySet<string>;
  /** Told before a call is written down: what the agent said before it comes first. */
  readonly onCall: (call: ToolCall) => Promise<void>;
}

/**
 * The tool calls of a turn, on their way from what an agent tells to the ledger and the log. Each
 * is opened when it is announced, before it acts where the agent asks for leave, and closed at its
 * end. The agent's word may come in any order, twice, or without an announcement.
 */
export class ToolCalls {
  readonly #options: ToolCallsOptions;
  readonly #open = new Map<string, OpenCall>();
  readonly #ended: Set<string>;
  #ordinal: number;
  #count = 0;
  #isAbandoned = false;
  /** Updates and permissions tell of the same calls: one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ToolCallsOptions) {
    this.#options = options;
    const known = options.known.map(({ modelCallId }) => modelCallId);
    this.#ended = new Set([...known, ...options.seen]);
    const ordinals = options.known
      .filter(({ iteration }) => iteration === options.iteration)
      .map(({ ordinal }) => ordinal);
    this.#ordinal = Math.max(-1, ...ordinals) + 1;
  }

  /** Ids of calls that have ended. */
  get ended(): ReadonlySet<string> {
    return this.#ended;
  }

  /** How many calls were written down. */
  get count(): number {
    return this.#count;
  }

  /** Takes an update. Resolves when what follows of it is durable. */
  take(update: JsonObject): Promise<void> {
    return this.#inTurn(() => this.#take(update));
  }

  async #take(update: JsonObject): Promise<void> {
    const id = readToolCallId(update);
    if (id === null || this.#isReplay(id, update)) return;
    const entry = this.#upsert(id, update);
    if (isDescribed(entry.call)) await this.#ensureOpen(entry);
    await this.#takeOutput(entry, readOutput(update));
    const { status } = entry.call;
    if (status === "completed" || status === "failed") {
      await this.#ensureOpen(entry);
      await this.#close(entry, { status: "finished", isError: status === "failed" });
    }
  }

  /** What is known of a call that an agent asks leave for; null when it has ended. */
  find(update: JsonObject): ToolCall | null {
    const id = readToolCallId(update);
    if (id === null) return null;
    const entry = this.#upsert(id, update);
    entry.isWaiting = true;
    return entry.call;
  }

  /** The id in the ledger of a call that waits for leave; null where it is not in it yet. */
  async findCallId(id: string): Promise<CallId | null> {
    let callId: CallId | null = null;
    await this.#inTurn(() => {
      callId = this.#open.get(id)?.callId ?? null;
      return Promise.resolve();
    });
    return callId;
  }

  /**
   * Writes a call down before it acts, and uses up the decision that it acts upon: a call that was
   * announced before it asked is in the ledger already. Resolves when both are durable.
   */
  intend(id: string, permissionId: string | null): Promise<void> {
    return this.#inTurn(async () => {
      const entry = this.#open.get(id);
      if (entry?.callId === null) await this.#ensureOpen(entry, permissionId);
      else await this.#usePermission(permissionId);
      if (entry) entry.isWaiting = false;
    });
  }

  /** Uses up a decision against a call; its agent tells the end. Resolves when that is durable. */
  refuse(permissionId: string | null): Promise<void> {
    return this.#inTurn(() => this.#usePermission(permissionId));
  }

  async #usePermission(permissionId: string | null): Promise<void> {
    if (permissionId === null || this.#isAbandoned) return;
    await this.#options.context.commit({ usePermission: permissionId });
  }

  /** Closes what is still open: nothing of the agent runs any more. */
  closeAll(note: string): Promise<void> {
    return this.#closeRest({ status: "interrupted", isError: true, note });
  }

  /** Closes what the agent has told no end of, although its turn is over. */
  closeUntold(note: string): Promise<void> {
    return this.#closeRest({ status: "unknown", isError: true, note });
  }

  #closeRest(ending: Ending): Promise<void> {
    return this.#inTurn(async () => {
      for (const entry of [...this.#open.values()]) {
        if (entry.callId === null) this.#open.delete(entry.call.toolCallId);
        else await this.#close(entry, entry.isWaiting ? NOT_BEGUN : ending);
      }
    });
  }

  /** The session is lost: nothing is written any more. */
  abandon(): void {
    this.#isAbandoned = true;
    for (const { output } of this.#open.values()) output?.abandon();
    this.#open.clear();
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined); // `turn` tells its caller; the next one comes all the same
    return turn;
  }

  /** Something of a call that has ended is told again, as replays do; a new start is none. */
  #isReplay(id: string, update: JsonObject): boolean {
    if (!this.#ended.has(id) || this.#open.has(id)) return false;
    const isStart = update["sessionUpdate"] === "tool_call";
    const hasEnded = update["status"] === "completed" || update["status"] === "failed";
    if (!isStart || hasEnded) return true;
    this.#ended.delete(id);
    return false;
  }

  #upsert(id: string, update: JsonObject): OpenCall {
    const known = this.#open.get(id);
    const { volatileInput } = this.#options.quirks;
    if (known) {
      known.call = updateToolCall(known.call, id, update, volatileInput);
      return known;
    }
    if (this.#open.size >= OPEN_MAX) {
      const message = `The agent has more than ${OPEN_MAX} tool calls under way at a time.`;
      throw new StintError("agent_protocol_error", message);
    }
    const entry: OpenCall = {
      call: updateToolCall(null, id, update, volatileInput),
      callId: null,
      output: null,
      shape: new OutputShape(),
      isWaiting: false,
      text: "",
      raw: null,
      exitCode: null,
      changed: new Set(),
    };
    this.#open.set(id, entry);
    return entry;
  }

  async #ensureOpen(entry: OpenCall, permissionId: string | null = null): Promise<void> {
    if (entry.callId !== null || this.#isAbandoned) return;
    const { context, iteration, onCall } = this.#options;
    const { call } = entry;
    await onCall(call);
    const ordinal = this.#ordinal++;
    this.#count += 1;
    entry.callId = await context.openCall({
      iteration,
      ordinal,
      modelCallId: call.toolCallId,
      tool: call.tool,
      input: describeInput(call),
      hasEffect: !["read", "search", "think"].includes(call.kind),
      mayHaveBegun: !entry.isWaiting,
      timeoutMs: context.limits.commandTimeoutMs,
      ...(permissionId !== null && { permissionId }),
    });
    if (call.kind === "execute") entry.output = this.#openOutput(entry.callId, call);
  }

  #openOutput(callId: CallId, call: ToolCall): OutputLog {
    const { context } = this.#options;
    return new OutputLog({
      clock: context.clock,
      emit: (event) => context.emit(event),
      onFailure: () => undefined, // the call's end says it
      callId,
      command: shortenCommand(readCommand(call)),
      outputBytesMax: context.limits.outputBytesMax,
    });
  }

  async #takeOutput(entry: OpenCall, told: ToldOutput): Promise<void> {
    const { shape } = entry;
    for (const path of told.changed) entry.changed.add(path);
    if (told.raw !== null) entry.raw = truncateText(told.raw, RESULT_BYTES_MAX * 32).text;
    if (told.exitCode !== null) entry.exitCode = told.exitCode;
    if (told.whole !== null) entry.text = truncateText(told.whole, RESULT_BYTES_MAX * 32).text;
    const hasEnded = entry.call.status === "completed" || entry.call.status === "failed";
    const isLive = told.whole !== null && !hasEnded;
    const added =
      (told.piece === null ? "" : shape.takePiece(told.piece)) +
      (isLive && entry.call.kind === "execute" ? shape.takeWhole(told.whole) : "");
    if (added !== "") await entry.output?.write("output", Buffer.from(added.toWellFormed()));
  }

  async #close(entry: OpenCall, ending: Ending): Promise<void> {
    const { context } = this.#options;
    const { callId } = entry;
    this.#open.delete(entry.call.toolCallId);
    this.#remember(entry.call.toolCallId);
    if (callId === null || this.#isAbandoned) return;
    const event = entry.output
      ? await this.#endCommand(entry, entry.output, callId, ending)
      : endTool(entry, callId, ending);
    const exitCode = this.#readExitCode(entry);
    await context.closeCall(callId, {
      status: ending.status,
      result: writeResult(entry, ending),
      isError: ending.isError,
      ...(entry.output && { exitCode }),
      events: [event],
    });
  }

  /** Null where the agent's word is not to be believed. */
  #readExitCode({ exitCode, call, raw, text }: OpenCall): number | null {
    const { quirks } = this.#options;
    if (quirks.exitCode !== "in_text") return quirks.exitCode === "true" ? exitCode : null;
    if (call.status === "completed") return 0;
    const written = /^Exit code (\d{1,3})(?:\n|$)/.exec(raw ?? text)?.[1];
    return call.status === "failed" && written !== undefined ? Number(written) : null;
  }

  async #endCommand(
    entry: OpenCall,
    output: OutputLog,
    callId: CallId,
    ending: Ending,
  ): Promise<NewEvent> {
    const whole = entry.raw ?? (entry.text === "" ? null : entry.text);
    const final = whole === null ? null : entry.shape.takeFinal(whole);
    if (final?.kind === "rest") {
      await output.write("output", Buffer.from(final.text.toWellFormed()));
    }
    const { omittedBytes } = await output.finish();
    const exitCode = this.#readExitCode(entry);
    const data: EventData<"terminal"> = {
      callId,
      command: shortenCommand(readCommand(entry.call)),
      output: final?.kind === "other" ? cleanText(final.text) : "",
      // All that came before was not the whole truth; this is.
      ...(final?.kind === "other" && { replacesOutput: true }),
      exitCode,
      ...(exitCode === null && { exitCodeKnown: false }),
      ...(exitCode === null && entry.exitCode !== null && { agentExitCode: entry.exitCode }),
      ...(ending.note !== undefined && { error: ending.note }),
      ...(ending.isError && { isError: true }),
      ...(omittedBytes > 0 && { omittedBytes }),
      ...(ending.status !== "finished" && { status: ending.status }),
      final: true,
    };
    return { type: "terminal", data };
  }

  #remember(id: string): void {
    this.#ended.add(id);
    if (this.#ended.size <= ENDED_MAX) return;
    for (const oldest of this.#ended) {
      this.#ended.delete(oldest);
      break;
    }
  }
}

/** The event that ends a call without a terminal. */
function endTool(entry: OpenCall, callId: CallId, ending: Ending): NewEvent {
  const { call } = entry;
  return {
    type: "tool",
    data: {
      callId,
      name: call.tool,
      title: call.title,
      kind: call.kind,
      input: shortenInput(describeInput(call)),
      output: truncateText(describe(entry, ending), SHOWN_OUTPUT_BYTES_MAX).text,
      isError: ending.isError,
      status: ending.status,
    },
  };
}

/** What the ledger keeps of a result: for people, and for an agent that has lost its memory. */
function writeResult(entry: OpenCall, ending: Ending): string {
  return truncateText(describe(entry, ending), RESULT_BYTES_MAX).text;
}

function describe(entry: OpenCall, ending: Ending): string {
  const changed = [...entry.changed].map((path) => `changed ${path}`).join("\n");
  const said = entry.text === "" ? (entry.raw ?? "") : entry.text;
  return cleanText([ending.note, said, changed].filter(Boolean).join("\n"));
}

function shortenCommand(command: string): string {
  const { text, omittedBytes } = truncateText(command, COMMAND_BYTES_MAX);
  return omittedBytes === 0 ? text : `${text}… (${omittedBytes} bytes more)`;
}

/** The event of a call that an earlier attempt left open. */
export function endLostCall(call: LedgerCall, note: string): NewEvent {
  const { callId, tool: name, input } = call;
  const command = readCommandLine(input);
  if (command !== null) {
    const data = { callId, command: shortenCommand(command), output: "", exitCode: null } as const;
    const end = { error: note, status: "interrupted", final: true } as const;
    return { type: "terminal", data: { ...data, ...end } };
  }
  const data = { callId, name, input: shortenInput(input), output: note, isError: true } as const;
  return { type: "tool", data: { ...data, status: "interrupted" } };
}
