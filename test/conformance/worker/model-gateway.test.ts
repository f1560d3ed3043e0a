import { once } from "node:events";
import { request } from "node:http";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { createBuiltinAgent } from "../../../src/agents/builtin/agent.ts";
import { createFakeAgent } from "../../../src/agents/fake.ts";
import type { AgentAdapter } from "../../../src/core/attempt.ts";
import { resolveLimits, loadConfig } from "../../../src/core/config.ts";
import type { SessionEvent } from "../../../src/core/event.ts";
import { foldEvents } from "../../../src/core/fold.ts";
import type { ModelPrice } from "../../../src/core/model.ts";
import { ModelAccess } from "../../../src/worker/model-access.ts";
import { systemClock } from "../../system-clock.ts";
import { type TestWorker, WorkerHarness } from "./harness.ts";

/** Three model steps: 3,300 tokens in, 150 out. */
const SCRIPT = [{ read: { path: "a" } }, { read: { path: "b" } }, { text: "Done." }] as const;

let harness: WorkerHarness;
const models: ModelAccess[] = [];

beforeAll(async () => {
  harness = await WorkerHarness.create();
});

afterEach(async () => {
  await harness.clear();
  await Promise.all(models.splice(0).map((access) => access.close()));
});

afterAll(() => harness.close());

function startWorker(
  agent: AgentAdapter = createBuiltinAgent(),
  prices: Readonly<Record<string, ModelPrice>> = {},
): Promise<TestWorker> {
  return harness.startWorker({
    agent,
    createModels: ({ lifecycle, logs: logger, store }) => {
      const settings = { ...loadConfig(), prices, recordExchanges: true };
      const lookUpScript = (id: string) => store.getScript(id);
      const clock = systemClock;
      const access = new ModelAccess({
        env: { OPENAI_BASE_URL: "http://127.0.0.1:1/v1" },
        ...{ settings, lifecycle, lookUpScript, clock, logger },
      });
      models.push(access);
      return (hold) => access.open(hold);
    },
  });
}

const createSession = (limits: object = {}): Promise<string> =>
  harness.createSession({
    ...{ agent: "builtin", model: "scripted", script: SCRIPT },
    limits: { ...resolveLimits(loadConfig()), ...limits },
  });

const readCalls = (events: readonly SessionEvent[]): unknown[] =>
  events.filter(({ type }) => type === "model_call").map(({ data }) => data["status"]);

it("takes a session's totals from its gateway alone, and keeps each call and exchange", async () => {
  const worker = await startWorker();
  const id = await createSession();
  await worker.step();
  const session = await harness.waitForStatus(id, "completed");
  expect(session.stats).toMatchObject({
    ...{ iterations: 3, modelCalls: 3, inputTokens: 3_300, outputTokens: 150, costUsd: 0 },
  });
  const events = await harness.store.readEvents(id, {});
  expect(foldEvents(events).stats).toEqual(session.stats);
  expect(events.findLast(({ type }) => type === "completion")?.data["stats"]).toEqual(
    session.stats,
  );
  const rows = await harness.db.sql(
    "select status, model, http_status, is_estimated from stint.model_calls where session_id = $1",
    [id],
  );
  const row = { status: "finished", model: "scripted", http_status: 200, is_estimated: false };
  expect(rows).toEqual([row, row, row]);
  const raw = await harness.db.sql(
    "select message ->> 'kind' as kind from stint.raw_messages where session_id = $1",
    [id],
  );
  expect(raw).toEqual(Array(3).fill({ kind: "model_exchange" }));
});

it("ends a session whose agent presents the login of an account, with the code and the reason", async () => {
  const agent = createFakeAgent(async (context) => {
    const { signal } = context;
    const { socketPath } = await context.openModelDoor();
    const headers = { authorization: "Bearer sk-ant-oat01-canary" };
    request({ socketPath, path: "/anthropic/v1/messages", method: "POST", headers }).end("{}");
    await once(signal, "abort");
    throw signal.reason as Error;
  }, "builtin");
  const worker = await startWorker(agent);
  const id = await createSession();
  await worker.step();
  const failed = await harness.waitForStatus(id, "failed");
  expect(failed).toMatchObject({
    reason: "model_error",
    error: { code: "model_login_unsupported" },
  });
  expect(JSON.stringify(await harness.store.readEvents(id, {}))).not.toContain("canary");
});

