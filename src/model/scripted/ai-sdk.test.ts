/** Drives the scripted model the way the builtin agent does: through a binding, with the AI SDK. */
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, type LanguageModel, stepCountIs, streamText, tool } from "ai";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import type { ModelWire } from "../../core/model.ts";
import { parseScript, type Script } from "../../core/script.ts";
import { bindModel } from "../binding.ts";
import { ManualClock } from "../../core/manual-clock.ts";
import { type ScriptedModelServer, startScriptedModelServer } from "./server.ts";
import { scriptedUsage } from "./turns.ts";

const scripts = new Map<string, Script>();
let clock: ManualClock;
let server: ScriptedModelServer;
let calls: unknown[];

beforeEach(async () => {
  calls = [];
  scripts.clear();
  clock = new ManualClock();
  const lookUpScript = async (id: string): Promise<Script | null> => scripts.get(id) ?? null;
  server = await startScriptedModelServer({ lookUpScript, clock });
});

afterEach(() => server.close());

const record = async (input: unknown): Promise<string> => {
  calls.push(input);
  return `result ${calls.length}`;
};
const tools = {
  bash: tool({ inputSchema: z.object({ command: z.string() }), execute: record }),
  write_file: tool({
    inputSchema: z.object({ path: z.string(), content: z.string() }),
    execute: record,
  }),
};

function openModel(wire: ModelWire, script: unknown, sessionId = "s1"): LanguageModel {
  scripts.set(sessionId, parseScript(script));
  const binding = bindModel({
    model: "scripted",
    env: {},
    sessionId,
    scriptedBaseUrl: server.url,
    scriptedWire: wire,
  });
  const { baseUrl: baseURL, fetch, modelName } = binding;
  return wire === "anthropic"
    ? createAnthropic({ baseURL, fetch, apiKey: "unused" })(modelName)
    : createOpenAICompatible({ name: "stint", baseURL, fetch, includeUsage: true })(modelName);
}

interface Conversation {
  readonly prompt: string;
  readonly abortSignal?: AbortSignal;
  readonly maxRetries?: number;
}

/** What both ways of asking say about a finished conversation. */
async function converse(isStreamed: boolean, model: LanguageModel, conversation: Conversation) {
  const options = {
    model,
    tools,
    maxOutputTokens: 4_096,
    stopWhen: stepCountIs(20),
    ...conversation,
  };
  const result = isStreamed
    ? streamText({ ...options, onError: () => undefined })
    : await generateText(options);
  const steps = await result.steps;
  return {
    text: await result.text,
    finishReason: await result.finishReason,
    usage: await result.totalUsage,
    reasoning: steps.map((step) => step.reasoningText),
    texts: steps.map((step) => step.text),
    messages: (await result.response).messages,
  };
}

const SCRIPT = [
  { think: "First I look around. 🧭" },
  { text: "Looking." },
  { bash: "ls -la && printf '%s' \"ü\"" },
  { write: { path: "src/hello.txt", content: "héllo 👋🏽 ".repeat(300) } },
  { text: "Done, " + "with a long text 🎉 ".repeat(40) },
];

