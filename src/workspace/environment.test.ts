import { describe, expect, it } from "vitest";
import { addToEnvironment, buildAgentEnvironment, isWithheldName } from "./environment.ts";

describe("the environment of an agent", () => {
  it("holds the allow-list and the configured names, nothing else", () => {
    const inherit = { PATH: "/bin", LANG: "de_DE.UTF-8", SECRET_SAUCE: "x", EDITOR: "vi" };
    expect(buildAgentEnvironment({ inherit, home: "/h", names: ["EDITOR", "ABSENT"] })).toEqual({
      PATH: "/bin",
      LANG: "de_DE.UTF-8",
      EDITOR: "vi",
      HOME: "/h",
    });
  });

  it("has a PATH even where the worker has none", () => {
    expect(buildAgentEnvironment({ inherit: {}, home: "/h" })["PATH"]).toContain("/usr/bin");
  });

  it.each([
    ...["DATABASE_URL", "PGPASSWORD", "STINT_TOKEN", "STINT_DATA", "OPENAI_API_KEY"],
    ...["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "npm_token"],
  ])("never hands out %s, configured or not", (name) => {
    expect(isWithheldName(name)).toBe(true);
    expect(() =>
      buildAgentEnvironment({ inherit: { [name]: "canary" }, home: "/h", names: [name] }),
    ).toThrow(expect.objectContaining({ code: "config_invalid" }));
  });

  it("lets a command bring a stand-in key, but no name of Stint", () => {
    expect(addToEnvironment({ A: "1" }, { ANTHROPIC_API_KEY: "stand-in" })).toEqual({
      A: "1",
      ANTHROPIC_API_KEY: "stand-in",
    });
    expect(() => addToEnvironment({}, { STINT_ATTEMPT: "x" })).toThrow(
      expect.objectContaining({ code: "invalid_request" }),
    );
  });
});
