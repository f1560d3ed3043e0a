import { createHash } from "node:crypto";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { doorUrlsAt } from "../../core/model.ts";
import { ExchangeRecord, RECORDED_CHARS_MAX } from "./exchange-record.ts";
import { REQUEST_BYTES_MAX } from "./gateway.ts";
import { ask, GatewayHarness } from "./harness.testsuite.ts";
import { Redactor } from "./redactor.ts";

const KEY = "sk-canary-Zr9vQ2mX7tLp4WbE8yHc";
const SCRIPT = [{ think: "Hm. 🧭" }, { bash: "ls" }, { text: "Done. ".repeat(60) }];
const schema = { type: "object", properties: { command: { type: "string" } } };

/** One question on each wire, with a tool and without (as agents ask for titles). */
const WIRES = [
  {
    wire: "anthropic",
    path: "/anthropic/v1/messages",
    streamed: "/anthropic/v1/messages",
    family: "anthropic",
    body: (isStreamed: boolean, hasTools: boolean) => ({
      ...{ model: "m", max_tokens: 9, stream: isStreamed },
      messages: [{ role: "user", content: "Go." }],
      ...(hasTools && { tools: [{ name: "bash", input_schema: schema }] }),
    }),
  },
  {
    wire: "openai-chat",
    path: "/openai/v1/chat/completions",
    streamed: "/openai/v1/chat/completions",
    family: "openai",
    body: (isStreamed: boolean, hasTools: boolean) => ({
      ...{ model: "m", stream: isStreamed, stream_options: { include_usage: true } },
      messages: [{ role: "user", content: "Go." }],
      ...(hasTools && {
        tools: [{ type: "function", function: { name: "bash", parameters: schema } }],
      }),
    }),
  },
  {
    wire: "openai-responses",
    path: "/openai/v1/responses",
    streamed: "/openai/v1/responses",
    family: "openai",
    body: (isStreamed: boolean, hasTools: boolean) => ({
      ...{ model: "m", stream: isStreamed },
      input: [{ role: "user", content: [{ type: "input_text", text: "Go." }] }],
      ...(hasTools && { tools: [{ type: "function", name: "exec_command", parameters: schema }] }),
    }),
  },
  {
    wire: "gemini",
    path: "/gemini/v1beta/models/m:generateContent",
    streamed: "/gemini/v1beta/models/m:streamGenerateContent?alt=sse",
    family: "gemini",
    body: (_isStreamed: boolean, hasTools: boolean) => ({
      contents: [{ role: "user", parts: [{ text: "Go." }] }],
      ...(hasTools && {
        tools: [
          { functionDeclarations: [{ name: "run_shell_command", parametersJsonSchema: schema }] },
        ],
      }),
    }),
  },
] as const;

let harness: GatewayHarness;

beforeEach(() => {
  harness = new GatewayHarness();
});

afterEach(() => harness.close());

/** Ids and times are new in each answer; all else must be the same. */
function normalize(text: string): string {
  return text
    .replace(/(msg|resp|rs|fc|call|toolu|chatcmpl)([_-])[0-9a-f]{32}/g, "$1$2ID")
    .replace(/"responseId":"[0-9a-f]{32}"/g, '"responseId":"ID"')
    .replace(/"(created|created_at)":\d+/g, '"$1":0');
}

