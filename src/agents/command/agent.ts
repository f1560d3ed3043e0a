import type {
  AgentAdapter,
  AttemptContext,
  InboxMessage,
  LedgerCall,
  TurnResult,
} from "../../core/attempt.ts";
import type { Json } from "../../core/json.ts";
import { explainLostCall } from "../builtin/lost-call.ts";
import { asObject, readField, readText, readWhole } from "../json-fields.ts";
import { cleanText } from "../output/clean-text.ts";
import { findProgram } from "../program.ts";
import { formatCommandLine, parseCommandLine } from "./command-line.ts";
import type { CommandAgentDefinition } from "./definition.ts";
import { runProgram, type ProgramEnd, type ProgramRun } from "./run-program.ts";

const FORMAT = "command-1";
const USAGE = {
  inputTokens: 0,
  outputTokens: 0,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  reasoningTokens: 0,
};
const MESSAGE_CHARS_MAX = 65_536;

/** What a command agent is made with. */
export interface CommandAgentOptions {
  readonly definition: CommandAgentDefinition;
  /** The variable PATH, for the probe. */
  readonly path: string;
}

/**
 * Any program as an agent: no model, one call of the ledger for each prompt, and its exit code is
 * the outcome. 0 completes the turn, anything else fails it.
 *
 * A program that was cut off is not run again by itself: it would have its effects twice. Where
 * facts show that it had ended, its exit code counts; else the turn fails and says so, unless its
 * definition allows to run it again.
 */
export function createCommandAgent({ definition, path }: CommandAgentOptions): AgentAdapter {
  const { name, program } = definition;
  return {
    name,
    needsModel: false,
    actsUnseen: true,
    isProgram: true,
    async probe() {
      if (program === null) return { available: true, detail: "runs any program" };
      const found = await findProgram(program.command, { path, installed: [] });
      return found === null
        ? { available: false, detail: `there is no ${program.command} in PATH` }
        : { available: true, detail: formatCommandLine([found.command, ...program.args]) };
    },
    run: (context) => new CommandSession(context, definition).work(),
  };
}

/** One attempt on a session of commands. */
class CommandSession {
  readonly #context: AttemptContext;
  readonly #definition: CommandAgentDefinition;
  #iteration: number;

  constructor(context: AttemptContext, definition: CommandAgentDefinition) {
    this.#context = context;
    this.#definition = definition;
    const steps = context.resumeFrom?.steps ?? [];
    this.#iteration = Math.max(0, ...steps.map(({ iteration }) => iteration));
  }

  async work(): Promise<TurnResult> {
    const { resumeFrom, signal } = this.#context;
    let result = await this.#settleFormer();
    if (result?.outcome === "failed") return result;
    let messages: readonly InboxMessage[] = resumeFrom?.undelivered ?? [];
    if (result === null) {
      result = await this.#runPrompt(this.#context.prompt, []);
    }
    for (;;) {
      if (result.outcome === "failed") return result;
      signal.throwIfAborted();
      messages = messages.length > 0 ? messages : await this.#context.takeMessages();
      const [message, ...rest] = messages;
      if (message === undefined) return result;
      messages = rest;
      result = await this.#runPrompt(message.text, [message]);
    }
  }

  /** How the last prompt of earlier attempts ended; null when it is to be run, for the first time. */
  async #settleFormer(): Promise<TurnResult | null> {
    const { resumeFrom, recovery } = this.#context;
    const last = resumeFrom?.steps.at(-1);
    if (resumeFrom == null || last === undefined) return null;
    const former = readEnd(last.response);
    if (former !== null) return this.#conclude(former, last.inputs[0] ?? "");
    const calls = resumeFrom.calls.filter(({ iteration }) => iteration === last.iteration);
    const call = calls.at(-1);
    const prompt = last.inputs[0] ?? this.#context.prompt;
    // It was announced and never begun.
    if (call === undefined) return this.#runStep(last.iteration, prompt, []);
    const fact = recovery?.calls.get(call.callId) ?? null;
    if (call.status === "open") await this.#closeLost(call, explainLostCall(fact));
    const isFinished = call.status === "finished" || fact?.status === "finished";
    if (isFinished) {
      const end = readLedger(call, fact?.exitCode ?? null);
      return this.#finish(last.iteration, end, prompt);
    }
    const hasBegun = fact?.hasBegun ?? true;
    if (!hasBegun || this.#definition.mayRunAgain) return this.#runPrompt(prompt, []);
    const problem =
      "The program was interrupted and is not run again by itself: it may have had a part of its " +
      "effect. Start it anew, in a session of its own.";
    const end = { exitCode: null, problem, told: null, isInterrupted: true };
    return this.#finish(last.iteration, end, prompt);
  }

