import { SANDBOX_WORKSPACE } from "../../core/sandbox.ts";
import type { AcpAgentDefinition, AgentSetting } from "./definition.ts";
import { modelEnvironment } from "./model-environment.ts";

/**
 * The agents that Stint knows by name: how each is started without telemetry and without updating
 * itself, and what it does otherwise than the protocol says. What stands here was seen.
 */
export const PRESETS: readonly AcpAgentDefinition[] = [
  {
    name: "claude",
    title: "Claude Code",
    command: "claude-agent-acp",
    args: [],
    wire: "anthropic",
    mode: "default",
    package: {
      name: "@agentclientprotocol/claude-agent-acp",
      version: "0.49.0",
      bin: "claude-agent-acp",
      needsScripts: false,
    },
    environment: (setting) => ({
      ...modelEnvironment("anthropic", setting.door),
      ...nameModel(setting, ["ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL"]),
      CLAUDE_CONFIG_DIR: `${setting.home}/.claude`,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      DISABLE_TELEMETRY: "1",
      DISABLE_AUTOUPDATER: "1",
      DISABLE_ERROR_REPORTING: "1",
    }),
    quirks: {
      exitCode: "in_text",
      usage: "turn",
      replayQuietMs: 200,
      loadsNextMinuteOnly: false,
      actsUnasked: true,
      volatileInput: [],
    },
  },
  {
    name: "codex",
    title: "Codex",
    command: "codex-acp",
    args: [],
    wire: "openai",
    package: {
      name: "@zed-industries/codex-acp",
      version: "0.16.0",
      bin: "codex-acp",
      needsScripts: false,
    },
    environment: (setting) => ({
      // A home of its own, never below TMPDIR: there its sandbox does not find itself.
      CODEX_HOME: `${setting.home}/.codex`,
      OPENAI_API_KEY: setting.door?.token ?? "",
    }),
    files: (setting) => ({ ".codex/config.toml": writeCodexConfig(setting) }),
    quirks: {
      exitCode: "true",
      usage: "none",
      replayQuietMs: 200,
      loadsNextMinuteOnly: false,
      actsUnasked: true,
      volatileInput: [
        ...["call_id", "turn_id", "process_id", "started_at_ms", "source", "parsed_cmd"],
        ...["proposed_execpolicy_amendment", "available_decisions"],
      ],
    },
  },
  {
    name: "gemini",
    title: "Gemini CLI",
    command: "gemini",
    args: ["--acp"],
    wire: "gemini",
    mode: "default",
    authMethod: "gemini-api-key",
    package: {
      name: "@google/gemini-cli",
      version: "0.61.0",
      bin: "gemini",
      needsScripts: false,
    },
    environment: (setting) => ({
      ...modelEnvironment("gemini", setting.door),
      ...nameModel(setting, ["GEMINI_MODEL"]),
      // Without it a child of its own outlives SIGTERM.
      GEMINI_CLI_NO_RELAUNCH: "true",
    }),
    files: (setting) => ({ ".gemini/settings.json": writeGeminiSettings(setting) }),
    quirks: {
      exitCode: "absent",
      usage: "turn",
      replayQuietMs: 1_000,
      loadsNextMinuteOnly: true,
      actsUnasked: false,
      volatileInput: [],
    },
  },
  {
    name: "opencode",
    title: "opencode",
    command: "opencode",
    args: ["acp"],
    wire: "openai",
    package: { name: "opencode-ai", version: "1.18.33", bin: "opencode", needsScripts: true },
    environment: (setting) => ({
      OPENCODE_CONFIG_CONTENT: JSON.stringify(writeOpencodeConfig(setting)),
      OPENCODE_DISABLE_AUTOUPDATE: "1",
      OPENCODE_DISABLE_MODELS_FETCH: "1",
    }),
    quirks: {
      exitCode: "true",
      usage: "last_call",
      replayQuietMs: 300,
      loadsNextMinuteOnly: false,
      actsUnasked: false,
      volatileInput: [],
    },
  },
];

function nameModel({ model }: AgentSetting, variables: readonly string[]): Record<string, string> {
  return model === null ? {} : Object.fromEntries(variables.map((name) => [name, model]));
}

function writeCodexConfig({ door, model, workspace }: AgentSetting): string {
  // Its own sandbox cannot be made inside a strict one, which bounds it already.
  const isBounded = workspace === SANDBOX_WORKSPACE;
  return [
    `model = ${JSON.stringify(model ?? "")}`,
    `model_provider = "stint"`,
    `approval_policy = "untrusted"`,
    `sandbox_mode = ${JSON.stringify(isBounded ? "danger-full-access" : "workspace-write")}`,
    `check_for_update_on_startup = false`,
    "",
    "[analytics]",
    "enabled = false",
    "",
    "[model_providers.stint]",
    `name = "stint"`,
    `base_url = ${JSON.stringify(door?.urls.openai ?? "")}`,
    `env_key = "OPENAI_API_KEY"`,
    `wire_api = "responses"`,
    "",
  ].join("\n");
}

function writeGeminiSettings({ model }: AgentSetting): string {
  const settings = {
    security: { auth: { selectedType: "gemini-api-key" } },
    privacy: { usageStatisticsEnabled: false },
    usageStatisticsEnabled: false,
    general: {
      ...{ disableAutoUpdate: true, disableUpdateNag: true, enableAutoUpdate: false },
      // Each load leaves an empty chat beside the one that it reads. The next start would take it for
      // a broken session, and delete all chats of the same id with it.
      sessionRetention: { enabled: false },
    },
    // Without a fixed name it asks a router for one, again and again.
    ...(model !== null && { model: { name: model } }),
  };
  return `${JSON.stringify(settings, null, 2)}\n`;
}

function writeOpencodeConfig({ door, model }: AgentSetting): object {
  const name = model ?? "default";
  return {
    $schema: "https://opencode.ai/config.json",
    autoupdate: false,
    share: "disabled",
    model: `stint/${name}`,
    small_model: `stint/${name}`,
    permission: { bash: "ask", edit: "ask" },
    provider: {
      stint: {
        npm: "@ai-sdk/openai-compatible",
        name: "Stint",
        options: { baseURL: door?.urls.openai ?? "", apiKey: door?.token ?? "" },
        models: { [name]: { name } },
      },
    },
  };
}
