import type { AttemptContext, CallId, CustodyExit, CustodyProcess } from "../../core/attempt.ts";
import { toStintError } from "../../core/error.ts";
import type { EventData } from "../../core/event.ts";
import { truncateText } from "../../core/json.ts";
import { isLost } from "../builtin/command.ts";
import { drainPipes } from "../output/drain-pipes.ts";
import { OutputLog } from "../output/output-log.ts";
import type { CommandAgentDefinition } from "./definition.ts";
import { logOutput, ToldOutput, type ToldEnd } from "./program-output.ts";

/** A program to run as one call of the ledger. */
export interface ProgramRun {
  readonly iteration: number;
  readonly callId: CallId;
  readonly words: readonly string[];
  /** As its events show it. */
  readonly line: string;
  /** What it is to do; null for a command line, which says it by itself. */
  readonly prompt: string | null;
}

/** How a program went. */
export interface ProgramEnd {
  readonly exitCode: number | null;
  /** Null when it came to its own end. */
  readonly problem: string | null;
  readonly told: ToldEnd | null;
  readonly isInterrupted: boolean;
}

const TERMINAL = { columns: 120, rows: 40 };
/** An argument or variable is limited by the kernel to 128 KiB. */
const VARIABLE_BYTES_MAX = 100_000;
const STOP_GRACE_MS = 1_000;
const COMMAND_BYTES_MAX = 8_192;

/**
 * Runs a program in the custody of the attempt, logs its output while it runs, and closes its call.
 * When the signal aborts or the log fails, it is stopped first.
 */
export async function runProgram(
  context: AttemptContext,
  definition: CommandAgentDefinition,
  run: ProgramRun,
): Promise<ProgramEnd> {
  const command = shortenLine(run.line);
  const started = await startProgram(context, definition, run);
  if ("problem" in started) {
    const end = { exitCode: null, problem: started.problem, told: null, isInterrupted: false };
    await closeCall(context, run, end, { omittedBytes: 0, shown: "" });
    return end;
  }
  const log = new OutputLog({
    clock: context.clock,
    emit: (event) => context.emit(event),
    onFailure: () => void started.stop(),
    callId: run.callId,
    command,
    outputBytesMax: context.limits.outputBytesMax,
  });
  const told = new ToldOutput(context, log, run.iteration);
  const exit = await watch(context, started, log, definition.tellsEvents ? told : null);
  const isInterrupted = context.signal.aborted && exit.stopped;
  const { omittedBytes } = await log.finish();
  if (isLost(context.signal)) throw context.signal.reason as Error;
  const problem = describeProblem(exit, isInterrupted, context);
  const end = { exitCode: exit.code, problem, told: told.end, isInterrupted };
  const hasTerminal = started.hasTerminal ?? false;
  const shown = { omittedBytes, shown: log.takeShownText(), hasTerminal };
  await closeCall(context, run, end, shown);
  return end;
}

async function startProgram(
  context: AttemptContext,
  { env, hasTerminal, exposes }: CommandAgentDefinition,
  { words, prompt, callId }: ProgramRun,
): Promise<CustodyProcess | { readonly problem: string }> {
  const [command = "", ...args] = words;
  const isShort = prompt !== null && Buffer.byteLength(prompt) <= VARIABLE_BYTES_MAX;
  const fits = isShort && !prompt.includes("\0");
  try {
    const process = await context.spawn({
      command,
      args,
      env: { ...env, ...(fits && { STINT_PROMPT: prompt }) },
      callId,
      exposes,
      stdin: prompt === null || hasTerminal ? "ignore" : "pipe",
      timeoutMs: context.limits.commandTimeoutMs,
      ...(hasTerminal && { pty: TERMINAL }),
    });
    if (prompt !== null) process.stdin?.end(prompt);
    return process;
  } catch (thrown) {
    context.signal.throwIfAborted();
    const { code, message } = toStintError(thrown);
    if (code !== "command_not_found" && code !== "invalid_request") throw thrown;
    return { problem: `The program could not be started: ${message}` };
  }
}

/** Waits for the end of the program and of its output; stops it when it is told to. */
async function watch(
  context: AttemptContext,
  process: CustodyProcess,
  log: OutputLog,
  told: ToldOutput | null,
): Promise<CustodyExit> {
  const { signal, clock } = context;
  const onAbort = (): void => {
    if (isLost(signal)) log.abandon();
    void process.stop(isLost(signal) ? 0 : STOP_GRACE_MS);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  let failure: unknown = null;
  const reading = Promise.all([
    told ? told.read(process.stdout) : logOutput(context, process.stdout, "output", log),
    logOutput(context, process.stderr, "error", log),
  ]).catch((thrown: unknown) => {
    // A pipe breaks with its program, whose end tells; a log that fails ends the attempt.
    failure = (thrown as { code?: unknown }).code === "ERR_STREAM_PREMATURE_CLOSE" ? null : thrown;
    void process.stop(0);
  });
  try {
    const exit = await process.exited;
    await drainPipes(clock, process, reading);
    if (failure !== null) throw failure;
    return exit;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function describeProblem(
  exit: CustodyExit,
  isInterrupted: boolean,
  { limits }: AttemptContext,
): string | null {
  if (isInterrupted) return "The program was interrupted: the session was told to stop.";
  if (exit.timedOut) {
    return `The program was stopped after ${limits.commandTimeoutMs} ms, its time limit.`;
  }
  if (exit.code === null) return `The program was ended by ${exit.signal ?? "a signal"}.`;
  return null;
}

async function closeCall(
  context: AttemptContext,
  { callId, line }: ProgramRun,
  { exitCode, problem, isInterrupted }: ProgramEnd,
  output: { readonly omittedBytes: number; readonly shown: string; readonly hasTerminal?: boolean },
): Promise<void> {
  const data: EventData<"terminal"> = {
    callId,
    command: shortenLine(line),
    output: "",
    exitCode,
    ...(problem !== null && { error: problem }),
    ...(output.omittedBytes > 0 && { omittedBytes: output.omittedBytes }),
    ...(isInterrupted && { status: "interrupted" }),
    // Without a terminal both outputs come apart, and programs speak more plainly.
    ...(output.hasTerminal !== undefined && { hasTerminal: output.hasTerminal }),
    final: true,
  };
  await context.closeCall(callId, {
    status: isInterrupted ? "interrupted" : "finished",
    result: problem === null ? output.shown : `${output.shown}\n[${problem}]`,
    isError: exitCode !== 0 || problem !== null,
    exitCode,
    events: [{ type: "terminal", data }],
  });
}

function shortenLine(line: string): string {
  const { text, omittedBytes } = truncateText(line, COMMAND_BYTES_MAX);
  return omittedBytes === 0 ? text : `${text}… (${omittedBytes} bytes more)`;
}
