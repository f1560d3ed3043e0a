import { readFileSync } from "node:fs";
import type { CommandContext } from "./command.ts";
import { COMMANDS } from "./command-table.ts";
import { Output, wantsColor, type Sink } from "./output.ts";
import { parseCommandLine, type GlobalOptions, type Invocation } from "./program.ts";
import { nameProgram } from "./program-name.ts";
import { StopSignal } from "./stop-signal.ts";

/** The process around one call of the command line; tests put their own in place. */
export interface CliProcess {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** Columns of the terminal; null when stdout is none. */
  readonly columns: number | null;
  /** Aborts at the first signal, with a StopSignal as its reason. */
  readonly signal: AbortSignal;
}

/** Runs one command line; resolves with the exit code and never rejects. */
export async function runCli(process: CliProcess): Promise<number> {
  let output = makeOutput(process, readEarlyOptions(process.argv), false);
  try {
    const invocation = await parseCommandLine(process.argv, COMMANDS, readVersion);
    if (invocation.kind === "text") {
      process.stdout.write(invocation.text);
      return 0;
    }
    const globals = invocation.options as unknown as GlobalOptions;
    output = makeOutput(process, globals, invocation.entry.isService === true);
    return await runCommand(process, invocation, output);
  } catch (error) {
    if (error instanceof StopSignal) return error.exitCode;
    return output.error(error).exitCode;
  }
}

function runCommand(
  process: CliProcess,
  invocation: Extract<Invocation, { kind: "command" }>,
  output: Output,
): Promise<number> {
  const { env, cwd, signal } = process;
  const { url, token, dataDir } = invocation.options;
  const loadConfig: CommandContext["loadConfig"] = async (flags = {}) => {
    const { loadCliConfig } = await import("./load-config.ts");
    return loadCliConfig({ flags: { ...flags, url, token, dataDir }, env, cwd });
  };
  const connect: CommandContext["connect"] = async () => {
    const config = await loadConfig();
    const { connectTo } = await import("./connection.ts");
    return connectTo(config);
  };
  const context: CommandContext = {
    ...{ output, signal, env, cwd, loadConfig, connect },
    // Opened only by the commands that read it.
    get stdin() {
      return process.stdin;
    },
  };
  return invocation.module.run(context, invocation.args, invocation.options as never);
}

function makeOutput(process: CliProcess, globals: GlobalOptions, isService: boolean): Output {
  return new Output({
    stdout: process.stdout,
    stderr: process.stderr,
    json: globals.json === true || (isService && process.columns === null),
    quiet: globals.quiet === true,
    color: wantsColor(process.env, process.columns !== null, globals.color),
    columns: process.columns,
    program: nameProgram(process.env),
  });
}

/** How to speak of an error in the command line itself. */
function readEarlyOptions(argv: readonly string[]): GlobalOptions {
  return { json: argv.includes("--json"), color: !argv.includes("--no-color") };
}

function readVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