  async #closeLost(call: LedgerCall, result: string): Promise<void> {
    const { callId } = call;
    const command = cleanText(String(call.input["command"] ?? call.tool)).slice(0, 8_192);
    const data = {
      callId,
      command,
      output: "",
      exitCode: null,
      error: result,
      final: true,
    } as const;
    const status = "interrupted";
    const events = [{ type: "terminal", data: { ...data, status } }] as const;
    await this.#context.closeCall(callId, { status, result, isError: true, events });
  }

  #runPrompt(prompt: string, messages: readonly InboxMessage[]): Promise<TurnResult> {
    return this.#runStep(++this.#iteration, prompt, messages);
  }

  async #runStep(
    iteration: number,
    prompt: string,
    messages: readonly InboxMessage[],
  ): Promise<TurnResult> {
    const context = this.#context;
    const { commandTimeoutMs, maxIterations } = context.limits;
    if (iteration > maxIterations) {
      const message = `The session has run its ${maxIterations} programs.`;
      return { outcome: "failed", reason: "max_iterations", message };
    }
    const inboxDelivered = messages.map(({ id }) => id);
    const beginStep = { iteration, inputs: [prompt], inboxDelivered, timeoutMs: commandTimeoutMs };
    await context.commit({ beginStep });
    const { program } = this.#definition;
    const words = program === null ? parseCommandLine(prompt) : [program.command, ...program.args];
    const line = formatCommandLine(words).replaceAll("\u0000", "\u2400");
    const callId = await context.openCall({
      iteration,
      ordinal: 0,
      modelCallId: `${this.#definition.name}-${iteration}`,
      tool: this.#definition.name,
      input: { command: line, words },
      timeoutMs: commandTimeoutMs,
      evidence: { kind: "command" },
    });
    const run: ProgramRun = {
      iteration,
      callId,
      words,
      line,
      prompt: program === null ? null : prompt,
    };
    const end = await runProgram(context, this.#definition, run);
    context.signal.throwIfAborted();
    return this.#finish(iteration, end, prompt);
  }

  async #finish(iteration: number, end: ProgramEnd, prompt: string): Promise<TurnResult> {
    const response = encodeEnd(end);
    await this.#context.commit({ finishStep: { iteration, response, usage: USAGE } });
    return this.#conclude(end, prompt);
  }

  #conclude(end: ProgramEnd, prompt: string): TurnResult {
    const { exitCode, problem, told } = end;
    const { program } = this.#definition;
    const what = program === null ? prompt.slice(0, 200) : this.#definition.title;
    if (exitCode === 0 && problem === null && told?.isError !== true) {
      return { outcome: "end_turn", message: told?.text ?? `${what} ended with exit code 0.` };
    }
    const how = problem ?? `${what} ended with exit code ${exitCode ?? "unknown"}.`;
    const message = told === null ? how : `${told.text}\n${how}`;
    return { outcome: "failed", reason: "agent_error", message };
  }
}

function encodeEnd({ exitCode, problem, told }: ProgramEnd): Json {
  const text = told === null ? null : told.text.slice(0, MESSAGE_CHARS_MAX);
  return { format: FORMAT, exitCode, problem, text, isError: told?.isError ?? false };
}

function readEnd(response: Json): ProgramEnd | null {
  const stored = asObject(response);
  if (readText(stored, "format") !== FORMAT) return null;
  const text = readText(stored, "text");
  const isError = readField(stored, "isError") === true;
  return {
    exitCode: readWhole(stored, "exitCode"),
    problem: readText(stored, "problem"),
    told: text === null ? null : { text, isError },
    isInterrupted: false,
  };
}

/** The end of a program whose call was closed, but whose step was not. */
function readLedger(call: LedgerCall, exitCode: number | null): ProgramEnd {
  const known = exitCode ?? (call.status === "finished" && !call.isError ? 0 : null);
  const problem = known === null ? "The program failed; its exit code was lost." : null;
  return { exitCode: known, problem, told: null, isInterrupted: false };
}
