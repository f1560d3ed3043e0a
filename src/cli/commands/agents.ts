import { StintError } from "../../core/error.ts";
import { suggestName } from "../../core/suggestion.ts";
import { installAgent } from "../../workspace/agent-install.ts";
import { probeAgent } from "../agent-probe.ts";
import { type AgentReport, readReports, writeReport } from "../agent-reports.ts";
import { type KnownAgent, listAgents, locateInstalled } from "../agent-set.ts";
import { addExamples, type CommandContext, type CommandModule } from "../command.ts";
import { type Cell, type Column, formatTable } from "../table.ts";
import { toSafeLine } from "../terminal-safe.ts";

const ACTIONS = ["install", "probe"] as const;

const COLUMNS: readonly Column[] = [
  { title: "AGENT" },
  { title: "THERE" },
  { title: "RESUME" },
  { title: "LEAVE" },
  { title: "CANCEL" },
  { title: "OUTPUT" },
  { title: "EXIT CODE" },
  { title: "TOKENS" },
  { title: "DETAIL" },
  { title: "MEASURED" },
];

export const command: CommandModule = {
  configure(command) {
    command.argument("[action]", "install or probe; none: list the agents");
    command.argument("[name]", "the agent");
    addExamples(command, [
      "stint agents",
      "stint agents install opencode",
      "stint agents probe opencode",
    ]);
  },
  async run(context, [action, name]) {
    const config = await context.loadConfig();
    const agents = listAgents(config, context.env);
    if (action === undefined) return list(context, agents, config.dataDir);
    if (!ACTIONS.some((known) => known === action)) throw refuseAction(action);
    const agent = findAgent(agents, name);
    return action === "install"
      ? install(context, agent, config.dataDir)
      : probe(context, agent, config.dataDir);
  },
};

async function list(
  { output }: CommandContext,
  agents: readonly KnownAgent[],
  dataDir: string,
): Promise<number> {
  const reports = await readReports(dataDir);
  const found = await Promise.all(
    agents.map(async ({ name, source, adapter, definition }) => {
      const { available, detail } = await adapter.probe();
      const install = definition?.package ?? null;
      const report = reports[name] ?? null;
      return { name, source, available, detail, package: install, report };
    }),
  );
  output.document({ agents: found });
  const rows = found.map(({ name, available, detail, report, package: from }): Cell[] => [
    { text: name },
    available
      ? { text: "✓", style: (text) => output.style("green", text) }
      : { text: "–", style: (text) => output.style("dim", text) },
    ...showReport(report),
    { text: toSafeLine(available || from === null ? detail : describeMissing(name)) },
    showMeasured(report, (text) => output.style("dim", text)),
  ]);
  for (const line of formatTable(COLUMNS, rows, (text) => output.style("dim", text))) {
    output.result(line);
  }
  output.line(output.style("dim", LEGEND));
  const next = found.find((one) => one.available && one.package !== null && one.report === null);
  if (next !== undefined) {
    output.line(output.hint(`What it can do is measured by: stint agents probe ${next.name}`));
  }
  return 0;
}

const LEGEND =
  "THERE: found on this host · RESUME: how it goes on after kill -9 · LEAVE: asks before it acts ·\n" +
  "CANCEL: stops within a second · OUTPUT, EXIT CODE: of its commands · TOKENS: tells those of a turn\n" +
  "?: not measured on this host";

/** The version that was measured, and when: the one that is there now may be another. */
function showMeasured(report: AgentReport | null, style: (text: string) => string): Cell {
  if (report === null) return { text: "" };
  const text = [report.version, report.measuredAt.slice(0, 10)].filter(Boolean).join(", ");
  return { text: toSafeLine(text), style };
}

function describeMissing(name: string): string {
  return `get it: stint agents install ${name}`;
}

function say(value: boolean): Cell {
  return { text: value ? "yes" : "no" };
}

function showReport(report: AgentReport | null): Cell[] {
  if (report === null) return Array.from({ length: 6 }, (): Cell => ({ text: "?" }));
  const { resume, permission, cancel, output, exitCode, usage } = report.capabilities;
  return [
    { text: resume },
    say(permission),
    say(cancel),
    { text: output },
    say(exitCode),
    say(usage),
  ];
}

async function install(
  { output, env, signal }: CommandContext,
  { name, definition }: KnownAgent,
  dataDir: string,
): Promise<number> {
  const from = definition?.package;
  if (from === undefined) {
    throw new StintError("usage_invalid", `Stint knows no package for the agent ${name}`, {
      remedy: "stint agents lists those that it can install.",
    });
  }
  const folder = locateInstalled(dataDir, name);
  await installAgent({
    ...from,
    folder,
    env,
    signal,
    onProgress: (line) => output.progress(toSafeLine(line)),
  });
  output.document({ name, package: from.name, version: from.version, folder });
  output.result(`installed  ${from.name} ${from.version}`);
  output.line(output.hint(`Use it:  stint run --agent ${name} --model anthropic:NAME "…"`));
  return 0;
}

async function probe(
  { output, signal, env }: CommandContext,
  agent: KnownAgent,
  dataDir: string,
): Promise<number> {
  const report = await probeAgent(agent, {
    dataDir,
    env,
    signal,
    onProgress: (line) => output.progress(line),
  });
  if (!report.capabilities.completes) {
    for (const note of report.notes) output.notice(note);
    throw new StintError("agent_error", `${agent.name} could not be measured; nothing is stored`, {
      remedy: "It must act by itself on the model that it is given: see docs/agents.md.",
    });
  }
  await writeReport(dataDir, agent.name, report);
  output.document({ name: agent.name, ...report });
  for (const [what, value] of Object.entries(report.capabilities)) {
    output.result(
      `${what.padEnd(12)}${typeof value === "boolean" ? (value ? "yes" : "no") : value}`,
    );
  }
  for (const note of report.notes) output.line(toSafeLine(note));
  return 0;
}

function findAgent(agents: readonly KnownAgent[], name: string | undefined): KnownAgent {
  const names = agents.map((agent) => agent.name);
  const found = agents.find((agent) => agent.name === name);
  if (found) return found;
  const near = suggestName(name ?? "", names);
  const hint = near === null ? "." : `, did you mean ${near}?`;
  const asked = name === undefined ? "Name an agent." : `the agent "${name}" is unknown${hint}`;
  throw new StintError("usage_invalid", `${asked} There are: ${names.join(", ")}.`);
}

function refuseAction(action: string): StintError {
  const near = suggestName(action, ACTIONS);
  const hint = near === null ? "" : `, did you mean ${near}?`;
  return new StintError("usage_invalid", `"${action}" is neither install nor probe${hint}`);
}
