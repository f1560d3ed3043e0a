import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { StintError } from "../../../src/core/error.ts";
import type { AttemptContext, Checkpoint, TurnResult } from "../../../src/core/attempt.ts";
import { Gate, WorkerHarness } from "./harness.ts";

let harness: WorkerHarness;
beforeAll(async () => {
  harness = await WorkerHarness.create();
});
afterEach(() => harness.clear());
afterAll(() => harness.close());

/** A worker whose workspace stores nothing while there is an error. */
async function startFailing(failure: { error: Error | null }) {
  return harness.startWorker({
    agent: [
      { call: { tool: "write_file", input: { path: "file.txt", content: "one\n" } } },
      { say: "Done." },
    ],
    openWorkspace: async (session, signal) => ({
      ...(await harness.workspaces.open(session, signal)),
      takeSnapshot: () =>
        failure.error ? Promise.reject(failure.error) : Promise.resolve("snapshot"),
    }),
  });
}

it.each([
  ["disk_failed", new Error("EIO: i/o error, fsync")],
  ["disk_full", new StintError("internal", "git failed: No space left on device")],
])(
  "waits with backoff (%s) for a disk that does not store a state, and goes on",
  async (code, error) => {
    const failure: { error: Error | null } = { error };
    const worker = await startFailing(failure);
    const id = await harness.createSession();
    await worker.step();
    const paused = await harness.waitForStatus(id, "paused");
    expect(paused).toMatchObject({ reason: "backoff", error: { code }, attempts: 0 });
    await worker.idle();
    failure.error = null;
    await harness.store.resumeSession(id);
    await worker.step();
    await harness.waitForStatus(id, "completed");
  },
);

it("fails as the workspace's fault, not the agent's, when a state cannot be stored", async () => {
  const gone = new StintError("workspace_gone", "the workspace is gone");
  const worker = await startFailing({ error: gone });
  const id = await harness.createSession();
  await worker.step();
  const failed = await harness.waitForStatus(id, "failed");
  expect(failed).toMatchObject({ reason: "workspace_error", error: { code: "workspace_gone" } });
});

const statesOf = (checkpoint: Checkpoint | null) =>
  checkpoint?.calls.map(({ snapshotId }) => snapshotId);

it("tells a state apart that was stored while calls ran, however late the agent told of them", async () => {
  const begun = new Gate();
  const stored = new Gate();
  const intent = { iteration: 1, tool: "execute", input: {}, timeoutMs: 60_000 };
  const outcome = { status: "finished", result: "", isError: false, events: [] } as const;
  let seen: Checkpoint | null = null;
  const agent = async (context: AttemptContext): Promise<TurnResult> => {
    const open = (ordinal: number): Promise<string> =>
      context.openCall({ ...intent, ordinal, modelCallId: `m${ordinal}`, mayHaveBegun: true });
    const [first, second] = [await open(0), await open(1)];
    await context.closeCall(first, outcome);
    await begun.passed;
    const third = open(2);
    stored.open();
    const late = await third;
    seen = await harness.store.readCheckpoint(context.sessionId);
    for (const callId of [second, late]) await context.closeCall(callId, outcome);
    return { outcome: "end_turn", message: "Done." };
  };
  let states = 0;
  const worker = await harness.startWorker({
    agent,
    openWorkspace: async (session, signal) => ({
      ...(await harness.workspaces.open(session, signal)),
      takeSnapshot: async () => {
        begun.open();
        await stored.passed;
        return `state ${++states}`;
      },
    }),
  });
  const id = await harness.createSession();
  await worker.step();
  await harness.waitForStatus(id, "completed");
  expect(statesOf(seen)).toEqual(["state 1", "state 1", "state 1"]);
  // What the others did after that is in later states alone.
  const [first, ...others] = statesOf(await harness.store.readCheckpoint(id)) ?? [];
  expect(first).toBe("state 1");
  expect(others.every((state) => state !== null && state !== "state 1")).toBe(true);
});