describe.each(WIRES)("the wire $wire", ({ wire, path, streamed, family, body }) => {
  it.each([true, false])(
    "is passed on byte by byte and metered (streamed: %s)",
    async (isStreamed) => {
      const model = await harness.startScripted(SCRIPT);
      const baseUrl = model.baseUrlFor("s", family);
      const gateway = harness.createGateway({ baseUrl, provider: "scripted" });
      const place = isStreamed ? streamed : path;
      const question = body(isStreamed, true);
      const version = family === "gemini" ? "" : "/v1";
      const direct = await fetch(baseUrl + place.slice(`/${family}${version}`.length), {
        method: "POST",
        body: JSON.stringify(question),
      });
      const answer = await gateway.handle(ask(place, question));
      expect(answer.status).toBe(200);
      expect(answer.headers.get("content-type")).toBe(direct.headers.get("content-type"));
      expect(normalize(await answer.text())).toBe(normalize(await direct.text()));
      // A title: no tools, another call of its own.
      await (await gateway.handle(ask(place, body(isStreamed, false)))).text();
      const journal = model.journal("s").slice(1);
      expect(harness.ledger.intents).toMatchObject([
        { wire, model: "m", isStreamed },
        { wire, model: "m", isStreamed },
      ]);
      expect(
        harness.ledger.outcomes.map(({ usage, status, isEstimated }) => [
          ...[usage.inputTokens, usage.outputTokens, status, isEstimated],
        ]),
      ).toEqual(
        journal.map(({ usage }) => [usage?.inputTokens, usage?.outputTokens, "finished", false]),
      );
      expect(harness.ledger.stats).toMatchObject({ modelCalls: 2, inputTokens: 1_000, costUsd: 0 });
    },
  );

  it("answers an error in the form of its vendor", async () => {
    const model = await harness.startScripted([{ fail: { status: 400 } }]);
    const gateway = harness.createGateway({ baseUrl: model.baseUrlFor("s", family) });
    const answer = await gateway.handle(ask(path, body(false, true)));
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { message: expect.any(String) } });
    const refused = await gateway.handle(ask(path, "no json"));
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { message: expect.any(String) } });
    expect(harness.ledger.outcomes).toMatchObject([{ status: "failed", httpStatus: 400 }]);
    expect(harness.ledger.stats.inputTokens).toBe(0);
  });
});

const MESSAGES = "/anthropic/v1/messages";
const question = WIRES[0].body(true, true);

const digest = (data: Buffer): string => createHash("sha256").update(data).digest("hex");

/** Events of an answer that counts 100 in, and says nothing of its output before its end. */
const START = `event: message_start\ndata: ${JSON.stringify({
  type: "message_start",
  message: { usage: { input_tokens: 100, cache_read_input_tokens: 20, output_tokens: 1 } },
})}\n\n`;
const delta = (text: string): string =>
  `data: ${JSON.stringify({ type: "content_block_delta", delta: { type: "text_delta", text } })}\n\n`;
const END = `data: ${JSON.stringify({ type: "message_delta", usage: { output_tokens: 7 } })}\n\n`;

const openStream = (response: ServerResponse): ServerResponse =>
  response.writeHead(200, { "content-type": "text/event-stream" });

describe("usage", () => {
  it("is read whatever the pieces in which the bytes come", async () => {
    const bytes = Buffer.from(START + delta("schön 🧭") + END);
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response);
      for (const byte of bytes) response.write(Uint8Array.of(byte));
      response.end();
    });
    const gateway = harness.createGateway({ baseUrl, provider: "anthropic" });
    const answer = await gateway.handle(ask(MESSAGES, { ...question, model: "claude-haiku-4-5" }));
    const received = Buffer.from(await answer.arrayBuffer());
    expect(digest(received)).toBe(digest(bytes));
    expect(harness.ledger.outcomes).toMatchObject([
      { usage: { inputTokens: 120, outputTokens: 7, cacheReadTokens: 20 }, isEstimated: false },
    ]);
    expect(harness.ledger.outcomes[0]?.costUsd).toBeCloseTo((100 + 2 + 35) / 1e6, 12);
  });

  it("has no cost where the model has no known price", async () => {
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response).end(START + END);
    });
    for (const isVendorOwn of [true, false]) {
      const gateway = harness.createGateway({ baseUrl, provider: "anthropic", isVendorOwn });
      const model = isVendorOwn ? "claude-unheard-of" : "claude-haiku-4-5";
      await (await gateway.handle(ask(MESSAGES, { ...question, model }))).text();
    }
    expect(harness.ledger.outcomes.map(({ costUsd }) => costUsd)).toEqual([null, null]);
  });

  it("is estimated, and said to be, where an answer breaks off", async () => {
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response).write(START + delta("x".repeat(400)), () => response.destroy());
    });
    const gateway = harness.createGateway({ baseUrl });
    const answer = await gateway.handle(ask(MESSAGES, question));
    await expect(answer.text()).rejects.toThrow();
    expect(harness.ledger.outcomes).toMatchObject([
      { status: "failed", usage: { inputTokens: 120, outputTokens: 100 }, isEstimated: true },
    ]);
  });

  it.each([
    ["no JSON at all", "application/json", "<html>"],
    ["a stream of nonsense", "text/event-stream", "data: {\n\nbla\n\ndata: [1,[[\n\n\u0000"],
    ["counts that are none", "application/json", '{"type":"message","usage":{"input_tokens":"9"}}'],
    ["nothing", "text/event-stream", ""],
  ])("is estimated for %s, which is passed on as it is", async (_, type, text) => {
    const baseUrl = await harness.startProvider((__, response) => {
      response.writeHead(200, { "content-type": type }).end(text);
    });
    const gateway = harness.createGateway({ baseUrl });
    expect(await (await gateway.handle(ask(MESSAGES, question))).text()).toBe(text);
    expect(harness.ledger.outcomes).toMatchObject([{ status: "finished", isEstimated: true }]);
    expect(harness.ledger.outcomes[0]?.usage.inputTokens).toBeGreaterThan(10);
  });
});

