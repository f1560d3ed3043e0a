import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { CallEvidence, LedgerCall } from "../core/attempt.ts";
import { StintError } from "../core/error.ts";
import type { SessionEvent } from "../core/event.ts";
import type { JsonObject } from "../core/json.ts";
import type { CommandEnd } from "../workspace/exit-record.ts";
import { establishCall } from "./call-facts.ts";

const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

const ENDED = { kind: "ended", exitCode: 1, isCutShort: false, isSameBoot: true } as const;

/** What is established of a call, with a file of this content and a record of this end. */
async function establish(
  evidence: CallEvidence | undefined,
  found: { file?: string | null; end?: CommandEnd; snapshotId?: string; tail?: JsonObject[] },
) {
  const { file = null, end = { kind: "cut_off" }, snapshotId = null, tail = [] } = found;
  const call: LedgerCall = {
    ...{ callId: "c", status: "open", snapshotId, hasEffect: true, iteration: 1, ordinal: 0 },
    ...{ modelCallId: "m", tool: "t", input: {}, timeoutMs: 1, epoch: 1, result: null },
    ...{ isError: false, evidence },
  };
  const bytes = Buffer.from(file ?? "");
  const files = {
    read: () =>
      file === null
        ? Promise.reject(new StintError("not_found", "no file"))
        : Promise.resolve({ bytes, sizeBytes: bytes.length, truncated: false }),
    write: () => Promise.reject(new Error("only facts are read")),
    resolve: (path: string) => Promise.resolve(path),
    list: () => Promise.reject(new Error("only facts are read")),
    search: () => Promise.reject(new Error("only facts are read")),
  };
  return establishCall(call, {
    workspace: { files, readCommandEnd: () => Promise.resolve(end) },
    readTail: () =>
      Promise.resolve(
        tail.map((data, index): SessionEvent => {
          const place = { id: String(index), sessionId: "s", seq: index + 1 };
          return { ...place, type: "terminal", data, createdAt: new Date(0) };
        }),
      ),
  });
}

test.each<[CommandEnd, object]>([
  [ENDED, { status: "finished", exitCode: 1 }],
  [
    { ...ENDED, isCutShort: true, exitCode: 143 },
    { status: "interrupted", hasBegun: true },
  ],
  [
    { ...ENDED, isSameBoot: false },
    { status: "unknown", exitCode: 1 },
  ],
  [{ kind: "cut_off" }, { status: "interrupted", hasBegun: true }],
  [{ kind: "not_begun" }, { status: "interrupted", hasBegun: false }],
  [{ kind: "unrecorded" }, { status: "unknown" }],
])("a command with the record %j is established as %j", async (end, fact) => {
  expect(await establish({ kind: "command" }, { end })).toMatchObject(fact);
});

test("a file decides by its content: as it was to be, as it was before, or otherwise", async () => {
  const evidence = { kind: "file", path: "a", before: hash("old"), after: hash("new") } as const;
  expect(await establish(evidence, { file: "new" })).toMatchObject({ status: "finished" });
  const before = { status: "interrupted", hasBegun: false };
  expect(await establish(evidence, { file: "old" })).toMatchObject(before);
  expect(await establish(evidence, { file: "other" })).toMatchObject({ status: "unknown" });
  expect(await establish(evidence, { file: null })).toMatchObject({ status: "unknown" });
  const created = { kind: "file", path: "a", before: null, after: hash("new") } as const;
  expect(await establish(created, { file: null })).toMatchObject(before);
  const blind = { kind: "file", path: "a", after: hash("new") } as const;
  expect(await establish(blind, { file: null })).toMatchObject({ status: "unknown" });
});

test("a call without evidence was cut off on this host, and unknown elsewhere", async () => {
  expect(await establish(undefined, {})).toMatchObject({ status: "interrupted" });
  const end = { kind: "unrecorded" } as const;
  expect(await establish(undefined, { end })).toMatchObject({ status: "unknown" });
});

test("a call whose effect is stored has finished, whatever else is gone", async () => {
  const end = { kind: "unrecorded" } as const;
  const stored = { end, snapshotId: "s1" };
  expect(await establish({ kind: "command" }, stored)).toMatchObject({ status: "finished" });
});

test("what a command said is known as far as the log has it, and not what another said", async () => {
  const tail = [
    { callId: "c", output: "one\n" },
    { callId: "other", output: "no" },
    { callId: "c", error: "two\n" },
  ];
  const { output } = await establish({ kind: "command" }, { end: ENDED, tail });
  expect(output).toBe("one\ntwo\n");
});
