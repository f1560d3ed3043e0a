import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createBuiltinAgent } from "../../../src/agents/builtin/agent.ts";
import type { AttemptLimits } from "../../../src/core/attempt.ts";
import type { ModelWire } from "../../../src/core/model.ts";
import { type Script, parseScript } from "../../../src/core/script.ts";
import { bindModel } from "../../../src/model/binding.ts";
import {
  type ScriptedModelServer,
  startScriptedModelServer,
} from "../../../src/model/scripted/server.ts";
import { describeAgentConformance, type ScriptAgent } from "./agent.testsuite.ts";
import { type CannedAnswer, createCannedModel } from "./canned-model.ts";
import { createTestClock, type Cut, openMemoryAttempt } from "./memory-context.ts";
import { MemoryStore } from "./memory-store.ts";

const scripts = new Map<string, Script>();
let server: ScriptedModelServer;
beforeAll(async () => {
  server = await startScriptedModelServer({
    lookUpScript: (sessionId) => Promise.resolve(scripts.get(sessionId) ?? null),
    clock: createTestClock(),
  });
});
afterAll(() => server.close());

const scriptAgent =
  (wire: ModelWire): ScriptAgent =>
  (sessionId, script) => {
    scripts.set(sessionId, parseScript(script));
    const requests: string[] = [];
    const model = bindModel({
      model: "scripted",
      sessionId,
      env: {},
      scriptedBaseUrl: server.url,
      scriptedWire: wire,
    });
    const fetch: typeof globalThis.fetch = (input, init) => {
      requests.push(String(init?.body));
      return model.fetch(input, init);
    };
    return {
      adapter: createBuiltinAgent(),
      model: { ...model, fetch },
      requests,
      lastRequest: () => {
        const { prompts = [], results = [] } = server.journal(sessionId).at(-1) ?? {};
        return { prompts, results: results.map(({ text }) => text) };
      },
    };
  };

/** The scripted model says 1000 tokens in for the first step and 100 more for each, and 50 out. */
const expectedUsage = (steps: number) => ({
  inputTokens: 1_000 * steps + (100 * steps * (steps - 1)) / 2,
  outputTokens: 50 * steps,
});

for (const wire of ["anthropic", "openai"] as const) {
  describeAgentConformance(`builtin (${wire})`, scriptAgent(wire), expectedUsage);
}