describe("a call", () => {
  it("goes out only once its intent is recorded", async () => {
    const asked = vi.fn();
    const baseUrl = await harness.startProvider((_, response) => {
      asked();
      openStream(response).end(START + END);
    });
    const gateway = harness.createGateway({ baseUrl });
    const records: (() => void)[] = [];
    harness.ledger.beforeOpen = () => new Promise((resolve) => records.push(resolve));
    const answer = gateway.handle(ask(MESSAGES, question));
    await expect.poll(() => records).toHaveLength(1);
    expect(asked).not.toHaveBeenCalled();
    records[0]?.();
    await (await answer).text();
    expect(asked).toHaveBeenCalledOnce();
    harness.ledger.beforeOpen = () => Promise.reject(new Error("away"));
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(503);
    expect(asked).toHaveBeenCalledOnce();
    expect(harness.ledger.outcomes).toHaveLength(1);
  });

  it("holds its end back until its outcome is recorded", async () => {
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response).end(START + END);
    });
    const gateway = harness.createGateway({ baseUrl });
    await (await gateway.handle(ask(MESSAGES, question))).text();
    expect(harness.ledger.outcomes).toHaveLength(1);
  });

  it("ends at the provider when its client goes away", async () => {
    const gone = vi.fn();
    const baseUrl = await harness.startProvider((request, response) => {
      openStream(response).write(START);
      request.socket.on("close", gone);
    });
    const gateway = harness.createGateway({ baseUrl });
    const client = new AbortController();
    const answer = await gateway.handle(ask(MESSAGES, question, { signal: client.signal }));
    const reader = answer.body!.getReader();
    await reader.read();
    client.abort();
    await expect.poll(() => gone).toHaveBeenCalled();
    await expect
      .poll(() => harness.ledger.outcomes)
      .toMatchObject([{ status: "aborted", usage: { inputTokens: 120 }, isEstimated: true }]);
  });

  it("takes its time limit, before the answer and amid it", async () => {
    const baseUrl = await harness.startProvider((request, response) => {
      if (request.headers["user-agent"] === "slow") openStream(response).write(START);
    });
    const limits = {
      tokensMax: null,
      costUsdMax: null,
      modelCallsMax: null,
      modelCallTimeoutMs: 5_000,
    };
    const gateway = harness.createGateway({ baseUrl }, { limits });
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(504);
    const headers = { "user-agent": "slow" };
    const answer = await gateway.handle(ask(MESSAGES, question, { headers }));
    await expect(answer.text()).rejects.toThrow("did not answer within 5 s");
    expect(harness.ledger.outcomes).toMatchObject([{ status: "aborted" }, { status: "aborted" }]);
  });

  it("is broken off and recorded when the attempt ends", async () => {
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response).write(START);
    });
    const gateway = harness.createGateway({ baseUrl });
    const answer = await gateway.handle(ask(MESSAGES, question));
    await gateway.close();
    expect(harness.ledger.outcomes).toMatchObject([{ status: "aborted" }]);
    await expect(answer.text()).rejects.toThrow("The attempt has ended");
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(503);
  });

  it("leaves no open intent behind when the attempt ends as it is recorded", async () => {
    const asked = vi.fn();
    const baseUrl = await harness.startProvider(asked);
    const gateway = harness.createGateway({ baseUrl });
    const records: (() => void)[] = [];
    harness.ledger.beforeOpen = () => new Promise((resolve) => records.push(resolve));
    const answer = gateway.handle(ask(MESSAGES, question));
    await expect.poll(() => records).toHaveLength(1);
    const closed = gateway.close();
    records[0]?.();
    await closed;
    expect((await answer).status).toBe(503);
    expect(harness.ledger.outcomes).toMatchObject([
      { status: "aborted", usage: { inputTokens: 0 }, isEstimated: false },
    ]);
    expect(asked).not.toHaveBeenCalled();
  });

  it("is not read ahead of its client", async () => {
    let sent = 0;
    const piece = delta("x".repeat(65_536));
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response).write(START);
      const pump = (): void => {
        while (sent < 2_000 && response.write(piece)) sent++;
        if (sent < 2_000) response.once("drain", pump);
        else response.end();
      };
      pump();
    });
    const gateway = harness.createGateway({ baseUrl });
    const answer = await gateway.handle(ask(MESSAGES, question));
    const reader = answer.body!.getReader();
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(sent).toBeLessThan(1_000);
    await reader.cancel();
  });
});

