import { describe, expect, it } from "vitest";
import { SANDBOX_WORKSPACE } from "../../core/sandbox.ts";
import type { AgentSetting } from "./definition.ts";
import { modelEnvironment } from "./model-environment.ts";
import { PRESETS } from "./presets.ts";

const urls = { anthropic: "http://a", openai: "http://o/v1", gemini: "http://g" };
const door = { token: "the-token", urls };
const setting: AgentSetting = { home: "/h", workspace: "/w", door, model: "the-model" };

describe("the agents that Stint knows", () => {
  it.each(PRESETS.map((preset) => [preset.name, preset] as const))(
    "%s is led to its model by the door alone, and pinned exactly",
    (_name, preset) => {
      const told = JSON.stringify([preset.environment(setting), preset.files?.(setting)]);
      expect(told).toContain(urls[preset.wire ?? "anthropic"]);
      expect(told).toContain("the-token");
      expect(told).toContain("the-model");
      expect(preset.package?.version).toMatch(/^\d+\.\d+\.\d+$/);
      const ours = Object.keys(preset.environment(setting)).filter((key) =>
        key.startsWith("STINT_"),
      );
      expect(ours).toEqual([]);
    },
  );

  it("have names of their own", () => {
    const names = PRESETS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it("keep what they remember: no start of Gemini CLI tidies it away", () => {
    const gemini = PRESETS.find(({ name }) => name === "gemini");
    const settings = gemini?.files?.(setting)[".gemini/settings.json"] ?? "{}";
    expect(JSON.parse(settings)).toMatchObject({
      general: { sessionRetention: { enabled: false } },
    });
  });

  it("do not make a sandbox inside a strict one", () => {
    const codex = PRESETS.find(({ name }) => name === "codex");
    const writeConfig = (workspace: string): string =>
      codex?.files?.({ ...setting, workspace })[".codex/config.toml"] ?? "";
    expect(writeConfig("/w")).toContain('sandbox_mode = "workspace-write"');
    expect(writeConfig(SANDBOX_WORKSPACE)).toContain('sandbox_mode = "danger-full-access"');
  });
});

it("an environment leads to a model, or to none", () => {
  expect(modelEnvironment("gemini", door)).toEqual({
    GOOGLE_GEMINI_BASE_URL: "http://g",
    GEMINI_API_KEY: "the-token",
  });
  expect(modelEnvironment(null, door)).toEqual({});
  expect(modelEnvironment("openai", null)).toEqual({});
});
