import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { StintError } from "../../../src/core/error.ts";
import { GitFailure } from "../../../src/workspace/git.ts";
import { WorkerHarness } from "./harness.ts";

let harness: WorkerHarness;
beforeAll(async () => {
  harness = await WorkerHarness.create();
});
afterEach(() => harness.clear());
afterAll(() => harness.close());

const KILLED = new GitFailure(["add"], null, "");
const AGENT = [
  { call: { tool: "write_file", input: { path: "file.txt", content: "one\n" } } },
  { say: "Done." },
] as const;

/** A worker whose workspace rejects there while there is an error. */
async function startFailing(place: "open" | "restore" | "store", failure: { error: Error | null }) {
  const fail = async (): Promise<void> => {
    if (failure.error) throw failure.error;
  };
  harness.workspaces.beforeOpen = () => (place === "open" ? fail() : Promise.resolve());
  harness.workspaces.beforeRestore = () => (place === "restore" ? fail() : Promise.resolve());
  return harness.startWorker({
    agent: [...AGENT],
    openWorkspace: async (session, signal) => ({
      ...(await harness.workspaces.open(session, signal)),
      async takeSnapshot() {
        if (place === "store") await fail();
        return "snapshot";
      },
    }),
  });
}

/** A session that an attempt has given back before it did anything. */
async function createResumed(): Promise<string> {
  const worker = await startFailing("open", { error: KILLED });
  const id = await harness.createSession();
  await worker.step();
  await harness.waitForStatus(id, "paused");
  await worker.idle();
  await harness.store.resumeSession(id);
  return id;
}

it.each([
  ["opened", "open"],
  ["brought back", "restore"],
  ["stored", "store"],
] as const)(
  "a session whose files could not be %s once is tried again, and says why",
  async (_, place) => {
    const id = await createResumed();
    const failure: { error: Error | null } = { error: KILLED };
    const worker = await startFailing(place, failure);
    const before = Date.now();
    await worker.step();
    const lost = await harness.waitFor(id, ({ epoch }) => epoch === 4);
    expect(lost).toMatchObject({
      ...{ status: "paused", reason: "agent_lost" },
      error: { code: "internal", message: "git add failed (killed): " },
    });
    // The second attempt in a row: twice the wait of the first.
    expect(lost.resumeAt!.getTime()).toBeGreaterThanOrEqual(before + 10_000);
    await worker.idle();
    failure.error = null;
    await harness.store.resumeSession(id);
    await worker.step();
    expect(await harness.waitForStatus(id, "completed")).toMatchObject({ error: null });
  },
);

it("a session whose files can never be brought back is held for a person in the end", async () => {
  const id = await createResumed();
  const worker = await startFailing("restore", { error: KILLED });
  for (const attempt of [2, 3, 4, 5]) {
    await worker.step();
    const paused = await harness.waitFor(id, ({ epoch }) => epoch === 2 * attempt);
    const reason = attempt === 5 ? "recovery_exhausted" : "agent_lost";
    expect(paused).toMatchObject({ status: "paused", reason });
    await worker.idle();
    if (attempt < 5) await harness.store.resumeSession(id);
  }
});

it.each(["open", "restore", "store"] as const)(
  "a disk that is full when files are needed (%s) is waited for",
  async (place) => {
    const id = await createResumed();
    const failure = { error: new StintError("internal", "git failed: No space left on device") };
    const worker = await startFailing(place, failure);
    await worker.step();
    const paused = await harness.waitFor(id, ({ epoch }) => epoch === 4);
    expect(paused).toMatchObject({
      ...{ status: "paused", reason: "backoff" },
      error: { code: "disk_full" },
    });
  },
);
