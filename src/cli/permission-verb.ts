import type { Permission, StintClient } from "../client.ts";
import { StintError } from "../core/error.ts";
import { addExamples, type CommandModule } from "./command.ts";
import { describePermission } from "./permission-text.ts";
import { systemClock } from "./system-clock.ts";
import { toSafeLine } from "./terminal-safe.ts";

/** A command that decides what the agent of a session asked leave for. */
export function definePermissionVerb(verb: {
  readonly name: "approve" | "deny";
  readonly decision: "allow" | "deny";
  readonly done: string;
}): CommandModule<{ readonly note?: string; readonly all?: boolean }> {
  return {
    configure(command) {
      command.argument("<session>", "id, or the start of one");
      command.argument("[permission]", "which request, when there are several");
      command.option("--note <text>", "what the agent is told with it");
      command.option("--all", "all requests that wait");
      addExamples(command, [
        `stint ${verb.name} 7f3a1c`,
        `stint ${verb.name} 7f3a1c --note "only once"`,
      ]);
    },
    async run({ output, connect, signal }, [id = "", asked], { note, all }) {
      const client = await connect();
      const chosen = await choose(client, id, asked, all === true, signal);
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
