import { describe, expect, it } from "vitest";
import { parseModelName } from "./model.ts";

describe("parseModelName", () => {
  it.each([
    ["anthropic:claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"],
    ["openai:gpt-5", "openai", "gpt-5"],
    ["openai:qwen3:8b", "openai", "qwen3:8b"],
    ["openai:meta/llama-3", "openai", "meta/llama-3"],
    ["scripted", "scripted", "scripted"],
  ])("reads %s", (model, provider, name) => {
    expect(parseModelName(model)).toEqual({ provider, name });
  });

  it.each([
    "",
    "gpt-5",
    "anthropic",
    "anthropic:",
    "anthropic: x",
    "google:gemini",
    "scripted:x",
    "Scripted",
    ":x",
    "openai:a\u0000b",
    `openai:${"x".repeat(201)}`,
    "openai:\ud800",
  ])("refuses %j and says the valid forms", (model) => {
    expect(() => parseModelName(model)).toThrow(
      expect.objectContaining({
        code: "model_unknown",
        message: expect.stringMatching(/anthropic:NAME.*openai:NAME.*scripted/),
      }),
    );
  });
});