describe("retries", () => {
  it("pass over overload and lost connections before any byte, and say so", async () => {
    let tries = 0;
    const baseUrl = await harness.startProvider((_, response) => {
      tries++;
      if (tries === 1) response.writeHead(529).end("{}");
      else if (tries === 2) response.destroy();
      else if (tries === 3) response.writeHead(429, { "retry-after": "1" }).end("{}");
      else openStream(response).end(START + END);
    });
    const gateway = harness.createGateway({ baseUrl });
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(200);
    expect([tries, harness.retries]).toEqual([4, [1, 2, 3]]);
  });

  it.each([
    ["asks to wait too long", 429, { "retry-after": "3600" }],
    ["says that it would not help", 503, { "x-should-retry": "false" }],
    ["refuses for good", 401, {}],
  ])("are left to the agent where the provider %s", async (_, status, headers) => {
    let tries = 0;
    const baseUrl = await harness.startProvider((__, response) => {
      tries++;
      response.writeHead(status, headers).end("{}");
    });
    const gateway = harness.createGateway({ baseUrl });
    const answer = await gateway.handle(ask(MESSAGES, question));
    expect([answer.status, tries]).toEqual([status, 1]);
    expect(answer.headers.get("retry-after")).toBe(new Headers(headers).get("retry-after"));
  });

  it("end when they are used up, and are none where the client makes its own", async () => {
    const baseUrl = await harness.startProvider((_, response) => response.destroy());
    const gateway = harness.createGateway({ baseUrl });
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(502);
    expect(harness.retries).toEqual([1, 2, 3, 4]);
    await gateway.handle(ask(MESSAGES, question), { retriesMax: 0 });
    expect(harness.retries).toHaveLength(4);
  });

  it("are metered by their input where the connection was lost after sending, as an abort is", async () => {
    let tries = 0;
    const baseUrl = await harness.startProvider((_, response) => {
      if (++tries <= 2) response.destroy();
      else response.writeHead(401).end("{}");
    });
    await harness.createGateway({ baseUrl }).handle(ask(MESSAGES, question));
    const [outcome] = harness.ledger.outcomes;
    const inputTokens = 2 * (harness.ledger.intents[0]?.inputTokensEstimate ?? Number.NaN);
    expect(outcome).toMatchObject({ status: "failed", isEstimated: true, usage: { inputTokens } });
    expect(outcome?.costUsd).not.toBe(0);
  });

  it("are metered by nothing where the provider was never reached", async () => {
    const gateway = harness.createGateway({ baseUrl: "http://127.0.0.1:2" });
    await gateway.handle(ask(MESSAGES, question), { retriesMax: 0 });
    const usage = { inputTokens: 0, outputTokens: 0 };
    expect(harness.ledger.outcomes).toMatchObject([
      { status: "failed", isEstimated: false, usage },
    ]);
  });
});

const NO_BUDGET = {
  tokensMax: null,
  costUsdMax: null,
  modelCallsMax: null,
  modelCallTimeoutMs: 60_000,
};

const tokens = (
  tokensMax: number,
): Omit<typeof NO_BUDGET, "tokensMax"> & { tokensMax: number } => ({
  ...NO_BUDGET,
  tokensMax,
});

/** A question of about a thousand tokens. */
const long = (max_tokens: number): object => ({
  ...{ model: "m", max_tokens },
  messages: [{ role: "user", content: "x".repeat(3_960) }],
});

