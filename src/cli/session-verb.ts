import type { Command } from "commander";
import type { Session, StintClient } from "../client.ts";
import { StintError } from "../core/error.ts";
import { isTerminal } from "../core/state.ts";
import { addExamples, type CommandModule } from "./command.ts";
import { describeState } from "./session-text.ts";

/** A command that does one thing to one session and says how the session then stands. */
export function defineSessionVerb(verb: {
  readonly example: string;
  /** What it does to a session, as in "be paused". */
  readonly verb: string;
  readonly act: (
    client: StintClient,
    id: string,
    signal: AbortSignal,
    options: object,
  ) => Promise<Session>;
  /** Declares options of its own. */
  readonly configure?: (command: Command) => void;
  /** What the person should know beside the state. */
  readonly remark: (session: Session) => string;
}): CommandModule {
  return {
    configure(command) {
      command.argument("<session>", "id, or the start of one");
      verb.configure?.(command);
      addExamples(command, [verb.example]);
    },
    async run({ output, connect, signal }, [id = ""], options) {
      const client = await connect();
      const session = await verb.act(client, id, signal, options).catch(async (thrown: unknown) => {
        if ((thrown as Partial<StintError>).code !== "illegal_transition") throw thrown;
        throw explainRefusal(await client.sessions.get(id, { signal }), verb.verb, thrown);
      });
      output.document(session);
      const { text, style } = describeState(session);
      const remark = output.hint(verb.remark(session));
      output.result(`${session.id}  ${output.style(style, text)}${remark && `  ${remark}`}`);
      return 0;
    },
  };
}

/** Why a session cannot be paused or resumed as it stands, in words for a person. */
function explainRefusal({ id, status }: Session, verb: string, cause: unknown): unknown {
  const explain = (message: string, remedy: string): StintError =>
    new StintError("illegal_transition", message, { cause, remedy, fields: { status } });
  if (isTerminal(status)) {
    const remedy = 'Start a new one: stint run "…"; what this one did: stint show ';
    return explain(`it has ended as ${status}, and cannot ${verb} any more`, `${remedy}${id}`);
  }
  if (status === "pending") {
    const remedy = "See who could take it: stint workers";
    return explain(`it is pending: it has not begun, and cannot ${verb}`, remedy);
  }
  if (status === "active") {
    return explain(`it is active already, and cannot ${verb}`, `Watch it: stint attach ${id}`);
  }
  return cause; // it has moved on meanwhile
}
