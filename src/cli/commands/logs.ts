import { Option } from "commander";
import type { StintClient } from "../../client.ts";
import { StintError } from "../../core/error.ts";
import type { SessionEventType } from "../../core/event.ts";
import { suggestName } from "../../core/suggestion.ts";
import {
  addExamples,
  collectList,
  readCount,
  type CommandContext,
  type CommandModule,
} from "../command.ts";
import { followSession, tellDetached } from "../follow-session.ts";

/** The types of this version; named here because their schemas take long to load. None is left out. */
const EVENT_TYPES = Object.keys({
  state_changed: true,
  thinking: true,
  terminal: true,
  file_change: true,
  completion: true,
  error: true,
  user_message: true,
  permission: true,
  tool: true,
  model_call: true,
} satisfies Record<SessionEventType, true>) as SessionEventType[];

const PAGE_EVENTS = 1_000;

interface LogsOptions {
  readonly follow?: boolean;
  readonly type?: readonly string[];
  readonly after: number;
}

export const command: CommandModule<LogsOptions> = {
  configure(command) {
    command.argument("<session>", "id, or the start of one");
    command.option("-f, --follow", "go on with what comes, until the session ends or Ctrl-C");
    command.addOption(
      new Option("--type <types>", `only these: ${EVENT_TYPES.join(", ")}`).argParser(collectList),
    );
    command.option("--after <seq>", "only events after this one", readCount(0, 1e15), 0);
    addExamples(command, ["stint logs -f 7f3a1c", "stint logs 7f3a1c --type error,terminal"]);
  },
  async run(context, [id = ""], options) {
    const types = options.type?.map(readType) ?? null;
    const client = await context.connect();
    const session = await client.sessions.get(id, { signal: context.signal });
    if (options.follow !== true) return printLog(context, client, session.id, options.after, types);
    const end = await followSession(context, client, session.id, {
      after: options.after,
      onEvent: (event) => {
        if (types === null || types.includes(event.type)) context.output.sessionEvent(event);
      },
    });
    return end === "detached" ? tellDetached(context, session.id) : 0;
  },
};

function readType(name: string): string {
  const type = name.toLowerCase();
  if ((EVENT_TYPES as readonly string[]).includes(type)) return type;
  const near = suggestName(type, EVENT_TYPES);
  throw new StintError(
    "usage_invalid",
    `"${name}" is no type of event${near === null ? "" : `. Did you mean ${near}?`}`,
    { remedy: `Types are ${EVENT_TYPES.join(", ")}.` },
  );
}

/** Prints what is there now, page by page. */
async function printLog(
  { output, signal }: CommandContext,
  client: StintClient,
  id: string,
  first: number,
  types: readonly string[] | null,
): Promise<number> {
  let after: number | string | null = first;
  while (after !== null) {
    const query = { after, limit: PAGE_EVENTS, ...(types === null ? {} : { type: types }) };
    const page: Awaited<ReturnType<StintClient["sessions"]["events"]>> =
      await client.sessions.events(id, query, { signal });
    for (const event of page.events) output.sessionEvent(event);
    after = page.nextCursor;
  }
  return 0;
}