function answerWith(response: ServerResponse, input_tokens: number, output_tokens: number): void {
  const usage = { input_tokens, output_tokens };
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ type: "message", content: [], stop_reason: "end_turn", usage }));
}

/** Reads an answer to its end: a call is over only then. */
async function read(answering: Promise<Response>): Promise<number> {
  const answer = await answering;
  await answer.text();
  return answer.status;
}

describe("a budget", () => {
  it.each([
    ["tokens", { tokensMax: 1_050 }, "tokens"],
    ["calls", { modelCallsMax: 1 }, "1 model calls"],
    ["dollars", { costUsdMax: 0.00105 }, "$"],
  ])("of %s lets no call out once it is used up", async (_, limits, said) => {
    const model = await harness.startScripted(SCRIPT);
    const gateway = harness.createGateway(
      { baseUrl: model.baseUrlFor("s", "anthropic"), provider: "scripted" },
      { limits: { ...NO_BUDGET, ...limits }, prices: { scripted: { input: 1, output: 1 } } },
    );
    await (await gateway.handle(ask(MESSAGES, question))).text();
    const refused = await gateway.handle(ask(MESSAGES, question));
    expect(refused.status).toBe(403);
    expect(await refused.text()).toContain(said);
    expect(harness.reached).toEqual([expect.stringContaining(said)]);
    expect(model.journal("s")).toHaveLength(1);
  });

  it("counts what earlier attempts have spent", async () => {
    const baseUrl = await harness.startProvider((_, response) => response.end("{}"));
    const stats = { inputTokens: 90, outputTokens: 10, iterations: 1, cacheReadTokens: 0 };
    const rest = {
      cacheWriteTokens: 0,
      reasoningTokens: 0,
      toolCalls: 0,
      modelCalls: 1,
      costUsd: null,
    };
    const gateway = harness.createGateway(
      { baseUrl },
      { limits: { ...NO_BUDGET, tokensMax: 100 }, stats: { ...stats, ...rest } },
    );
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(403);
    expect(harness.reached).toEqual(["the session has used 100 of its 100 tokens"]);
    expect(harness.ledger.intents).toEqual([]);
  });

  it("lets out as many calls side by side as fit; the others wait and are refused", async () => {
    const asked: (() => void)[] = [];
    const baseUrl = await harness.startProvider((_, response) => {
      asked.push(() => answerWith(response, 1_000, 400));
    });
    const gateway = harness.createGateway({ baseUrl }, { limits: tokens(2_500) });
    const answers = Array.from({ length: 20 }, () =>
      read(gateway.handle(ask(MESSAGES, long(400)))),
    );
    await expect.poll(() => asked).toHaveLength(1);
    // The second may take more than is left, and goes when nothing else is under way.
    asked[0]?.();
    await expect.poll(() => asked).toHaveLength(2);
    asked[1]?.();
    const statuses = await Promise.all(answers);
    expect(statuses.sort()).toEqual([200, 200, ...Array<number>(18).fill(403)]);
    expect(asked).toHaveLength(2);
    expect(harness.reached).toEqual(["the session has used 2800 of its 2500 tokens"]);
    expect(harness.ledger.intents).toHaveLength(2);
    expect(harness.ledger.stats).toMatchObject({
      modelCalls: 2,
      inputTokens: 2_000,
      outputTokens: 800,
    });
  });

  it("of dollars holds calls side by side to what they may cost", async () => {
    const asked: (() => void)[] = [];
    const baseUrl = await harness.startProvider((_, response) => {
      asked.push(() => answerWith(response, 1_000, 50));
    });
    const prices = { "anthropic:m": { input: 1, output: 2 } };
    // About 1,010 tokens at 1 and 50 at 2 dollars a million each: two fit side by side.
    const limits = { ...NO_BUDGET, costUsdMax: 0.0033 };
    const gateway = harness.createGateway({ baseUrl }, { limits, prices });
    const answers = Array.from({ length: 3 }, () => read(gateway.handle(ask(MESSAGES, long(50)))));
    await expect.poll(() => asked).toHaveLength(2);
    for (const answer of asked.splice(0)) answer();
    await expect.poll(() => asked).toHaveLength(1);
    asked[0]?.();
    expect(await Promise.all(answers)).toEqual([200, 200, 200]);
  });

  it("lets a call that waited go on once those before it took less than they might have", async () => {
    const asked: (() => void)[] = [];
    const baseUrl = await harness.startProvider((_, response) => {
      asked.push(() => answerWith(response, 1_000, 10));
    });
    const gateway = harness.createGateway({ baseUrl }, { limits: tokens(6_000) });
    const first = read(gateway.handle(ask(MESSAGES, long(4_000))));
    await expect.poll(() => asked).toHaveLength(1);
    // This one alone would fit, but one that came before it is waiting.
    const [second, third] = [long(3_000), long(1)].map((each) =>
      read(gateway.handle(ask(MESSAGES, each))),
    );
    asked[0]?.();
    expect(await first).toBe(200);
    await expect.poll(() => asked).toHaveLength(2);
    asked[1]?.();
    expect(await second).toBe(200);
    await expect.poll(() => asked).toHaveLength(3);
    asked[2]?.();
    expect(await third).toBe(200);
    expect(harness.reached).toEqual([]);
  });

  it("takes a call that names no end of its answer for a long one", async () => {
    const asked: (() => void)[] = [];
    const baseUrl = await harness.startProvider((_, response) => {
      asked.push(() => answerWith(response, 1_000, 10));
    });
    const gateway = harness.createGateway({ baseUrl }, { limits: tokens(60_000) });
    const endless = { model: "m", messages: [] };
    const answers = [endless, endless].map((each) => read(gateway.handle(ask(MESSAGES, each))));
    await expect.poll(() => asked).toHaveLength(1);
    asked[0]?.();
    await expect.poll(() => asked).toHaveLength(2);
    asked[1]?.();
    for (const answer of answers) expect(await answer).toBe(200);
  });

  it("leaves no trace of a call that waited for room until its client left or the attempt ended", async () => {
    const asked = vi.fn();
    const baseUrl = await harness.startProvider(asked);
    const gateway = harness.createGateway({ baseUrl }, { limits: tokens(1_500) });
    const first = gateway.handle(ask(MESSAGES, long(50)));
    await expect.poll(() => asked).toHaveBeenCalledTimes(1);
    const client = new AbortController();
    const left = gateway.handle(ask(MESSAGES, long(50), { signal: client.signal }));
    const last = gateway.handle(ask(MESSAGES, long(50)));
    client.abort();
    expect((await left).status).toBe(499);
    await gateway.close();
    expect([(await first).status, (await last).status]).toEqual([503, 503]);
    expect(asked).toHaveBeenCalledTimes(1);
    expect(harness.ledger.intents).toHaveLength(1);
    expect(harness.ledger.outcomes).toMatchObject([{ status: "aborted" }]);
  });

  it("breaks a stream off that goes beyond it", async () => {
    const gone = vi.fn();
    const baseUrl = await harness.startProvider((request, response) => {
      openStream(response).write(START + delta("x".repeat(4_000)));
      request.socket.on("close", gone);
    });
    const gateway = harness.createGateway(
      { baseUrl },
      { limits: { ...NO_BUDGET, tokensMax: 500 } },
    );
    const answer = await gateway.handle(ask(MESSAGES, question));
    await expect(answer.text()).rejects.toThrow("budget is used up");
    await expect.poll(() => gone).toHaveBeenCalled();
    expect(harness.reached).toHaveLength(1);
    expect(harness.ledger.outcomes).toMatchObject([
      { status: "aborted", isEstimated: true, usage: { outputTokens: 1_000 } },
    ]);
  });

  it("lets an answer end that has cost too much: it is paid for, and the next one is not asked", async () => {
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response).end(START + delta("Done.") + END);
    });
    const limits = { ...NO_BUDGET, tokensMax: 125 };
    const gateway = harness.createGateway({ baseUrl }, { limits });
    expect(await (await gateway.handle(ask(MESSAGES, question))).text()).toContain("Done.");
    expect(harness.reached).toEqual([]);
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(403);
    expect(harness.reached).toEqual(["the session has used 127 of its 125 tokens"]);
  });

  it("of dollars refuses a model whose price is not known", async () => {
    const baseUrl = await harness.startProvider((_, response) => response.end("{}"));
    const gateway = harness.createGateway({ baseUrl }, { limits: { ...NO_BUDGET, costUsdMax: 1 } });
    expect((await gateway.handle(ask(MESSAGES, question))).status).toBe(403);
    expect(harness.reached[0]).toContain("anthropic:m is not known");
  });
});

