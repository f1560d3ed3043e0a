import { expect, test } from "vitest";
import type { CallStatus, Checkpoint, LedgerCall } from "../core/attempt.ts";
import { recoverWorkspace } from "./workspace-recovery.ts";

const call = (
  callId: string,
  status: CallStatus,
  snapshotId: string | null,
  hasEffect = true,
): LedgerCall => ({
  ...{ callId, status, snapshotId, hasEffect, iteration: 1, ordinal: 0, modelCallId: "m" },
  ...{ tool: "bash", input: {}, timeoutMs: 1, epoch: 1, result: null, isError: false },
});

async function recover(
  calls: LedgerCall[],
  options: {
    last?: string | null;
    recovery?: "restore" | "adopt";
    mode?: "copy" | "in-place";
    found?: Record<string, "finished" | "unknown">;
    isMoved?: boolean;
    isRestarted?: boolean;
  } = {},
) {
  const { last = "last", recovery = "restore", mode = "copy" } = options;
  const done: string[] = [];
  const checkpoint: Checkpoint = {
    ...{
      steps: [],
      calls,
      agentSessionId: null,
      undelivered: [],
      permissions: [],
      snapshotId: last,
    },
  };
  const facts = await recoverWorkspace({
    session: { recovery, workspace: { mode, path: "/tree" } },
    workspace: {
      base: "base",
      isMoved: options.isMoved ?? false,
      isRestarted: options.isRestarted ?? false,
      takeSnapshot: () => Promise.resolve("now"),
      restore: (id) => {
        done.push(`restore ${id}`);
        return Promise.resolve();
      },
    },
    checkpoint,
    establish: ({ callId }) => {
      const status = options.found?.[callId] ?? "interrupted";
      return Promise.resolve({ status, hasBegun: true, exitCode: null, output: "" });
    },
    commitSnapshot: ({ id, calls: stored, undone = [] }) => {
      const lost = undone.map(({ callId }) => ` -${callId}`).join("");
      done.push(`commit ${id} [${stored.join(" ")}]${lost}`);
      return Promise.resolve();
    },
  });
  return { facts, done };
}

test("a call that was cut off is undone: the last stored state comes back", async () => {
  const calls = [call("a", "finished", "last"), call("b", "open", null)];
  const { facts, done } = await recover(calls);
  expect(facts?.workspace).toBe("restored");
  expect(facts?.calls.get("b")).toMatchObject({ status: "interrupted", effects: "undone" });
  expect(done).toEqual(["restore last"]);
});

test("a call that is shown to have finished keeps its effect, which is stored now", async () => {
  const calls = [call("a", "finished", "last"), call("b", "open", null)];
  const { facts, done } = await recover(calls, { found: { b: "finished" } });
  expect(facts?.workspace).toBe("kept");
  expect(facts?.calls.get("b")).toMatchObject({ status: "finished", effects: "kept" });
  expect(done).toEqual(["commit now [b]"]);
});

test("a recovery after a recovery keeps what the one before has stored", async () => {
  const calls = [call("a", "finished", "last"), call("b", "open", "last")];
  const { facts, done } = await recover(calls, { found: { b: "finished" } });
  expect(facts?.calls.get("b")).toMatchObject({ status: "finished", effects: "kept" });
  expect(done).toEqual(["commit now [b]"]);
});

test("of a call that ran while a state was stored, no more is promised than that it may be there", async () => {
  const calls = [call("a", "finished", "last"), call("b", "open", "last")];
  const { facts, done } = await recover(calls);
  expect(facts?.calls.get("b")).toMatchObject({ status: "interrupted", effects: "partial" });
  expect(done).toEqual(["restore last"]);
});

test("a call that ended after a state was stored while it ran keeps all of its effect", async () => {
  const calls = [call("a", "open", null), call("b", "open", "last")];
  const { facts, done } = await recover(calls, { found: { a: "finished", b: "finished" } });
  expect(facts?.calls.get("b")).toMatchObject({ status: "finished", effects: "kept" });
  expect(done).toEqual(["commit now [a b]"]);
});

test("a call of which nothing is known is undone like one that was cut off", async () => {
  const { facts, done } = await recover([call("b", "open", null)], { found: { b: "unknown" } });
  expect(facts?.calls.get("b")).toMatchObject({ status: "unknown", effects: "undone" });
  expect(done).toEqual(["restore last"]);
});

test("a finished call that goes back with another that was cut off is said to be undone", async () => {
  const calls = [call("a", "open", null), call("b", "open", null)];
  const { facts } = await recover(calls, { found: { a: "finished" } });
  expect(facts?.calls.get("a")).toMatchObject({ status: "finished", effects: "undone" });
});

test("where only the snapshot of an ended call is missing, its effect is stored now", async () => {
  const calls = [call("a", "finished", "last"), call("b", "interrupted", null)];
  const { facts, done } = await recover(calls);
  expect(facts).toBeNull();
  expect(done).toEqual(["commit now [b]"]);
});

test("what changed outside of any call goes back to the last stored state", async () => {
  const { facts, done } = await recover([call("a", "finished", "last")]);
  expect(facts).toBeNull();
  expect(done).toEqual(["restore last"]);
});

test("a call that only looks neither needs a snapshot nor a restore", async () => {
  const calls = [call("a", "finished", "last"), call("look", "open", null, false)];
  const { facts } = await recover(calls);
  expect(facts).toBeNull();
});

test("a session cut off before its first stored state goes back to its beginning", async () => {
  const { done } = await recover([call("a", "open", null)], { last: null });
  expect(done).toEqual(["restore base", "commit base []"]);
});

test("in place, and where a session adopts, the files are taken as they are", async () => {
  const calls = [call("a", "finished", null), call("b", "open", null)];
  for (const options of [{ recovery: "adopt" }, { mode: "in-place" }] as const) {
    const { facts, done } = await recover(calls, options);
    expect(facts?.workspace).toBe("kept");
    expect(facts?.calls.get("b")).toMatchObject({ status: "interrupted", effects: "kept" });
    expect(done).toEqual(["commit now [a]"]);
  }
});

test("after a restart of the host files that were not stored are not trusted, and that is told", async () => {
  const calls = [call("a", "finished", "last"), call("b", "finished", null)];
  const { facts, done } = await recover(calls, { isRestarted: true });
  expect(facts).toMatchObject({ workspace: "restored", undone: ["b"] });
  expect(done).toEqual(["restore last", "commit last [] -b"]);
});

test("on another host the last stored state is gone on with, and what it lacks is told as undone", async () => {
  const calls = [call("a", "finished", "last"), call("b", "finished", null)];
  const { facts, done } = await recover(calls, { isMoved: true });
  expect(facts).toMatchObject({ workspace: "restored", undone: ["b"] });
  expect(done).toEqual(["commit last [] -b"]);
});

test("on another host nothing is restored twice, and the log learns where the files are", async () => {
  const { facts, done } = await recover([call("a", "finished", "last")], { isMoved: true });
  expect(facts).toBeNull();
  expect(done).toEqual(["commit last []"]);
});

test("a call that had ended before the one that was cut off is told as undone with it", async () => {
  const calls = [call("a", "finished", null), call("b", "open", null)];
  const { facts, done } = await recover(calls);
  expect(facts?.undone).toEqual(["a"]);
  expect(done).toEqual(["restore last", "commit last [] -a"]);
});
