import { describe, expect, it } from "vitest";
import { findAccountOfKey, findAccountOfRequest, isAccountHost } from "./account-login.ts";
import { resolveUpstream } from "./upstream.ts";

const SIGNED = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl";

describe("the login of an account", () => {
  it.each([
    ["sk-ant-oat01-abc", "a Claude account"],
    ["ya29.a0AfH6SM", "a Google account"],
    [SIGNED, "a ChatGPT account"],
    ["sk-ant-api03-abc", null],
    ["sk-proj-abc", null],
    ["AIzaSyAbc", null],
    ["stint-abc", null],
    ["", null],
  ])("%s is of %s", (key, account) => {
    expect(findAccountOfKey(key)).toBe(account);
  });

  it.each([
    [{ authorization: "Bearer sk-ant-oat01-abc" }, "a Claude account"],
    [{ "x-api-key": "sk-ant-oat01-abc" }, "a Claude account"],
    [{ "anthropic-beta": "tools-1, oauth-2025-04-20" }, "a Claude account"],
    [{ authorization: `Bearer ${SIGNED}` }, "a ChatGPT account"],
    [{ "chatgpt-account-id": "acc" }, "a ChatGPT account"],
    [{ authorization: "bearer ya29.abc" }, "a Google account"],
    [{ authorization: "Bearer sk-abc", "anthropic-beta": "prompt-caching-1" }, null],
    [{}, null],
  ])("in the headers %j is of %s", (headers, account) => {
    expect(findAccountOfRequest(headers)).toBe(account);
  });

  it.each([
    ["chatgpt.com", true],
    ["ab.chatgpt.com", true],
    ["claude.ai", true],
    ["cloudcode-pa.googleapis.com", true],
    ["daily-cloudcode-pa.googleapis.com", true],
    ["notchatgpt.com", false],
    ["api.openai.com", false],
    ["generativelanguage.googleapis.com", false],
    ["chatgpt.com.example.org", false],
  ])("is what %s is for: %s", (host, isFor) => {
    expect(isAccountHost(host)).toBe(isFor);
  });

  it.each([
    ["anthropic", { ANTHROPIC_API_KEY: "sk-ant-oat01-abc" }],
    ["anthropic", { ANTHROPIC_API_KEY: "sk-ant-oat01-abc", ANTHROPIC_BASE_URL: "http://own" }],
    ["openai", { OPENAI_API_KEY: SIGNED }],
    ["gemini", { GEMINI_API_KEY: "ya29.abc" }],
  ] as const)("is refused as the key of %s: %j", (provider, env) => {
    let thrown: unknown = null;
    try {
      resolveUpstream(provider, env);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: "model_login_unsupported" });
    expect(String(thrown)).not.toContain(Object.values(env)[0]);
  });

  it("may be what a gateway of one's own takes for OpenAI's API", () => {
    const env = { OPENAI_API_KEY: SIGNED, OPENAI_BASE_URL: "http://own/v1" };
    expect(resolveUpstream("openai", env).authHeaders).toEqual({
      authorization: `Bearer ${SIGNED}`,
    });
  });
});
