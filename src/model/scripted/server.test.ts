import { request as sendRequest } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ModelWire } from "../../core/model.ts";
import { parseScript, type Script } from "../../core/script.ts";
import { BODY_BYTES_MAX } from "./body.ts";
import { JOURNAL_EXCHANGES_MAX, JOURNAL_TEXT_CHARS_MAX } from "./journal.ts";
import { ManualClock } from "../../core/manual-clock.ts";
import { type ScriptedModelServer, startScriptedModelServer } from "./server.ts";

const PATHS = { anthropic: "/messages", openai: "/chat/completions" } as const;
const TOOLS = {
  anthropic: [{ name: "bash", input_schema: { properties: { command: {} } } }],
  openai: [{ type: "function", function: { name: "bash", parameters: { properties: {} } } }],
} as const;

let script: Script | null;
let clock: ManualClock;
let server: ScriptedModelServer;
let errors: unknown[];

const noteError = (error: unknown): void => void errors.push(error);

async function start(
  lookUpScript = async (): Promise<Script | null> => script,
  more: { chunkDelayMs?: number; requestsMax?: number } = {},
): Promise<void> {
  server = await startScriptedModelServer({ lookUpScript, clock, onError: noteError, ...more });
}

beforeEach(async () => {
  script = parseScript([{ think: "Hm." }, { bash: "ls" }, { text: "Done." }]);
  clock = new ManualClock();
  errors = [];
  await start();
});

afterEach(() => server.close());

const post = (wire: ModelWire, path: string, body: unknown, signal?: AbortSignal) =>
  fetch(server.baseUrlFor("s1", wire) + path, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });

const ask = (wire: ModelWire, messages: unknown, more: object = {}) =>
  post(wire, PATHS[wire], { model: "m", tools: TOOLS[wire], messages, ...more });

const GO = [{ role: "user", content: "Go." }];

const call = (id: string) => ({ type: "tool_use", id, name: "bash", input: {} });
const result = (id: string, text: unknown) => ({
  type: "tool_result",
  tool_use_id: id,
  content: text,
});

const openaiCall = (id: string) => ({ role: "assistant", content: null, tool_calls: [{ id }] });

/** The data of a stream's events, in order. */
function readEvents(stream: string): unknown[] {
  return [...stream.matchAll(/^data: (.*)$/gm)].map(([, data = ""]) =>
    data === "[DONE]" ? data : (JSON.parse(data) as unknown),
  );
}

describe("the Anthropic wire", () => {
  it("streams the events of the vendor, in its order", async () => {
    const response = await ask("anthropic", GO, { stream: true });
    expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/);
    expect(response.headers.get("request-id")).toMatch(/^req_/);
    const stream = await response.text();
    expect(stream.match(/^event: .*$/gm)?.map((line) => line.slice(7))).toEqual([
      "message_start",
      "ping",
      "content_block_start",
      "content_block_delta",
      "content_block_delta",
      "content_block_stop",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "message_delta",
      "message_stop",
    ]);
    const events = readEvents(stream);
    expect(events[0]).toMatchObject({
      message: { role: "assistant", model: "m", content: [], usage: { input_tokens: 1_000 } },
    });
    expect(events.at(-2)).toMatchObject({
      delta: { stop_reason: "tool_use" },
      usage: { output_tokens: 50 },
    });
  });

  it("answers in JSON", async () => {
    const response = await ask("anthropic", GO);
    expect(await response.json()).toMatchObject({
      type: "message",
      content: [
        { type: "thinking", thinking: "Hm.", signature: expect.any(String) },
        { type: "tool_use", name: "bash", input: { command: "ls" } },
      ],
      stop_reason: "tool_use",
      usage: { input_tokens: 1_000, output_tokens: 50 },
    });
  });

  it("counts tokens and lists its model", async () => {
    const counted = await post("anthropic", "/messages/count_tokens", { messages: GO });
    expect(await counted.json()).toEqual({ input_tokens: 1_000 });
    const models = await fetch(`${server.baseUrlFor("s1", "anthropic")}/models`);
    expect(await models.json()).toMatchObject({ data: [{ id: "scripted", type: "model" }] });
    expect(server.journal()).toEqual([]);
  });

  it.each([
    [404, "not_found_error"],
    [429, "rate_limit_error"],
    [500, "api_error"],
    [529, "overloaded_error"],
  ])("fails with %i as the vendor does", async (status, type) => {
    script = parseScript([{ fail: { status } }]);
    const response = await ask("anthropic", GO);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ type: "error", error: { type } });
  });
});