it.each([
  ["tokens", { tokensMax: 1_050 }, { tokensMax: 2_000 }],
  ["calls", { modelCallsMax: 1 }, { modelCallsMax: 2 }],
  ["dollars", { costUsdMax: 0.001 }, { costUsdMax: 0.002 }],
])(
  "pauses a session whose budget of %s is used up, until it is raised",
  async (_, first, second) => {
    const worker = await startWorker(createBuiltinAgent(), { scripted: { input: 1, output: 1 } });
    const id = await createSession(first);
    await worker.step();
    const paused = await harness.waitForStatus(id, "paused");
    expect(paused).toMatchObject({ reason: "budget_reached", resumeAt: null, attempts: 0 });
    expect(paused.error).toMatchObject({
      code: "budget_reached",
      message: expect.stringMatching(/^the session has (used|cost)/) as string,
    });
    const changes = (await harness.store.readEvents(id, {})).filter(
      ({ type }) => type === "state_changed",
    );
    expect(changes.at(-1)?.data["error"]).toEqual(paused.error);
    expect(paused.stats.modelCalls).toBe(1);
    // Resumed as it is it has nothing to spend.
    await worker.idle();
    await harness.store.resumeSession(id);
    await worker.step();
    await worker.idle();
    const again = await harness.waitForStatus(id, "paused");
    expect(again).toMatchObject({ reason: "budget_reached", stats: { modelCalls: 1 } });
    await harness.store.resumeSession(id, second);
    await worker.step();
    await worker.idle();
    expect(await harness.waitForStatus(id, "paused")).toMatchObject({
      ...{ reason: "budget_reached", limits: second },
      stats: { modelCalls: 2 },
    });
    await harness.store.resumeSession(id, {
      tokensMax: null,
      costUsdMax: null,
      modelCallsMax: null,
    });
    await worker.step();
    const done = await harness.waitForStatus(id, "completed");
    expect(done.error).toBeNull();
    expect(done.stats).toMatchObject({ modelCalls: 3, inputTokens: 3_300, iterations: 3 });
    expect(foldEvents(await harness.store.readEvents(id, {})).stats).toEqual(done.stats);
  },
);

it("says of a model without a price why it is not called under a budget of dollars", async () => {
  const agent = createFakeAgent(async (context) => {
    const door = await context.openModelDoor();
    const headers = { authorization: `Bearer ${door.token}` };
    const body = JSON.stringify({ model: "side", input: "A title?" });
    await fetch(`${door.urls.openai}/responses`, { method: "POST", headers, body });
    throw context.signal.reason as Error;
  }, "builtin");
  const worker = await startWorker(agent);
  const id = await harness.createSession({
    ...{ agent: "builtin", model: "openai:side" },
    limits: { ...resolveLimits(loadConfig()), costUsdMax: 1 },
  });
  await worker.step();
  const paused = await harness.waitForStatus(id, "paused");
  expect(paused.error).toMatchObject({
    code: "price_unknown",
    message: expect.stringContaining("openai:side is not known") as string,
  });
});

it("gives a program a door, meters what comes by it, and closes it with the attempt", async () => {
  let address = "";
  const agent: AgentAdapter = {
    name: "builtin",
    needsModel: false,
    probe: () => Promise.resolve({ available: true, detail: "" }),
    async run(context) {
      const door = await context.openModelDoor();
      expect(await context.openModelDoor()).toBe(door);
      address = `${door.urls.openai}/responses`;
      const headers = { authorization: `Bearer ${door.token}` };
      const body = JSON.stringify({ model: "side", input: "A title?" });
      const answer = await fetch(address, { method: "POST", headers, body });
      expect(answer.status).toBe(200);
      expect(await answer.text()).toContain("Scripted session");
      const client = new AbortController();
      void fetch(address, { method: "POST", headers, body, signal: client.signal }).catch(() => 0);
      return { outcome: "end_turn", message: "Done." };
    },
  };
  const worker = await startWorker(agent);
  const id = await createSession();
  await worker.step();
  const session = await harness.waitForStatus(id, "completed");
  expect(session.stats.modelCalls).toBeGreaterThanOrEqual(1);
  expect(readCalls(await harness.store.readEvents(id, {}))[0]).toBe("finished");
  await expect(fetch(address)).rejects.toThrow("fetch failed");
});

it("counts, by its estimate, a call of an attempt that died, once", async () => {
  const first = await startWorker({
    ...createBuiltinAgent(),
    run: ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason as Error));
      }),
  });
  const id = await createSession();
  await first.step();
  await harness.waitForStatus(id, "active");
  const intent = {
    ...{ callId: crypto.randomUUID(), provider: "scripted", wire: "anthropic", model: "scripted" },
    ...{ isStreamed: true, inputTokensEstimate: 77, timeoutMs: 60_000 },
  };
  await first.lifecycle.commit(first.hold(id), { openModelCall: intent });
  await harness.store.forceTransition(id, {
    ...{ to: "paused", reason: "worker_lost", message: "gone", resumeInMs: 0 },
  } as const);
  const second = await startWorker();
  await second.step();
  const session = await harness.waitForStatus(id, "completed");
  expect(session.stats).toMatchObject({ modelCalls: 4, inputTokens: 3_377, outputTokens: 150 });
  const statuses = readCalls(await harness.store.readEvents(id, {}));
  expect(statuses).toEqual(["lost", "finished", "finished", "finished"]);
});
