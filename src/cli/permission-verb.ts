import type { Permission, StintClient } from "../client.ts";
import { StintError } from "../core/error.ts";
import { addExamples, type CommandContext, type CommandModule } from "./command.ts";
import { readYes } from "./confirm.ts";
import { describePermission } from "./permission-text.ts";
import { systemClock } from "./system-clock.ts";
import { toSafeLine } from "./terminal-safe.ts";

/** The person was asked, and said no. */
const EXIT_DECLINED = 1;

/** A command that decides what the agent of a session asked leave for. */
export function definePermissionVerb(verb: {
  readonly name: "approve" | "deny";
  readonly decision: "allow" | "deny";
  readonly done: string;
  /** On a terminal it shows what is asked, and goes on when the person says so. */
  readonly isConfirmed: boolean;
}): CommandModule<{ readonly note?: string; readonly all?: boolean; readonly yes?: boolean }> {
  return {
    configure(command) {
      command.argument("<session>", "id, or the start of one");
      command.argument("[permission]", "which request, when there are several");
      command.option("--note <text>", "what the agent is told with it");
      command.option("--all", "all requests that wait");
      if (verb.isConfirmed) command.option("-y, --yes", "without asking you first, on a terminal");
      addExamples(command, [
        `stint ${verb.name} 7f3a1c`,
        `stint ${verb.name} 7f3a1c --note "only once"`,
      ]);
    },
    async run(context, [id = "", asked], { note, all, yes }) {
      const { output, signal } = context;
      const client = await context.connect();
      const chosen = await choose(client, id, asked, all === true, signal);
      const isWatched = output.isTerminal && context.stdin.isTTY;
      if (verb.isConfirmed && yes !== true && isWatched) {
        const permissions = await client.sessions.permissions(id, { signal });
        if (!(await confirm(context, permissions, chosen))) return EXIT_DECLINED;
      }
      const answer = { decision: verb.decision, note };
      const decided: Permission[] = [];
      for (const permissionId of chosen) {
        decided.push(await client.sessions.decidePermission(id, permissionId, answer, { signal }));
      }
      output.document(all === true ? decided : decided[0]);
      for (const permission of decided) {
        output.result(
          `${verb.done}  ${describePermission(permission, systemClock.now()).join("\n")}`,
        );
      }
      return 0;
    },
  };
}

/** Shows what waits, and asks. What has no pending question the server answers for. */
async function confirm(
  { output, stdin, signal }: CommandContext,
  permissions: readonly Permission[],
  chosen: readonly string[],
): Promise<boolean> {
  const shown = permissions.filter(
    ({ id, status }) =>
      status === "pending" && chosen.some((start) => id.startsWith(start.toLowerCase())),
  );
  if (shown.length === 0) return true;
  for (const permission of shown) {
    const [title, ...lines] = describePermission(permission, systemClock.now());
    output.result([`asks  ${title}`, ...lines].join("\n"));
  }
  output.result(shown.length === 1 ? "Allow it? [y/N]" : `Allow these ${shown.length}? [y/N]`);
  if (await readYes(stdin, signal)) return true;
  output.result("Nothing is decided.");
  return false;
}

async function choose(
  client: StintClient,
  id: string,
  asked: string | undefined,
  all: boolean,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (asked !== undefined) return [asked];
  const permissions = await client.sessions.permissions(id, { signal });
  const waiting = permissions.filter(({ status }) => status === "pending");
  if (waiting.length === 0) {
    throw new StintError("permission_not_found", "the agent of this session asks nothing now");
  }
  if (all || waiting.length === 1) return waiting.map((one) => one.id);
  const lines = waiting.map((one) => `  ${one.id.slice(0, 8)}  ${toSafeLine(one.title)}`);
  throw new StintError("usage_invalid", `the agent asks several things:\n${lines.join("\n")}`, {
    remedy: "Name one of them, or give --all.",
  });
}
