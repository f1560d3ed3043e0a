import { afterAll, beforeAll, expect, it } from "vitest";
import { range, StoreHarness } from "./harness.ts";

let harness: StoreHarness;
beforeAll(async () => {
  harness = await StoreHarness.create();
});
afterAll(() => harness.close());

const USAGE = {
  ...{ inputTokens: 1, outputTokens: 1 },
  ...{ cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 },
};

/** Claims the session as often as it is due, each time (from 1) for a worker that dies. */
async function loseAttempts(id: string, times: number, progressIn?: number): Promise<void> {
  for (const time of range(times)) {
    const workerId = await harness.registerWorker();
    const owner = await harness.claim(workerId, id);
    if (time === progressIn) {
      const step = { iteration: 1, inputs: [], inboxDelivered: [], timeoutMs: 1_000 };
      await harness.commit(owner, { beginStep: step });
      const finishStep = { iteration: 1, response: "an answer", usage: USAGE };
      await harness.commit(owner, { finishStep });
    }
    expect(await harness.store.buryWorker(workerId, "boot")).toBe(true);
    await harness.store.sweepLostLeases();
  }
}

const read = (id: string) => harness.store.getSession(id);

it("five attempts in a row that are lost without progress leave the session to a person", async () => {
  const id = await harness.createSession();
  await loseAttempts(id, 4);
  expect(await read(id)).toMatchObject({ reason: "worker_lost", resumeAt: expect.any(Date) });
  await loseAttempts(id, 1);
  const held = { status: "paused", reason: "recovery_exhausted", resumeAt: null };
  expect(await read(id)).toMatchObject(held);
  const workerId = await harness.registerWorker();
  expect(await harness.store.claimSessions({ workerId, limit: 1, sessionId: id })).toEqual([]);
});

it("a person who resumes it gives it a new budget", async () => {
  const id = await harness.createSession();
  await loseAttempts(id, 5);
  await harness.store.resumeSession(id);
  await loseAttempts(id, 4);
  expect(await read(id)).toMatchObject({ reason: "worker_lost" });
  await loseAttempts(id, 1);
  expect(await read(id)).toMatchObject({ reason: "recovery_exhausted" });
});

it("a model step that was finished starts the count anew", async () => {
  const id = await harness.createSession();
  await loseAttempts(id, 8, 4);
  expect(await read(id)).toMatchObject({ reason: "worker_lost", attempts: 8 });
  await loseAttempts(id, 1);
  expect(await read(id)).toMatchObject({ reason: "recovery_exhausted" });
});

it("an attempt that ended well starts the count anew", async () => {
  const id = await harness.createSession();
  await loseAttempts(id, 4);
  const owner = await harness.claim(await harness.registerWorker(), id);
  const transition = { to: "paused", reason: "shutdown", resumeInMs: 0 } as const;
  await harness.commit(owner, { transition });
  await loseAttempts(id, 4);
  expect(await read(id)).toMatchObject({ reason: "worker_lost" });
});

it("a worker is buried only by a process of its own boot", async () => {
  const id = await harness.createSession();
  const workerId = await harness.registerWorker();
  await harness.claim(workerId, id);
  expect(await harness.store.buryWorker(workerId, "another boot")).toBe(false);
  expect(await harness.store.buryWorker(workerId, "")).toBe(false);
  await harness.store.sweepLostLeases();
  expect(await read(id)).toMatchObject({ status: "active" });
  expect(await harness.store.buryWorker(workerId, "boot")).toBe(true);
  expect(await harness.store.heartbeat(workerId, 60_000)).toMatchObject({ isLive: false });
  expect(await harness.store.claimSessions({ workerId, limit: 1 })).toEqual([]);
});