describe("builtin agent and its model", () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  const open = (answers: readonly CannedAnswer[], limits: Partial<AttemptLimits> = {}) => {
    const workspace = realpathSync(mkdtempSync(join(tmpdir(), "agent-")));
    folders.push(workspace);
    const store = new MemoryStore();
    const model = createCannedModel(answers);
    const attempt = (cut?: Cut) =>
      openMemoryAttempt({
        ...(cut ? { cut } : {}),
        store,
        workspace,
        limits,
        prompt: "Go.",
        model: model.binding,
        clock: createTestClock(50),
      });
    const run = () => createBuiltinAgent().run(attempt().context);
    return { store, model, attempt, run };
  };

  it.each(["anthropic", "openai"] as const)(
    "tries again after 429 and 529 on the %s wire, as one step",
    async (wire) => {
      const store = new MemoryStore();
      const { adapter, model, requests } = scriptAgent(wire)(store.sessionId, [
        { fail: { status: 429, times: 2 } },
        { fail: { status: 529, times: 1 } },
        { text: "Finished." },
      ]);
      const { context } = openMemoryAttempt({ store, workspace: "/tmp", prompt: "Go.", model });
      expect(await adapter.run(context)).toEqual({ outcome: "end_turn", message: "Finished." });
      expect(requests).toHaveLength(4);
      expect(new Set(requests).size).toBe(1);
      expect(store.stats).toMatchObject({ iterations: 1, inputTokens: 1_000 });
    },
  );

  it("waits as long as the provider asks", async () => {
    const { run, model } = open([
      { status: 429, headers: { "retry-after": "5" } },
      { text: "Finished." },
    ]);
    const begun = performance.now();
    await run();
    expect(model.requests).toHaveLength(2);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(5_000 / 50 - 5);
  });

  it("fails at once when the key is refused, without repeating the key", async () => {
    const key = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWx";
    const body = { type: "error", error: { type: "authentication_error", message: `bad ${key}` } };
    const { run, model, store } = open([{ status: 401, body }]);
    const result = await run();
    expect(result).toMatchObject({ outcome: "failed", reason: "model_error" });
    expect(result.message).toContain("HTTP 401");
    expect(result.message).not.toContain("sk-ant");
    expect(JSON.stringify(store.events)).not.toContain("sk-ant");
    expect(model.requests).toHaveLength(1);
  });

  it("names the model that the provider does not know", async () => {
    const { run } = open([
      { status: 404, body: { error: { type: "not_found_error", message: "?" } } },
    ]);
    expect((await run()).message).toContain("does not know the model canned");
  });

  it("ends its turn when a server keeps failing, to be tried again later; the waits are logged", async () => {
    const { run, model, store } = open(
      Array.from({ length: 30 }, () => ({ status: 500 })),
      {
        modelCallTimeoutMs: 600_000,
      },
    );
    const result = await run();
    const away = { outcome: "backoff", code: "model_unavailable", retryAfterMs: null };
    expect(result).toMatchObject(away);
    expect(result.message).toMatch(/HTTP 500.*\(\d+ tries\)$/);
    expect(model.requests.length).toBeGreaterThan(5);
    expect(model.requests.length).toBeLessThan(12);
    const waits = store.events.filter(({ type }) => type === "error");
    expect(waits.length).toBeGreaterThan(1);
    expect(waits[0]?.data).toMatchObject({
      code: "model_unavailable",
      retryAt: expect.any(String),
    });
  });

  it("does not keep its slot when the provider asks for more patience than a step has", async () => {
    const { run, model } = open([{ status: 429, headers: { "retry-after": "3600" } }]);
    expect(await run()).toMatchObject({ outcome: "backoff", retryAfterMs: 3_600_000 });
    expect(model.requests).toHaveLength(1);
  });

  it("tries again when the connection breaks", async () => {
    const { run } = open([{ broken: true }, { text: "Finished." }]);
    expect(await run()).toMatchObject({ outcome: "end_turn" });
  });

  it("ends its turn when the model says nothing in time, to be tried again later", async () => {
    const { run, store } = open([{ hang: true }, { text: "Finished." }], {
      modelCallTimeoutMs: 5_000,
    });
    const result = await run();
    expect(result).toMatchObject({ outcome: "backoff", code: "model_unavailable" });
    expect(result.message).toContain("within 5 s");
    expect(await run()).toMatchObject({ outcome: "end_turn" });
    expect(store.steps).toHaveLength(1);
  });

  it("gives up its request when it is told to stop, and asks the same again later", async () => {
    const { store, model, attempt, run } = open([{ hang: true }, { text: "Finished." }]);
    const paused = attempt();
    const first = createBuiltinAgent().run(paused.context);
    await expect.poll(() => model.requests.length).toBe(1);
    store.sendMessage("Meanwhile.");
    paused.stop("pause");
    await expect(first).rejects.toBe(paused.context.signal.reason);
    expect(await run()).toMatchObject({ outcome: "end_turn" });
    expect(model.requests[1]).toEqual(model.requests[0]);
    expect(store.steps.map(({ inputs }) => inputs)).toEqual([["Go."], ["Meanwhile."]]);
  });

  it("answers wrong arguments, broken arguments and unknown tools with an error", async () => {
    const { store, run, model } = open([
      {
        calls: [
          call("bash", { cmd: "ls" }),
          { name: "write_file", json: '{"path": "a' },
          call("bsh", {}),
          call("bash", { command: "echo fine" }),
        ],
      },
      { text: "Finished." },
    ]);
    expect(await run()).toMatchObject({ outcome: "end_turn" });
    expect(store.calls.map(({ isError }) => isError)).toEqual([true, true, true, false]);
    expect(store.calls[0]?.result).toContain("command:");
    expect(store.calls[1]?.result).toContain("no JSON object");
    expect(store.calls[2]?.result).toContain('no tool "bsh". Did you mean bash?');
    expect(store.stats.toolCalls).toBe(4);
    const { messages } = model.requests[1] as { messages: { content: { type: string }[] }[] };
    const results = messages.at(-1)?.content.filter(({ type }) => type === "tool_result");
    expect(results).toHaveLength(4);
  });

  it("keeps what a database text cannot hold, so that a resumed attempt sees the same", async () => {
    const odd = "a\u0000b \ud83d half";
    const calls = [call("write_file", { path: "odd.txt", content: odd })];
    const { store, run, attempt, model } = open([
      { text: "odd \u0000", calls },
      { text: "Finished." },
    ]);
    const dying = attempt({ write: 2, side: "after" });
    void createBuiltinAgent().run(dying.context);
    await dying.died;
    store.epoch++;
    expect(await run()).toMatchObject({ outcome: "end_turn" });
    const { messages } = model.requests[1] as {
      messages: { content: { text?: string; input?: { content?: string } }[] }[];
    };
    expect(messages[1]?.content[0]?.text).toBe("odd \u0000");
    expect(messages[1]?.content[1]?.input?.content).toBe(odd);
    expect(store.calls[0]?.status).toBe("finished");
  });

  it("bounds the events of an answer that is large and full of control characters", async () => {
    const noise = "\u0001".repeat(200_000);
    const part = noise.slice(0, 25_000);
    const calls = [call("bash", { a: part, b: part, c: part, d: part })];
    const { run, store } = open([{ text: noise, calls }, { text: noise }]);
    const { message } = await run();
    expect(message.length).toBe(131_072);
    expect(store.dataOf("thinking")).toHaveLength(2);
  });

  it("does not ask again for an answer that has no end", async () => {
    const { run, model } = open([{ text: "x".repeat(1_100_000) }]);
    expect(await run()).toMatchObject({ reason: "model_error" });
    expect(model.requests).toHaveLength(1);
  });

  it("ends as a refusal when the provider's filter stops the answer", async () => {
    const { run } = open([{ text: "I cannot", stop: "refusal" }]);
    expect(await run()).toMatchObject({ outcome: "failed", reason: "refusal" });
  });

  it("goes on after an answer that was cut off, but not for ever", async () => {
    const cut = { text: "And then", stop: "max_tokens" };
    const { run, model } = open([cut, { text: "the end." }]);
    expect(await run()).toEqual({ outcome: "end_turn", message: "the end." });
    expect(JSON.stringify(model.requests[1])).toContain("was cut off at the output limit");
    const always = open([cut, cut, cut, cut]);
    expect(await always.run()).toMatchObject({ outcome: "failed", reason: "model_error" });
    expect(always.model.requests).toHaveLength(3);
  });

  it("does not run a call whose arguments were cut off", async () => {
    const calls = [{ name: "bash", json: '{"command": "touch made' }];
    const { run, store } = open([{ calls, stop: "max_tokens" }, { text: "Finished." }]);
    expect(await run()).toMatchObject({ outcome: "end_turn" });
    expect(store.notes.some(({ kind }) => kind === "spawn")).toBe(false);
  });

  it("repeats a reading call that a crash left open, under the same entry", async () => {
    const calls = [call("list_files", {})];
    const { run, store, attempt } = open([{ calls }, { text: "Finished." }]);
    const never = new Promise<never>(() => undefined);
    void createBuiltinAgent().run({ ...attempt().context, closeCall: () => never });
    await store.until(() => store.calls.length === 1);
    store.epoch++;
    expect(await run()).toMatchObject({ outcome: "end_turn" });
    expect(store.calls).toMatchObject([{ status: "finished", isError: false }]);
  });
});

const call = (name: string, input: unknown) => ({ name, json: JSON.stringify(input) });
