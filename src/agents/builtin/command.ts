import type { Readable } from "node:stream";
import type { AttemptContext, CustodyExit, CustodyProcess } from "../../core/attempt.ts";
import { truncateText } from "../../core/json.ts";
import type { OutputField } from "../output/capped-output.ts";
import { drainPipes } from "../output/drain-pipes.ts";
import { OutputLog } from "../output/output-log.ts";

/** A command line to run for one call. */
export interface CommandRequest {
  readonly callId: string;
  readonly command: string;
  readonly timeoutMs: number;
}

/** How a command went. */
export interface CommandReport {
  readonly exit: CustodyExit;
  /** Output for the model, capped, with a marker where something is missing. */
  readonly shown: string;
  /** Bytes of output that are not in the log. */
  readonly omittedBytes: number;
  /** True when the attempt's signal stopped it. */
  readonly isInterrupted: boolean;
}

/** Bytes of a command that its events repeat. */
const COMMAND_BYTES_MAX = 8_192;

/** A command that did not start. */
export class SpawnFailure extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = "SpawnFailure";
  }
}

/** Becomes bash where there is one; no shell stays between. */
const SHELL = 'command -v bash >/dev/null 2>&1 && exec bash -c "$0"; exec sh -c "$0"';

/** A command as its events show it. */
export function shortenCommand(command: string): string {
  const { text, omittedBytes } = truncateText(command, COMMAND_BYTES_MAX);
  return omittedBytes === 0 ? text : `${text}… (${omittedBytes} bytes more)`;
}

/**
 * Runs a command line in the custody of the attempt and logs its output while it runs. When the
 * signal aborts or the log fails, it is stopped first.
 * @throws {SpawnFailure} when it could not be started, and what writing to the log throws.
 */
export async function runCommand(
  context: AttemptContext,
  request: CommandRequest,
): Promise<CommandReport> {
  const { signal, clock, limits } = context;
  const process = await spawnShell(context, request);
  const log = new OutputLog({
    clock,
    emit: (event) => context.emit(event),
    onFailure: () => void process.stop(),
    callId: request.callId,
    command: shortenCommand(request.command),
    outputBytesMax: limits.outputBytesMax,
  });
  const onAbort = (): void => {
    if (isLost(signal)) log.abandon();
    void process.stop();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const exit = await waitForEnd(context, process, log);
    const { omittedBytes } = await log.finish();
    return {
      exit,
      shown: log.takeShownText(),
      omittedBytes,
      isInterrupted: signal.aborted && exit.stopped,
    };
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function spawnShell(
  context: AttemptContext,
  { callId, command, timeoutMs }: CommandRequest,
): Promise<CustodyProcess> {
  try {
    const args = ["-c", SHELL, command];
    return await context.spawn({ command: "sh", args, timeoutMs, callId });
  } catch (error) {
    context.signal.throwIfAborted();
    throw new SpawnFailure(error);
  }
}

/** Whether the attempt has lost its session: nothing may be written any more. */
export function isLost(signal: AbortSignal): boolean {
  const reason = signal.reason as { request?: { kind?: unknown } } | undefined;
  return signal.aborted && reason?.request?.kind === "lost";
}

async function waitForEnd(
  context: AttemptContext,
  process: CustodyProcess,
  log: OutputLog,
): Promise<CustodyExit> {
  const pumps = Promise.all([
    pump(context, process.stdout, "output", log),
    pump(context, process.stderr, "error", log),
  ]);
  const exit = await process.exited;
  await drainPipes(context.clock, process, pumps);
  return exit;
}

/** Reads one stream to its end, no faster than the log takes it. */
async function pump(
  context: AttemptContext,
  stream: Readable,
  field: OutputField,
  log: OutputLog,
): Promise<void> {
  try {
    for await (const bytes of stream) {
      context.recordActivity();
      await log.write(field, bytes as Uint8Array);
    }
  } catch (error) {
    // The pipe broke with its process; how that ended is told by its exit.
    context.log.debug({ error: String(error) }, "Output of a command ended early");
  }
}