describe.each([
  ["anthropic", true],
  ["anthropic", false],
  ["openai", true],
  ["openai", false],
] as const)("the scripted model, %s wire, streamed: %s", (wire, isStreamed) => {
  it("has a script carried out, and its usage sums up", async () => {
    const result = await converse(isStreamed, openModel(wire, SCRIPT), { prompt: "Go." });
    expect(calls).toEqual([
      { command: "ls -la && printf '%s' \"ü\"" },
      { path: "src/hello.txt", content: "héllo 👋🏽 ".repeat(300) },
    ]);
    expect(result).toMatchObject({
      text: "Done, " + "with a long text 🎉 ".repeat(40),
      finishReason: "stop",
      usage: { inputTokens: 3_300, outputTokens: 150, totalTokens: 3_450 },
      reasoning: ["First I look around. 🧭", undefined, undefined],
      texts: ["Looking.", "", "Done, " + "with a long text 🎉 ".repeat(40)],
    });
    expect(server.journal("s1")).toMatchObject([
      { turn: 0, usage: scriptedUsage(0), prompts: ["Go."], results: [], outcome: "answered" },
      { turn: 1, usage: scriptedUsage(1), prompts: ["Go."], results: [{ text: "result 1" }] },
      { turn: 2, userMessages: 1, results: [{ text: "result 1" }, { text: "result 2" }] },
    ]);
  });

  it("goes on from the transcript alone, on another server, with the earlier prompts seen", async () => {
    const model = openModel(wire, [{ bash: "one" }, { bash: "two" }, { text: "Both done." }]);
    const first = await generateText({
      model,
      tools,
      maxOutputTokens: 4_096,
      prompt: "First prompt.",
    });
    await server.close();
    server = await startScriptedModelServer({
      lookUpScript: async (id) => scripts.get(id) ?? null,
      clock,
    });
    const messages = [
      { role: "user" as const, content: "First prompt." },
      ...first.response.messages,
      { role: "user" as const, content: "A message between." },
    ];
    const options = { tools, messages, maxOutputTokens: 4_096, stopWhen: stepCountIs(9) };
    const again = openModel(wire, [...(scripts.get("s1") ?? [])]);
    const result = isStreamed
      ? streamText({ model: again, ...options })
      : await generateText({ model: again, ...options });
    expect(await result.text).toBe("Both done.");
    expect(calls).toEqual([{ command: "one" }, { command: "two" }]);
    expect(server.journal().at(-1)).toMatchObject({
      turn: 2,
      userMessages: 2,
      prompts: ["First prompt.", "A message between."],
    });
  });

  it("says that the script has ended, and counts on", async () => {
    const model = openModel(wire, [{ bash: "only" }]);
    const result = await converse(isStreamed, model, { prompt: "Go." });
    expect(result.text).toBe("The script has ended.");
    expect(result.usage).toMatchObject({ inputTokens: 2_100, outputTokens: 100 });
  });

  it.each([529, 429])("fails with %i as often as the script says, then answers", async (status) => {
    const script = [{ bash: "one" }, { fail: { status, times: 2 } }, { text: "Recovered." }];
    const result = await converse(isStreamed, openModel(wire, script), { prompt: "Go." });
    expect(result.text).toBe("Recovered.");
    expect(result.usage).toMatchObject({ inputTokens: 2_100, outputTokens: 100 });
    expect(server.journal().map(({ turn, status, usage }) => [turn, status, usage])).toEqual([
      [0, 200, scriptedUsage(0)],
      [1, status, null],
      [1, status, null],
      [1, 200, scriptedUsage(1)],
    ]);
  });

  it("stops its answer when the client goes away", async () => {
    const model = openModel(wire, [{ text: "Wait." }, { delayMs: 600_000 }, { bash: "never" }]);
    const controller = new AbortController();
    const result = converse(isStreamed, model, {
      prompt: "Go.",
      abortSignal: controller.signal,
      maxRetries: 0,
    });
    const ended = result.then(
      () => "answered",
      () => "aborted",
    );
    await expect.poll(() => clock.timerCount).toBe(1);
    expect(server.journal()).toMatchObject([{ outcome: "open" }]);
    controller.abort();
    expect(await ended).toBe("aborted");
    await expect.poll(() => server.journal()).toMatchObject([{ outcome: "aborted" }]);
    expect(clock.timerCount).toBe(0);
    expect(calls).toEqual([]);
  });

  it("keeps parallel sessions apart", async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `session ${index}`);
    const results = await Promise.all(
      ids.map((id) => converse(isStreamed, openModel(wire, [{ text: id }], id), { prompt: id })),
    );
    expect(results.map((result) => result.text)).toEqual(ids);
    for (const id of ids) expect(server.journal(id)).toMatchObject([{ prompts: [id] }]);
  });

  it("answers a call beside the script with a plain text and no tokens", async () => {
    const model = openModel(wire, [{ fail: { status: 529, times: 9 } }, { bash: "ls" }]);
    const options = { model, maxOutputTokens: 4_096, prompt: "Give this session a title." };
    const result = isStreamed ? streamText(options) : await generateText(options);
    expect(await result.text).toBe("Scripted session");
    expect(await result.totalUsage).toMatchObject({ inputTokens: 0, outputTokens: 0 });
    expect(server.journal()).toMatchObject([{ turn: null, status: 200 }]);
  });
});

describe.each(["anthropic", "openai"] as const)("errors of the scripted model, %s wire", (wire) => {
  it("reach the client with their status when it gives up", async () => {
    const model = openModel(wire, [{ fail: { status: 400 } }, { text: "x" }]);
    await expect(
      generateText({ model, tools, maxOutputTokens: 4_096, prompt: "Go." }),
    ).rejects.toMatchObject({
      name: "AI_APICallError",
      statusCode: 400,
      isRetryable: false,
      message: "The script asks for this failure.",
    });
  });

  it("tell an unknown session in the vendor's form", async () => {
    const model = openModel(wire, [{ text: "x" }]);
    scripts.clear();
    await expect(
      generateText({ model, tools, maxOutputTokens: 4_096, prompt: "Go." }),
    ).rejects.toMatchObject({
      statusCode: 404,
      message: "There is no script for this session.",
    });
  });
});