describe("the OpenAI wire", () => {
  it("streams chunks, with the usage only when it is asked for", async () => {
    const plain = readEvents(await (await ask("openai", GO, { stream: true })).text());
    expect(plain.at(-1)).toBe("[DONE]");
    expect(JSON.stringify(plain)).not.toContain("usage");
    const more = { stream: true, stream_options: { include_usage: true } };
    const events = readEvents(await (await ask("openai", GO, more)).text());
    expect(events.at(-3)).toMatchObject({ choices: [{ finish_reason: "tool_calls" }] });
    expect(events.at(-2)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 1_000, completion_tokens: 50, total_tokens: 1_050 },
    });
  });

  it("answers in JSON, several texts as paragraphs", async () => {
    script = parseScript([{ text: "One." }, { think: "Hm." }, { text: "Two." }]);
    expect(await (await ask("openai", GO)).json()).toMatchObject({
      object: "chat.completion",
      choices: [
        {
          message: { content: "One.\n\nTwo.", reasoning_content: "Hm." },
          finish_reason: "stop",
        },
      ],
      usage: { total_tokens: 1_050 },
    });
    const stream = await (await ask("openai", GO, { stream: true })).text();
    const texts = [...stream.matchAll(/"content":("[^}]*")}/g)].map(([, text = '""']) => text);
    expect(texts.map((text) => JSON.parse(text) as string).join("")).toBe("One.\n\nTwo.");
  });

  it("lists its model, and fails as the vendor does", async () => {
    const models = await fetch(`${server.baseUrlFor("s1", "openai")}/models`);
    expect(await models.json()).toMatchObject({ data: [{ id: "scripted", object: "model" }] });
    script = parseScript([{ fail: { status: 429 } }]);
    const response = await ask("openai", GO);
    expect(response.status).toBe(429);
    expect(await response.json()).toMatchObject({
      error: { type: "rate_limit_error", code: "rate_limit_exceeded", message: expect.any(String) },
    });
  });
});

describe("the place in the script", () => {
  it.each([
    ["nothing at all", undefined, 0],
    ["no list", "x", 0],
    ["holes and strangers", [null, 3, { role: "robot" }, { role: "assistant" }], 0],
    ["empty answers", [...GO, { role: "assistant", content: "" }, { role: "assistant" }], 0],
    [
      "one answer in two messages",
      [
        ...GO,
        { role: "assistant", content: [{ type: "text", text: "a" }] },
        { role: "assistant", content: [call("1")] },
        { role: "user", content: [result("1", "ok")] },
      ],
      1,
    ],
    [
      "an interrupted call without a result",
      [...GO, { role: "assistant", content: [call("1")] }, { role: "user", content: "Go on." }],
      1,
    ],
    [
      "two calls in a row without results",
      [
        ...GO,
        { role: "assistant", content: [call("1")] },
        { role: "assistant", content: [call("2")] },
      ],
      2,
    ],
    [
      "messages between, and results with messages",
      [
        ...GO,
        { role: "user", content: [{ type: "text", text: "And this." }] },
        { role: "assistant", content: [call("1")] },
        {
          role: "user",
          content: [result("1", [{ type: "text", text: "ok" }]), { type: "text", text: "x" }],
        },
        { role: "user", content: "More." },
        { role: "assistant", content: "Yes." },
        { role: "user", content: [{ type: "image" }] },
      ],
      2,
    ],
  ])("is found in an Anthropic transcript with %s", async (_name, messages, turn) => {
    const response = await ask("anthropic", messages, {
      system: [{ type: "text", text: "You are a test.", cache_control: { type: "ephemeral" } }],
    });
    expect(response.status).toBe(200);
    expect(server.journal()).toMatchObject([{ turn }]);
  });

  it.each([
    ["nothing at all", undefined, 0],
    ["system prompts", [{ role: "system", content: [{ type: "text", text: "x" }] }, ...GO], 0],
    [
      "an answered call",
      [...GO, openaiCall("1"), { role: "tool", tool_call_id: "1", content: "ok" }],
      1,
    ],
    ["an interrupted call", [...GO, openaiCall("1"), ...GO], 1],
    [
      "one answer in two messages",
      [...GO, { role: "assistant", content: "a" }, openaiCall("1")],
      1,
    ],
    ["interrupted calls in a row", [...GO, openaiCall("1"), openaiCall("2"), ...GO], 2],
  ])("is found in an OpenAI transcript with %s", async (_name, messages, turn) => {
    expect((await ask("openai", messages)).status).toBe(200);
    expect(server.journal()).toMatchObject([{ turn }]);
  });

  it("is beside the script where tools are forbidden or are the vendor's own", async () => {
    await ask("anthropic", GO, { tool_choice: { type: "none" } });
    await ask("anthropic", GO, { tools: [{ type: "web_search_20250305", name: "web_search" }] });
    await ask("openai", GO, { tool_choice: "none" });
    await ask("openai", GO, { tools: {} });
    expect(server.journal().map((exchange) => exchange.turn)).toEqual([null, null, null, null]);
  });

  it("says so when no tool can carry out a step", async () => {
    const response = await ask("anthropic", GO, { tools: [{ name: "search" }] });
    expect(await response.json()).toMatchObject({
      content: [
        { type: "thinking" },
        { type: "text", text: "The script has a bash step, but no tool for it is offered." },
      ],
      stop_reason: "end_turn",
    });
  });
});