describe("the key", () => {
  it("is put in by the gateway, and never comes out", async () => {
    const seen: unknown[] = [];
    const baseUrl = await harness.startProvider((request, response) => {
      seen.push(request.headers);
      response.writeHead(401, { "request-id": KEY, "set-cookie": `k=${KEY}` });
      const forms = [KEY, Buffer.from(`a${KEY}`).toString("base64"), encodeURIComponent(KEY)];
      response.end(JSON.stringify({ error: { message: `bad key ${forms.join(" ")}` } }));
    });
    const secrets = [KEY];
    const gateway = harness.createGateway(
      { baseUrl, authHeaders: { "x-api-key": KEY }, secrets },
      { recordExchanges: true },
    );
    const headers = {
      authorization: "Bearer stand-in",
      cookie: "c=1",
      "x-forwarded-for": "1.2.3.4",
    };
    const asked = { ...question, metadata: KEY };
    const answer = await gateway.handle(ask(MESSAGES, asked, { headers }));
    expect(seen).toMatchObject([{ "x-api-key": KEY }]);
    expect(Object.keys(seen[0] as object)).not.toContain("cookie");
    expect(Object.keys(seen[0] as object)).not.toContain("authorization");
    expect(Object.keys(seen[0] as object)).not.toContain("x-forwarded-for");
    const shown = (await answer.text()) + JSON.stringify([...answer.headers]);
    const kept = JSON.stringify([harness.ledger, harness.log.lines]);
    expect(shown).toContain("bad key [removed]");
    for (const text of [shown, kept]) expect(text).not.toContain(KEY.slice(4, 16));
    expect(shown).not.toContain(Buffer.from(KEY).toString("base64").slice(4, 20));
  });

  it.each([
    ["a long error is cut", 65_536 - 10, false],
    ["an error breaks off", 500, true],
  ])("does not come out in half where %s", async (_, charsBefore, breaksOff) => {
    // Another key before it, as what is put in its place is shorter and moves the cut.
    const before = KEY + "x".repeat(charsBefore - KEY.length);
    const baseUrl = await harness.startProvider((_request, response) => {
      response.writeHead(400);
      if (breaksOff) response.write(before + KEY.slice(0, 10), () => response.destroy());
      else response.end(before + KEY + "y".repeat(100));
    });
    const gateway = harness.createGateway({ baseUrl, secrets: [KEY] });
    const answer = await gateway.handle(ask(MESSAGES, question));
    expect(answer.status).toBe(400);
    const text = await answer.text();
    expect(text).toContain("[removed]xxx");
    expect(text).not.toContain(KEY.slice(0, 4));
  });

  it("is not kept in half where an exchange is cut", async () => {
    const text = KEY + "x".repeat(RECORDED_CHARS_MAX);
    const said = text.slice(0, RECORDED_CHARS_MAX - 10) + KEY + "y".repeat(2_000);
    const record = new ExchangeRecord("c", "", new Redactor([KEY]));
    record.take(Buffer.from(said));
    const kept = JSON.stringify(record.toJson());
    expect(kept).toContain("[removed]xxx");
    expect(kept).not.toContain(KEY.slice(0, 4));
  });

  it("is sent along no redirect", async () => {
    const thief = vi.fn();
    const elsewhere = await harness.startProvider((_, response) => {
      thief();
      response.end("{}");
    });
    const baseUrl = await harness.startProvider((_, response) => {
      response.writeHead(307, { location: `${elsewhere}/v1/messages` }).end();
    });
    const gateway = harness.createGateway({ baseUrl, authHeaders: { "x-api-key": KEY } });
    const answer = await gateway.handle(ask(MESSAGES, question));
    expect(answer.status).toBe(424);
    expect(thief).not.toHaveBeenCalled();
  });

  it("keeps the exchange without it where that is asked for", async () => {
    const baseUrl = await harness.startProvider((_, response) => {
      openStream(response).end(START + delta(`your key is ${KEY}`) + END);
    });
    const gateway = harness.createGateway({ baseUrl, secrets: [KEY] }, { recordExchanges: true });
    await (await gateway.handle(ask(MESSAGES, question))).text();
    const exchange = JSON.stringify(harness.ledger.outcomes[0]?.exchange);
    expect(exchange).toContain("your key is [removed]");
    expect(exchange).toContain("Go.");
    expect(exchange).not.toContain(KEY);
  });
});

