// `npm run test:agents`: installs the real agents at their pinned versions outside of the repository and
// runs the same scenarios with each, one at a time. An agent that cannot be installed is skipped and says
// why. Exits 1 when a promise was broken.
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readNumber, readOptions } from "../crash/lane/command-line.ts";
import { describePlace } from "../crash/lane/place.ts";
import { runStint } from "../e2e/stint-process.ts";
import { AGENT_PLANS, type AgentPlan } from "./agent-plan.ts";
import {
  type AgentResult,
  listProblems,
  readResults,
  type ScenarioResult,
  writeResult,
} from "./results.ts";
import type { Findings, ScenarioOptions } from "./scenario.ts";
import { runCancel, runPause, runPermission } from "./scenarios/control.ts";
import { runKills } from "./scenarios/kills.ts";
import { runScript } from "./scenarios/script.ts";
import { runSecrets } from "./scenarios/secrets.ts";

const SCENARIOS: Readonly<Record<string, (options: ScenarioOptions) => Promise<Findings>>> = {
  script: runScript,
  kills: runKills,
  cancel: runCancel,
  pause: runPause,
  permission: runPermission,
  secrets: runSecrets,
};

const NAMES = AGENT_PLANS.map(({ name }) => name);
const USAGE = `npm run test:agents -- [--only ${NAMES.join(",")}] [--scenarios ${Object.keys(SCENARIOS).join(",")}]
                       [--results .stint/agents-results.json]
STINT_TEST_AGENTS: folder in which agents are installed; STINT_TEST_AGENT_KILLS: kills of each agent, 10.`;

const options = readOptions(USAGE, {
  only: NAMES.join(","),
  scenarios: Object.keys(SCENARIOS).join(","),
  results: ".stint/agents-results.json",
});
const cache = process.env["STINT_TEST_AGENTS"] ?? join(tmpdir(), "stint-test-agents");
const kills = readNumber("kills", process.env["STINT_TEST_AGENT_KILLS"] ?? "10", 1);
const wanted = choose(options.only, NAMES);
const scenarios = choose(options.scenarios, Object.keys(SCENARIOS));

const problems: string[] = [];
const skipped: string[] = [];
for (const plan of AGENT_PLANS.filter(({ name }) => wanted.includes(name))) {
  const result = await measure(plan);
  writeResult(options.results, result, NAMES);
  problems.push(...listProblems(result));
  if (result.skipped !== null) skipped.push(plan.name);
}
for (const problem of problems) print(`✕ ${problem}`);
if (skipped.length > 0) print(`not measured: ${skipped.join(", ")}`);
print(
  problems.length === 0 ? "every promise held where it was measured" : `${problems.length} broken`,
);
process.exit(problems.length === 0 ? 0 : 1);

async function measure(plan: AgentPlan): Promise<AgentResult> {
  const { name, title, notes, definition } = plan;
  const from = definition?.package;
  const former = readResults(options.results).find((result) => result.name === name);
  const known = {
    ...{ name, title, notes },
    package: from === undefined ? null : `${from.name}@${from.version}`,
  };
  const problem = await install(plan);
  if (problem !== null) {
    print(`– ${name}: skipped: ${problem}`);
    return { ...known, ...describePlace(), skipped: problem, scenarios: {} };
  }
  // A run of some scenarios keeps what is known of the others.
  const results: Record<string, ScenarioResult> = { ...former?.scenarios };
  for (const scenario of scenarios) {
    const result = await run(plan, scenario);
    results[scenario] = result;
    const isHeld = result.violations.length === 0 && result.brokeOff === undefined;
    print(`${isHeld ? "✓" : "✕"} ${name}: ${scenario}: ${JSON.stringify(result.facts)}`);
    for (const violation of result.violations) print(`    ${violation}`);
    if (result.brokeOff !== undefined) print(`    broke off: ${result.brokeOff}`);
  }
  return { ...known, ...describePlace(), skipped: null, scenarios: results };
}

async function run(plan: AgentPlan, scenario: string): Promise<ScenarioResult> {
  const startedAt = performance.now();
  const seconds = (): number => Math.round((performance.now() - startedAt) / 100) / 10;
  const onProgress = (line: string): void => print(`  ${plan.name}: ${scenario}: ${line}`);
  try {
    const found = await SCENARIOS[scenario]?.({ plan, cache, kills, onProgress });
    const { violations = [], facts = {} } = found ?? {};
    return { violations, facts, seconds: seconds(), commit: describePlace().commit };
  } catch (error) {
    const brokeOff = (error as Error).message.replace(/\s+/g, " ").slice(0, 600);
    const { commit } = describePlace();
    return { violations: [], facts: {}, brokeOff, seconds: seconds(), commit };
  }
}

/** Null once it is there; else why it is not. */
async function install({ name, definition }: AgentPlan): Promise<string | null> {
  if (definition?.package === undefined) return null;
  mkdirSync(cache, { recursive: true });
  const listed = await runStint(["agents", "--json"], { dataDir: cache });
  const { agents } = JSON.parse(listed.stdout) as {
    agents: readonly { name: string; available: boolean; detail: string }[];
  };
  const found = agents.find((agent) => agent.name === name);
  const { version } = definition.package;
  if (found?.available === true && found.detail === `${version} · installed by Stint`) return null;
  print(`  ${name}: installing ${definition.package.name}@${version}`);
  const { code, stderr } = await runStint(["agents", "install", name, "--json"], {
    dataDir: cache,
    env: npmEnvironment(),
  });
  if (code === 0) return null;
  const detail = /"detail":"((?:[^"\\]|\\.)*)"/.exec(stderr)?.[1] ?? stderr;
  return detail.replace(/\s+/g, " ").trim().slice(0, 600);
}

/** How npm reaches its registry here. */
function npmEnvironment(): Record<string, string> {
  const isOfNpm = /^(npm_config_\w+|https?_proxy|no_proxy|node_extra_ca_certs)$/i;
  const entries = Object.entries(process.env).filter(([name]) => isOfNpm.test(name));
  return Object.fromEntries(entries.map(([name, value]) => [name, value ?? ""]));
}

function choose(text: string, known: readonly string[]): readonly string[] {
  const names = text.split(",");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return names;
  process.stderr.write(`there is no "${unknown}"\n${USAGE}\n`);
  process.exit(2);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
