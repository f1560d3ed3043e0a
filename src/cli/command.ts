import type { Command } from "commander";
import type { StintClient } from "../client.ts";
import type { Config } from "../core/config.ts";
import type { Output } from "./output.ts";

/** What every command is given. */
export interface CommandContext {
  readonly output: Output;
  /** Aborts at the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: NodeJS.ReadStream;
  /**
   * The configuration: the global options and the given flags, environment, file.
   * @throws {config_invalid}
   */
  loadConfig(flags?: Readonly<Record<string, unknown>>): Promise<Config>;
  /** The client of the server in question. @throws {server_unreachable} */
  connect(): Promise<StintClient>;
}

/** One command, in a file of its own, loaded when it is called. */
export interface CommandModule<Options = never> {
  /** Declares arguments, options and examples. */
  configure(command: Command): void;
  /** Does it; resolves with the exit code. */
  run(context: CommandContext, args: readonly string[], options: Options): Promise<number>;
}

/** Reads a whole number within bounds, for an option. */
export function readCount(min: number, max: number): (text: string) => number {
  return (text) => {
    const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (count >= min && count <= max) return count;
    throw new InvalidOption(`It must be a whole number from ${min} to ${max}.`);
  };
}

/** Collects an option that may be repeated or hold a list with commas. */
export function collectList(text: string, list: readonly string[] = []): readonly string[] {
  const items = text.split(",").map((item) => item.trim());
  return [...list, ...items.filter((item) => item !== "")];
}

/** As commander's own: recognised by its code, so that commander is not loaded for it. */
class InvalidOption extends Error {
  readonly code = "commander.invalidArgument";
}

/** Adds examples below the help of a command. */
export function addExamples(command: Command, examples: readonly string[]): void {
  command.addHelpText("after", `\nExamples:\n${examples.map((line) => `  ${line}`).join("\n")}\n`);
}