describe("a delayed answer", () => {
  it.each(["anthropic", "openai"] as const)("keeps the stream alive, %s wire", async (wire) => {
    script = parseScript([{ text: "Before." }, { delayMs: 25_000 }, { text: "After." }]);
    const response = await ask(wire, GO, { stream: true });
    const chunks: string[] = [];
    const reading = (async () => {
      for await (const chunk of response.body ?? []) chunks.push(Buffer.from(chunk).toString());
    })();
    const keepAlive = wire === "anthropic" ? "event: ping" : ": keep-alive";
    await expect.poll(() => chunks.join("")).toContain("Before.");
    const before = chunks.length;
    for (let advanced = 0; advanced < 2; advanced++) {
      await expect.poll(() => clock.timerCount).toBe(1);
      clock.advance(10_000);
      await expect.poll(() => chunks.slice(before).join("")).toContain(keepAlive);
    }
    expect(chunks.join("")).not.toContain("After.");
    await expect.poll(() => clock.timerCount).toBe(1);
    clock.advance(5_000);
    await reading;
    expect(chunks.join("")).toContain("After.");
  });

  it("comes piece by piece where a pause between the pieces is asked for", async () => {
    await server.close();
    await start(async () => script, { chunkDelayMs: 30 });
    script = parseScript([{ text: "x".repeat(64) }]);
    let isOver = false;
    const reading = ask("openai", GO, { stream: true })
      .then((response) => response.text())
      .finally(() => (isOver = true));
    let pauses = 0;
    while (!isOver) {
      await expect.poll(() => isOver || clock.timerCount === 1).toBe(true);
      pauses += clock.timerCount;
      clock.advance(30);
    }
    expect(readEvents(await reading)).toHaveLength(pauses);
    expect(pauses).toBe(7);
  });

  it("is still JSON when it is sent whole", async () => {
    script = parseScript([{ delayMs: 12_000 }, { text: "After." }]);
    const response = await ask("anthropic", GO);
    expect(response.status).toBe(200);
    for (const stepMs of [10_000, 2_000]) {
      await expect.poll(() => clock.timerCount).toBe(1);
      clock.advance(stepMs);
    }
    const text = await response.text();
    expect(text).toMatch(/^ \{/);
    expect(JSON.parse(text)).toMatchObject({ content: [{ text: "After." }] });
  });

  it("ends when the server closes", async () => {
    script = parseScript([{ delayMs: 600_000 }, { text: "never" }]);
    const response = await ask("anthropic", GO, { stream: true });
    await expect.poll(() => clock.timerCount).toBe(1);
    const text = response.text();
    text.catch(() => undefined); // it fails before the test looks at it, further down
    await server.close();
    await server.close();
    await expect(text).rejects.toThrow();
    await expect.poll(() => server.journal()).toMatchObject([{ outcome: "aborted" }]);
    expect(clock.timerCount).toBe(0);
    expect(errors).toEqual([]);
  });
});

describe("a failing turn", () => {
  it("fails anew after a restart of the server, and then answers", async () => {
    script = parseScript([{ fail: { status: 529, times: 2 } }, { text: "Done." }]);
    const statuses: number[] = [];
    statuses.push((await ask("anthropic", GO)).status);
    await server.close();
    await start();
    for (let asked = 0; asked < 4; asked++) statuses.push((await ask("anthropic", GO)).status);
    expect(statuses).toEqual([529, 529, 529, 200, 200]);
  });

  it("tells clients that they may retry at once only where that can help", async () => {
    script = parseScript([{ fail: { status: 529 } }, { fail: { status: 401 } }]);
    expect((await ask("anthropic", GO)).headers.get("retry-after-ms")).toBe("20");
    expect((await ask("anthropic", GO)).headers.get("retry-after-ms")).toBeNull();
  });
});

describe("what the server refuses", () => {
  const notFound = { type: "error", error: { type: "not_found_error" } };

  it("does not know a session without a script, in the form of the wire", async () => {
    script = null;
    const anthropic = await ask("anthropic", GO);
    expect([anthropic.status, await anthropic.json()]).toMatchObject([404, notFound]);
    const openai = await ask("openai", GO);
    expect([openai.status, await openai.json()]).toMatchObject([
      404,
      { error: { message: "There is no script for this session." } },
    ]);
  });

  it.each(["/", "/sessions/a/anthropic/v2/messages", "/sessions/%ff/openai/v1/models", "//x"])(
    "has nothing at %s",
    async (path) => {
      expect((await fetch(server.url + path)).status).toBe(404);
    },
  );

  it("has no other methods", async () => {
    const base = server.baseUrlFor("s1", "openai");
    expect((await fetch(`${base}/chat/completions`)).status).toBe(404);
    expect((await post("openai", "/messages/count_tokens", {})).status).toBe(404);
  });

  it.each(["", "{", "\u0000"])("answers the broken body %j with 400", async (body) => {
    expect((await post("anthropic", "/messages", body)).status).toBe(400);
    expect((await ask("anthropic", GO)).status).toBe(200);
  });

  it.each(["null", "[]", "3", "[".repeat(100_000) + "]".repeat(100_000)])(
    "survives JSON of another shape",
    async (body) => {
      expect((await post("anthropic", "/messages", body)).status).toBe(200);
      expect((await post("openai", "/chat/completions", body)).status).toBe(200);
    },
  );

  it("refuses a body above the limit, announced or not", async () => {
    const announced = await post("anthropic", "/messages", " ".repeat(BODY_BYTES_MAX + 1));
    expect(announced.status).toBe(413);
    expect(await announced.json()).toMatchObject({ error: { type: "request_too_large" } });
    const chunked = await new Promise<number | undefined>((resolve, reject) => {
      const url = `${server.baseUrlFor("s1", "anthropic")}/messages`;
      const request = sendRequest(url, { method: "POST" }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.on("error", reject);
      const chunk = Buffer.alloc(1_048_576, " ");
      for (let sent = 0; sent <= BODY_BYTES_MAX; sent += chunk.length) request.write(chunk);
      request.end();
    });
    expect(chunked).toBe(413);
    expect((await ask("anthropic", GO)).status).toBe(200);
  });

  it("refuses more than its number of requests at a time, and serves again after", async () => {
    await server.close();
    await start(async () => script, { requestsMax: 2 });
    script = parseScript([{ delayMs: 1_000 }, { text: "Done." }]);
    const served = [await ask("openai", GO, { stream: true }), await ask("anthropic", GO)];
    await expect.poll(() => clock.timerCount).toBe(2);
    const refused = await ask("anthropic", GO);
    expect(refused.status).toBe(529);
    expect(refused.headers.get("retry-after-ms")).toBe("1000");
    expect(await refused.json()).toMatchObject({ error: { type: "overloaded_error" } });
    clock.advance(1_000);
    for (const response of served) expect(await response.text()).toContain("Done.");
    script = parseScript([{ text: "Again." }]);
    expect((await ask("anthropic", GO)).status).toBe(200);
  });

  it("answers 500 and tells of it when the look-up throws", async () => {
    await server.close();
    const broken = new Error("the database is gone");
    await start(() => Promise.reject(broken));
    const response = await ask("openai", GO);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("database");
    expect(errors).toEqual([broken]);
  });
});

describe("the journal", () => {
  it("proves what the model was told, within bounds", async () => {
    const long = "x".repeat(10_000);
    await ask("anthropic", [
      { role: "user", content: "First." },
      { role: "assistant", content: [{ type: "tool_use", id: "t1", name: "bash", input: {} }] },
      {
        role: "user",
        content: [{ type: "tool_result", tool_use_id: "t1", is_error: true, content: long }],
      },
      { role: "assistant", content: [{ type: "tool_use", id: "t2", name: "bash", input: {} }] },
      { role: "user", content: long },
    ]);
    const cut = "x".repeat(JOURNAL_TEXT_CHARS_MAX);
    expect(server.journal("s1")).toEqual([
      {
        sessionId: "s1",
        wire: "anthropic",
        turn: 2,
        isStreamed: false,
        outcome: "answered",
        status: 200,
        usage: { inputTokens: 1_200, outputTokens: 50 },
        toolNames: ["bash"],
        userMessages: 2,
        prompts: ["First.", cut],
        results: [{ callId: "t1", text: cut, isError: true }],
        unansweredCalls: 1,
      },
    ]);
    expect(server.journal("s2")).toEqual([]);
  });

  it("forgets the oldest exchanges", async () => {
    const prompts = Array.from({ length: JOURNAL_EXCHANGES_MAX + 3 }, (_, index) => `${index}`);
    for (const prompt of prompts) {
      const response = await ask("openai", [{ role: "user", content: prompt }]);
      await response.arrayBuffer();
    }
    expect(server.journal()).toHaveLength(JOURNAL_EXCHANGES_MAX);
    expect(server.journal()[0]).toMatchObject({ prompts: ["3"], outcome: "answered" });
  });
});
