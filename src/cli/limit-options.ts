import type { Command } from "commander";
import { StintError } from "../core/error.ts";
import type { SessionLimits } from "../core/session.ts";
import { suggestName } from "../core/suggestion.ts";
import { parseDurationMs } from "./duration.ts";

type LimitName = keyof SessionLimits;

/** The limits of a session; a flag each (`--max-iterations`), and all by `--limit name=value`. */
const LIMITS = {
  maxIterations: "model steps",
  idleTimeoutMs: "idle time while active",
  pausedTimeoutMs: "time paused",
  queueTimeoutMs: "time in the queue",
  deadlineMs: "from creation to the end, or none",
  commandTimeoutMs: "one command",
  modelCallTimeoutMs: "one model call",
  outputBytesMax: "bytes kept of one command's output",
} as const satisfies Record<LimitName, string>;

const NAMES = Object.keys(LIMITS) as LimitName[];

/** Options as commander gives them: a name per limit, without the unit. */
export type LimitOptions = { readonly [name: string]: unknown } & {
  readonly limit?: readonly string[];
};

/** Declares `--limit` and a flag for each limit. */
export function addLimitOptions(command: Command): void {
  command.option(
    "--limit <name=value>",
    "set a limit; durations as in 90s, 10m, 2h",
    (text: string, list: readonly string[] = []) => [...list, text],
  );
  for (const name of NAMES) {
    const value = name.endsWith("Ms") ? "duration" : "count";
    command.option(`${flagOf(name)} <${value}>`, `limit: ${LIMITS[name]}`);
  }
}

/** The limits that the options set. @throws {usage_invalid} */
export function readLimits(options: LimitOptions): Partial<SessionLimits> {
  const limits: Record<string, number | null> = {};
  for (const pair of options.limit ?? []) {
    const [name = "", ...value] = pair.split("=");
    const known = findLimit(name);
    limits[known] = readValue(known, value.join("="), `--limit ${known}`);
  }
  for (const name of NAMES) {
    const value = options[stem(name)];
    if (typeof value === "string") limits[name] = readValue(name, value, flagOf(name));
  }
  return limits as Partial<SessionLimits>;
}

/** `idleTimeoutMs`, `idleTimeout` or `idle-timeout`. */
function findLimit(written: string): LimitName {
  const plain = written.replaceAll("-", "").toLowerCase();
  const found = NAMES.find((name) => [name, stem(name)].some((n) => n.toLowerCase() === plain));
  if (found !== undefined) return found;
  const near = suggestName(written, NAMES);
  throw new StintError(
    "usage_invalid",
    `"${written}" is no limit${near === null ? "" : `. Did you mean ${near}?`}`,
    { remedy: `Limits are ${NAMES.join(", ")}.` },
  );
}

function readValue(name: LimitName, text: string, origin: string): number | null {
  if (name === "deadlineMs" && text === "none") return null;
  if (name.endsWith("Ms")) return parseDurationMs(text);
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new StintError("usage_invalid", `${origin} must be a whole number, not "${text}"`, {
    remedy: "stint run --help",
  });
}

function stem(name: LimitName): string {
  return name.replace(/Ms$/, "");
}

function flagOf(name: LimitName): string {
  return `--${stem(name).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
