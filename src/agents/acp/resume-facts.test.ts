import { expect, it } from "vitest";
import type { Checkpoint, LedgerCall, RecoveryFacts } from "../../core/attempt.ts";
import { writeResumePrompt } from "./resume-facts.ts";

const call = (fields: Partial<LedgerCall>): LedgerCall => ({
  ...{ callId: "call-1", iteration: 1, ordinal: 0, modelCallId: "1", tool: "execute" },
  ...{ input: { command: "npm test" }, timeoutMs: 1_000, hasEffect: true, snapshotId: null },
  ...{ status: "interrupted", epoch: 1, result: "", isError: true },
  ...fields,
});

const write = (
  calls: readonly LedgerCall[],
  hasAnswered: boolean,
  recovery: RecoveryFacts | null = null,
): string => {
  const response = hasAnswered ? { text: "done" } : null;
  const step = { iteration: 1, inputs: ["fix it"], inboxDelivered: [], response, usage: null };
  const resumeFrom = {
    ...{ steps: [step], calls, agentSessionId: "a", snapshotId: null },
    ...{ undelivered: [], permissions: [] },
  } as unknown as Checkpoint;
  const facts = { hasMemory: true, messages: [] };
  return writeResumePrompt({ prompt: "fix it", recovery, resumeFrom }, facts);
};

it("tells of a call that was cut off, though a worker that outlived the agent wrote its end", () => {
  const text = write(
    [call({ result: "the agent ended before it told how the call ended" })],
    false,
  );
  expect(text).toContain('- execute {"command":"npm test"}: the agent ended before it told');
  expect(text).not.toContain("No tool call was under way");
});

it("tells of a call that nobody closed", () => {
  expect(write([call({ status: "open" })], false)).toContain("This call was interrupted");
});

it("tells of none where all have ended, or were cut off in a turn that the agent has ended since", () => {
  expect(write([call({ status: "finished" })], false)).toContain("No tool call was under way");
  expect(write([call({})], true)).toContain("No tool call was under way");
});

it("promises no file to be as it was where a call ran while the state was stored", () => {
  const fact = { status: "interrupted", hasBegun: true, exitCode: null, output: "" } as const;
  const tell = (effects: "undone" | "partial"): string => {
    const calls = new Map([["call-1", { ...fact, effects }]]);
    return write([call({ status: "open" })], false, { workspace: "restored", calls });
  };
  expect(tell("undone")).toContain("as they were before that");
  expect(tell("undone")).toContain("restored to its state before this call");
  expect(tell("partial")).not.toContain("before th");
  expect(tell("partial")).toContain("they may hold a part of what it did");
});
