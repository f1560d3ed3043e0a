import type { AgentAdapter } from "../../core/attempt.ts";
import { loadModelClient } from "./model-client.ts";
import { askWithRetries } from "./model-retry.ts";
import { runTurn } from "./turn.ts";

/** The name of Stint's own agent. */
export const BUILTIN_AGENT = "builtin";

/**
 * Stint's own agent: a loop of model steps and tool calls whose every write is durable before the
 * next effect, so that it resumes exactly. It works with any model that Stint can bind.
 *
 * The libraries that speak to models are loaded by the first step that asks one.
 */
export function createBuiltinAgent(): AgentAdapter {
  return {
    name: BUILTIN_AGENT,
    needsModel: true,
    probe: () => Promise.resolve({ available: true, detail: "part of Stint" }),
    run: (context) => {
      let client: ReturnType<typeof loadModelClient> | null = null;
      return runTurn(context, async (request) => {
        client ??= loadModelClient(context.model);
        return askWithRetries(context, await client, request);
      });
    },
  };
}
