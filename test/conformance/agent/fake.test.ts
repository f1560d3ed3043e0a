import { expect, it } from "vitest";
import { createFakeAgent, FAKE_USAGE, type FakeAct } from "../../../src/agents/fake.ts";
import type { Script } from "../../../src/core/script.ts";
import { describeAgentConformance } from "./agent.testsuite.ts";
import { createCannedModel } from "./canned-model.ts";
import { openMemoryAttempt } from "./memory-context.ts";
import { MemoryStore } from "./memory-store.ts";

describeAgentConformance(
  "fake",
  (_sessionId, script) => ({
    adapter: createFakeAgent(toActs(script)),
    model: createCannedModel([]).binding,
    requests: [],
    lastRequest: () => null,
  }),
  (steps) => ({
    inputTokens: FAKE_USAGE.inputTokens * steps,
    outputTokens: FAKE_USAGE.outputTokens * steps,
  }),
);

function toActs(script: Script): FakeAct[] {
  return script.flatMap((step): FakeAct[] => {
    if ("bash" in step) return [{ call: { tool: "bash", input: { command: step.bash } } }];
    if ("write" in step) return [{ call: { tool: "write_file", input: step.write } }];
    if ("edit" in step) return [{ call: { tool: "edit_file", input: step.edit } }];
    if ("read" in step) return [{ call: { tool: "read_file", input: step.read } }];
    return "text" in step ? [{ say: step.text }] : [];
  });
}

const open = (acts: readonly FakeAct[]) => {
  const store = new MemoryStore();
  const model = createCannedModel([]).binding;
  const attempt = openMemoryAttempt({ store, workspace: "/tmp", prompt: "Go.", model });
  return { store, attempt, run: createFakeAgent(acts).run(attempt.context) };
};

it("a fake agent emits what it is given before it answers", async () => {
  const { store, run } = open([
    { emit: [{ type: "error", data: { code: "demo" } }] },
    { say: "Hello." },
  ]);
  expect(await run).toEqual({ outcome: "end_turn", message: "Hello." });
  expect(store.events.map(({ type }) => type)).toEqual(["error", "thinking"]);
});

it("a fake agent waits until it is told to stop", async () => {
  const { store, attempt, run } = open([{ wait: new Promise(() => undefined) }, { say: "Never." }]);
  await store.until(() => store.writes === 1);
  attempt.stop("pause");
  await expect(run).rejects.toBe(attempt.context.signal.reason);
});

it("a fake agent crashes and fails on request", async () => {
  await expect(open([{ crash: "a defect" }]).run).rejects.toThrow("a defect");
  const failure = { reason: "refusal", message: "No." } as const;
  expect(await open([{ fail: failure }]).run).toEqual({ outcome: "failed", ...failure });
});
