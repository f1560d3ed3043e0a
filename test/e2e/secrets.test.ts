import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { AGENT_PLANS, type AgentPlan } from "../agents/agent-plan.ts";
import { LOOK_FOR_KEYS, runSecrets } from "../agents/scenarios/secrets.ts";
import { requireTool } from "../tools.ts";

const FAKE = fileURLToPath(new URL("../conformance/agent/fake-acp-agent.mjs", import.meta.url));

const acts = [
  { askModel: "Is there a key?" },
  { run: LOOK_FOR_KEYS },
  { run: "printenv" },
  { say: "Done." },
];
const env = { FAKE_ACTS: JSON.stringify(acts) };
const fake = { command: process.execPath, args: [FAKE], env, model: "anthropic" };
const fakePlan: AgentPlan = {
  ...{ name: "fake-acp", title: "The fake agent", definition: null, notes: [] },
  model: "anthropic:scripted",
  settings: { STINT_AGENTS: JSON.stringify({ "fake-acp": fake }) },
  writePrompt: (task) => task,
};
const plans = [...AGENT_PLANS.filter(({ definition }) => definition === null), fakePlan];

test.each(plans.map((plan) => [plan.name, plan] as const))(
  "a key of the worker is nowhere but in the worker, though it is used, when %s looks for it",
  async (_name, plan) => {
    requireTool({ skip: (note) => expect.unreachable(note) }, "bwrap");
    const { violations, facts } = await runSecrets({ plan, cache: null });
    expect(violations).toEqual([]);
    expect(facts["searchedTables"]).toBeGreaterThan(5);
    expect(facts["searchedFiles"]).toBeGreaterThan(5);
  },
  180_000,
);
