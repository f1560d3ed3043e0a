import type { AgentAdapter } from "../core/attempt.ts";
import { StintError } from "../core/error.ts";
import { suggestName } from "../core/suggestion.ts";

/** What one adapter says about this host. */
export interface AgentProbe {
  readonly name: string;
  readonly available: boolean;
  readonly detail: string;
}

/** The agents that a worker can run. */
export interface AgentRegistry {
  /** @throws {agent_unknown} with the names there are, and the one that may have been meant. */
  get(name: string): AgentAdapter;
  /** In the order in which they were given. */
  names(): readonly string[];
  /** Asks every adapter whether it can run here; one that throws cannot. */
  probeAll(): Promise<readonly AgentProbe[]>;
}

/** @throws {config_invalid} when two adapters have one name. */
export function createAgentRegistry(adapters: readonly AgentAdapter[]): AgentRegistry {
  const names = adapters.map(({ name }) => name);
  const doubled = names.find((name, index) => names.indexOf(name) !== index);
  if (doubled !== undefined) {
    throw new StintError("config_invalid", `There are two agents named ${doubled}.`);
  }
  return {
    names: () => names,
    get(name) {
      const adapter = adapters.find((known) => known.name === name);
      if (adapter === undefined) throw refuseUnknown(name, names);
      return adapter;
    },
    probeAll: () => Promise.all(adapters.map(probe)),
  };
}

function refuseUnknown(written: string, names: readonly string[]): StintError {
  const shown = written.slice(0, 60).replace(/\p{C}/gu, "?");
  const near = suggestName(shown, names);
  const hint = near === null ? "" : ` Did you mean ${near}?`;
  const message = `The agent "${shown}" is unknown.${hint} There are: ${names.join(", ") || "none"}.`;
  return new StintError("agent_unknown", message, { fields: { agent: shown } });
}

async function probe(adapter: AgentAdapter): Promise<AgentProbe> {
  const { name } = adapter;
  try {
    return { name, ...(await adapter.probe()) };
  } catch (error) {
    return {
      name,
      available: false,
      detail: error instanceof Error ? error.message : String(error),
    };
  }
}