describe("a request", () => {
  it("passes the policy or not", async () => {
    const baseUrl = await harness.startProvider((_, response) => response.end("{}"));
    const model = { provider: "anthropic", name: "main" } as const;
    const tryModel = async (policy: "session" | "provider" | "any", path: string, name: string) => {
      const gateway = harness.createGateway({ baseUrl }, { model, policy });
      return (await gateway.handle(ask(path, { ...question, model: name }))).status;
    };
    const openai = "/openai/v1/chat/completions";
    expect(await tryModel("session", MESSAGES, "main")).toBe(200);
    expect(await tryModel("session", MESSAGES, "small")).toBe(403);
    expect(await tryModel("provider", MESSAGES, "small")).toBe(200);
    expect(await tryModel("provider", openai, "gpt")).toBe(403);
    expect(await tryModel("any", openai, "gpt")).toBe(200);
  });

  it.each([
    "/anthropic/v1/../../admin",
    "/anthropic/v1/messages/%2e%2e/keys",
    "/anthropic//v1/messages",
    "/gemini/v1beta/models/..%2f..%2fkeys:generateContent",
    "/gemini/v1beta/models/m:deleteTunedModel",
    "/openai/v1/files",
    "//evil.example/anthropic/v1/messages",
    "/anthropic/v1/messages@evil.example",
    "/",
  ])("to %s goes nowhere", async (path) => {
    const asked = vi.fn();
    const baseUrl = await harness.startProvider((_, response) => {
      asked();
      response.end("{}");
    });
    const gateway = harness.createGateway({ baseUrl });
    expect((await gateway.handle(ask(path, question))).status).toBe(404);
    expect(asked).not.toHaveBeenCalled();
  });

  it("carries on no parameter that is not known, a key above all", async () => {
    const urls: unknown[] = [];
    const baseUrl = await harness.startProvider((request, response) => {
      urls.push(request.url);
      response.end("{}");
    });
    const gateway = harness.createGateway({ baseUrl });
    const place = "/gemini/v1beta/models/m:streamGenerateContent?alt=sse&key=token&x=1";
    await (await gateway.handle(ask(place, {}))).text();
    expect(urls).toEqual(["/v1beta/models/m:streamGenerateContent?alt=sse"]);
  });

  it("is refused when it is too large, announced or not", async () => {
    const gateway = harness.createGateway({ baseUrl: "http://127.0.0.1:2" });
    const huge = "x".repeat(REQUEST_BYTES_MAX + 1);
    expect((await gateway.handle(ask(MESSAGES, huge))).status).toBe(413);
    const headers = { "content-length": String(REQUEST_BYTES_MAX + 1) };
    expect((await gateway.handle(ask(MESSAGES, "{}", { headers }))).status).toBe(413);
    expect(harness.ledger.intents).toEqual([]);
  });

  it("that costs nothing is passed on without a record", async () => {
    const model = await harness.startScripted(SCRIPT);
    const gateway = harness.createScriptedGateway((family) => ({
      baseUrl: model.baseUrlFor("s", family),
    }));
    const get = (path: string): Promise<Response> =>
      gateway.handle(new Request(`http://door${path}`));
    for (const path of ["/anthropic/v1/models", "/openai/v1/models", "/gemini/v1beta/models"]) {
      expect(await (await get(path)).text()).toContain("scripted");
    }
    const count = await gateway.handle(ask("/anthropic/v1/messages/count_tokens", question));
    expect(await count.json()).toEqual({ input_tokens: 1_000 });
    const counted = await gateway.handle(ask("/gemini/v1beta/models/m:countTokens", {}));
    expect(await counted.json()).toEqual({ totalTokens: 1_000 });
    expect(harness.ledger.intents).toEqual([]);
  });
});

it("names the base URLs as the agents of each vendor want them", () => {
  expect(doorUrlsAt("http://127.0.0.1:4010")).toEqual({
    anthropic: "http://127.0.0.1:4010/anthropic",
    openai: "http://127.0.0.1:4010/openai/v1",
    gemini: "http://127.0.0.1:4010/gemini",
  });
});
