import { PRESETS } from "../../src/agents/acp/presets.ts";
import type { AcpAgentDefinition } from "../../src/agents/acp/definition.ts";
import { formatCommandLine } from "../../src/agents/command/command-line.ts";
import type { Script } from "../../src/core/script.ts";

/** An agent as the suite runs it. */
export interface AgentPlan {
  readonly name: string;
  readonly title: string;
  /** The model of its sessions; null where it has none. */
  readonly model: string | null;
  /** What it is, where it is a program of somebody else's. */
  readonly definition: AcpAgentDefinition | null;
  /** What its worker is set to beside what all are. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What is known of it that no scenario measures. */
  readonly notes: readonly string[];
  /** The prompt of a session that works through a script. */
  writePrompt(task: string, script: Script): string;
}

const NOTES: Readonly<Record<string, readonly string[]>> = {
  claude: ["brings the proprietary `claude` program; newer versions need Node 22"],
  codex: [
    "its own sandbox is off inside a strict one",
    "tells its client nothing of what a command that goes on prints at first, neither while it runs " +
      "nor in its last word on it; its model sees all of it. Its former shell tells all, but ends " +
      "every command after 10 s",
  ],
  gemini: ["names its memory by the minute: a load waits for the one after its session's first"],
  opencode: ["needs the install scripts of its package"],
};

const WIRE_MODELS = {
  anthropic: "anthropic:scripted",
  openai: "openai:scripted",
  gemini: "gemini:scripted",
} as const;

/** All agents of the suite, in the order of the matrix. */
export const AGENT_PLANS: readonly AgentPlan[] = [
  {
    name: "builtin",
    title: "Stint's own",
    model: WIRE_MODELS.anthropic,
    definition: null,
    notes: [],
    writePrompt: (task) => task,
  },
  ...PRESETS.map((definition) => ({
    name: definition.name,
    title: definition.title,
    model: definition.wire === null ? null : WIRE_MODELS[definition.wire],
    definition,
    notes: NOTES[definition.name] ?? [],
    writePrompt: (task: string) => task,
  })),
  {
    name: "command",
    title: "any program",
    model: null,
    definition: null,
    notes: ["a program that was cut off is not run again by itself: its session fails and says so"],
    writePrompt: (_task, script) => formatCommandLine(["sh", "-ec", writeShell(script)]),
  },
];

/** A program that does what a script says, for an agent without a model. */
function writeShell(script: Script): string {
  return script
    .flatMap((step) => {
      // A model goes on after a command that failed.
      if ("bash" in step) return [`{ ${step.bash}; } || true`];
      if ("text" in step) return [`echo ${quote(step.text)}`];
      if (!("write" in step)) return [];
      return [`printf %s ${quote(step.write.content)} > ${quote(step.write.path)}`];
    })
    .join("\n");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
