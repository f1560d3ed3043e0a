import type { AgentAdapter } from "../../core/attempt.ts";
import { StintError } from "../../core/error.ts";
import { formatCommandLine } from "../command/command-line.ts";
import { findProgram, type FoundProgram, type ProgramPlaces } from "../program.ts";
import type { SessionOrigin } from "./agent-session.ts";
import type { AcpAgentDefinition } from "./definition.ts";
import { runAcpAgent } from "./run.ts";

/** What an agent of the protocol is made with. */
export interface AcpAgentOptions {
  readonly definition: AcpAgentDefinition;
  /** Where its program is looked for, each time that it is started. */
  readonly places: ProgramPlaces;
  /** Told when it has started, and how it came to its session. */
  readonly onStart?: (started: {
    readonly version: string | null;
    readonly origin: SessionOrigin;
  }) => void;
}

/**
 * An agent that is a program of its own and speaks the Agent Client Protocol (version 1) over its
 * stdin and stdout. Every tool call that it tells of is in the ledger, before it acts where the
 * agent asks for leave; an agent that acts unasked is promised at-least-once only.
 *
 * After a loss it goes on by `session/resume`, else `session/load`, else anew with a digest of the
 * log; always with the facts.
 */
export function createAcpAgent(options: AcpAgentOptions): AgentAdapter {
  const { definition, places, onStart } = options;
  const { name, wire, command } = definition;
  return {
    name,
    needsModel: wire !== null,
    actsUnseen: true,
    isProgram: true,
    async probe() {
      const program = await findProgram(command, places);
      if (program === null) return { available: false, detail: explainMissing(definition) };
      return { available: true, detail: describeProgram(program, definition) };
    },
    async run(context) {
      const program = await findProgram(command, places);
      if (program === null) throw new StintError("agent_missing", explainMissing(definition));
      if (definition.quirks.actsUnasked) {
        const fields = { sessionId: context.sessionId, agent: name };
        context.log.debug(fields, "This agent may act before its calls are written down");
      }
      return runAcpAgent(context, definition, program, onStart);
    },
  };
}

/** Says what is missing, and how it is got. */
export function explainMissing({
  name,
  title,
  command,
  package: from,
}: AcpAgentDefinition): string {
  const how = from === undefined ? "" : ` Install it with: stint agents install ${name}`;
  return `${title} is not installed: there is no ${command} in PATH.${how}`;
}

function describeProgram(
  { version, command, origin }: FoundProgram,
  { args }: AcpAgentDefinition,
): string {
  const line = formatCommandLine([command, ...args]);
  const place = origin === "installed" ? "installed by Stint" : line;
  return version === null ? place : `${version} · ${place}`;
}
