import { Option } from "commander";
import type { Session, StintClient } from "../../client.ts";
import { delay } from "../../core/clock.ts";
import { SESSION_STATES, isSessionState, type SessionState } from "../../core/state.ts";
import { StintError } from "../../core/error.ts";
import { suggestName } from "../../core/suggestion.ts";
import {
  addExamples,
  collectList,
  readCount,
  type CommandContext,
  type CommandModule,
} from "../command.ts";
import type { Output } from "../output.ts";
import { formatSessionTable } from "../session-table.ts";
import { StopSignal } from "../stop-signal.ts";
import { systemClock } from "../system-clock.ts";

const WATCH_INTERVAL_MS = 2_000;
const PAGE_SESSIONS_MAX = 500;

interface LsOptions {
  readonly status?: readonly string[];
  readonly agent?: string;
  readonly limit: number;
  readonly watch?: boolean;
}

interface Listing {
  readonly sessions: readonly Session[];
  readonly nextCursor: string | null;
}

export const command: CommandModule<LsOptions> = {
  configure(command) {
    const states = SESSION_STATES.join(", ");
    command.addOption(
      new Option("--status <states>", `only these: ${states}`).argParser(collectList),
    );
    command.option("--agent <name>", "only this agent's");
    command.option("--limit <count>", "how many, newest first", readCount(1, 10_000), 50);
    command.option("--watch", "keep the list up to date until Ctrl-C");
    addExamples(command, ["stint ls --status active,paused", "stint ls --watch"]);
  },
  async run(context, _args, options) {
    const status = options.status?.map(readState);
    const client = await context.connect();
    const read = () => readSessions(client, { ...options, status }, context.signal);
    if (options.watch === true) return watchSessions(context, read);
    show(context.output, await read());
    return 0;
  },
};

function readState(name: string): SessionState {
  const state = name.toLowerCase();
  if (isSessionState(state)) return state;
  const near = suggestName(state, SESSION_STATES);
  throw new StintError(
    "usage_invalid",
    `"${name}" is no state${near === null ? "" : `. Did you mean ${near}?`}`,
    { remedy: `States are ${SESSION_STATES.join(", ")}.` },
  );
}

async function readSessions(
  client: StintClient,
  query: Pick<LsOptions, "agent" | "limit"> & { status?: readonly SessionState[] | undefined },
  signal: AbortSignal,
): Promise<Listing> {
  const sessions: Session[] = [];
  let cursor: string | null = null;
  do {
    const page: Listing = await client.sessions.list(
      {
        limit: Math.min(PAGE_SESSIONS_MAX, query.limit - sessions.length),
        ...(query.status === undefined ? {} : { status: query.status }),
        ...(query.agent === undefined ? {} : { agent: query.agent }),
        ...(cursor === null ? {} : { cursor }),
      },
      { signal },
    );
    sessions.push(...page.sessions);
    cursor = page.nextCursor;
  } while (cursor !== null && sessions.length < query.limit);
  return { sessions, nextCursor: cursor };
}

function show(output: Output, listing: Listing): void {
  output.document(listing);
  if (listing.sessions.length === 0) {
    output.line(output.hint('No sessions. Start one: stint run "fix the failing test"'));
    return;
  }
  for (const line of formatSessionTable(output, listing.sessions, systemClock.now()))
    output.result(line);
  if (listing.nextCursor !== null) {
    output.notice(
      output.hint(`older ones are left out: stint ls --limit ${listing.sessions.length * 4}`),
    );
  }
}

/** Redraws on a terminal; elsewhere writes the list again whenever it has changed. */
async function watchSessions(context: CommandContext, read: () => Promise<Listing>) {
  const { output, signal } = context;
  let shown = "";
  try {
    for (;;) {
      const listing = await read();
      const content = JSON.stringify(listing);
      if (output.isTerminal) output.raw("\u001B[H\u001B[2J");
      if (output.isTerminal || content !== shown) {
        if (output.isJson) output.raw(`${content}\n`);
        else show(output, listing);
      }
      shown = content;
      await delay(systemClock, WATCH_INTERVAL_MS, signal);
    }
  } catch (error) {
    if (error instanceof StopSignal) return error.exitCode;
    throw error;
  }
}
