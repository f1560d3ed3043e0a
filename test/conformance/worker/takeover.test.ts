import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import type { AttemptContext, TurnResult } from "../../../src/core/attempt.ts";
import { StintError } from "../../../src/core/error.ts";
import { foldEvents } from "../../../src/core/fold.ts";
import { Gate, LEASE_MS, STOP_GRACE_MS, until, WorkerHarness } from "./harness.ts";

let harness: WorkerHarness;
beforeAll(async () => {
  harness = await WorkerHarness.create();
});
afterEach(() => harness.clear());
afterAll(() => harness.close());

const never = new Promise<never>(() => undefined);

/** An agent that works until its gate opens; deaf to everything else. */
function createGatedAgent() {
  const begun = new Gate();
  const gate = new Gate();
  const contexts: AttemptContext[] = [];
  const agent = async (context: AttemptContext): Promise<TurnResult> => {
    contexts.push(context);
    begun.open();
    await gate.passed;
    return { outcome: "end_turn", message: "Done." };
  };
  return { agent, contexts, begun: begun.passed, gate };
}

it("runs no more sessions at a time than it has slots", async () => {
  const { agent, contexts, gate } = createGatedAgent();
  const worker = await harness.startWorker({ agent, slots: 2 });
  const ids: string[] = [];
  for (let count = 0; count < 5; count++) ids.push(await harness.createSession());
  expect(await worker.step()).toMatchObject({ claimed: 2 });
  await until(() => contexts.length === 2);
  expect(await worker.step()).toMatchObject({ claimed: 0 });
  expect(worker.processor.running).toBe(2);
  expect(contexts.map(({ sessionId }) => sessionId).toSorted()).toEqual(ids.slice(0, 2).toSorted());
  gate.open();
  await worker.idle();
  expect(await worker.step()).toMatchObject({ claimed: 2 });
});

it("two workers never run one session", async () => {
  const running = new Set<string>();
  const runs: string[] = [];
  const agent = async ({ sessionId }: AttemptContext): Promise<TurnResult> => {
    if (running.has(sessionId)) throw new Error(`${sessionId} runs twice`);
    running.add(sessionId);
    runs.push(sessionId);
    await new Promise((resolve) => setImmediate(resolve));
    running.delete(sessionId);
    return { outcome: "end_turn", message: "Done." };
  };
  const workers = [
    await harness.startWorker({ agent, slots: 3 }),
    await harness.startWorker({ agent, slots: 3 }),
  ];
  const ids: string[] = [];
  for (let count = 0; count < 20; count++) ids.push(await harness.createSession());
  await until(async () => {
    await Promise.all(workers.map((worker) => worker.step()));
    return runs.length >= ids.length;
  });
  for (const id of ids) await harness.waitForStatus(id, "completed");
  expect(runs.toSorted()).toEqual(ids.toSorted());
});

it("a lost worker's session is taken up by another one, and the old owner's late write changes nothing", async () => {
  const { agent, contexts, begun } = createGatedAgent();
  const lost = await harness.startWorker({ agent });
  const id = await harness.createSession();
  await lost.step();
  await begun;
  await harness.endLease(lost.id);

  const another = await harness.startWorker({ agent: [{ say: "Taken over." }] });
  expect(await another.lifecycle.checkLostSessions()).toMatchObject([
    { sessionId: id, from: "active", to: "paused", reason: "worker_lost" },
  ]);
  expect(await another.step()).toMatchObject({ claimed: 1 });
  const done = await harness.waitForStatus(id, "completed");
  expect(done.attempts).toBe(2);

  // The old owner does not know yet.
  const hold = lost.hold(id);
  expect(hold.signal.aborted).toBe(false);
  await expect(contexts[0]!.emit({ type: "error", data: { code: "late" } })).rejects.toMatchObject({
    code: "stale_epoch",
  });
  expect(hold.isLost).toBe(true);
  lost.clock.advance(STOP_GRACE_MS);
  await lost.idle();
  const events = await harness.store.readEvents(id, {});
  const { status, reason, epoch, lastSeq, stats } = done;
  expect(foldEvents(events)).toEqual({ status, reason, epoch, lastSeq, stats });
});

it("an old owner that ends its turn late does not end the session of the new one", async () => {
  const old = createGatedAgent();
  const lost = await harness.startWorker({ agent: old.agent });
  const id = await harness.createSession();
  await lost.step();
  await old.begun;
  await harness.endLease(lost.id);
  const present = createGatedAgent();
  const another = await harness.startWorker({ agent: present.agent });
  await another.lifecycle.checkLostSessions();
  await another.step();
  await present.begun;
  old.gate.open();
  await lost.idle();
  expect(await harness.store.getSession(id)).toMatchObject({
    status: "active",
    workerId: another.id,
    epoch: 3,
  });
  expect(await harness.store.listInbox([id])).toEqual([]);
  present.gate.open();
  await harness.waitForStatus(id, "completed");
});

it("a worker whose lease ran out registers anew and claims again", async () => {
  const { agent, begun, contexts } = createGatedAgent();
  const worker = await harness.startWorker({ agent });
  const id = await harness.createSession();
  await worker.step();
  await begun;
  const before = worker.id;
  await harness.endLease(before);
  expect(await worker.step()).toMatchObject({ claimed: 0 });
  await worker.beat();
  expect(contexts[0]!.signal.aborted).toBe(true);
  expect(worker.id).not.toBe(before);
  await worker.lifecycle.checkLostSessions();
  worker.clock.advance(STOP_GRACE_MS);
  await worker.idle();
  expect(await worker.step()).toMatchObject({ claimed: 1 });
  expect(await harness.store.getSession(id)).toMatchObject({
    status: "active",
    workerId: worker.id,
  });
});

it("an attempt begins only when the one before has ended here", async () => {
  const { agent, begun, contexts } = createGatedAgent();
  const worker = await harness.startWorker({ agent });
  const id = await harness.createSession();
  await worker.step();
  await begun;
  await harness.endLease(worker.id);
  await worker.lifecycle.checkLostSessions();
  await worker.beat();
  expect(await worker.step()).toMatchObject({ claimed: 1 });
  const { opened, closed } = harness.workspaces;
  expect(opened).toBe(closed + 1);
  expect(contexts).toHaveLength(1);
  worker.clock.advance(STOP_GRACE_MS);
  await until(() => contexts.length === 2);
  expect(harness.workspaces).toMatchObject({ opened: opened + 1, closed: closed + 1 });
  expect(contexts.map(({ epoch }) => epoch)).toEqual([1, 3]);
  expect(contexts[1]!.sessionId).toBe(id);
});

it("a lease that cannot be renewed ends the agent when its time is over, not at the next beat", async () => {
  const { agent, begun, contexts } = createGatedAgent();
  const worker = await harness.startWorker({ agent });
  await harness.createSession();
  await worker.step();
  await begun;
  const { store } = worker;
  store.heartbeat = () => Promise.reject(new StintError("database_unavailable", "away"));
  worker.clock.advance(LEASE_MS - 1);
  await worker.beat();
  expect(contexts[0]!.signal.aborted).toBe(false);
  worker.clock.advance(1);
  expect(contexts[0]!.signal.aborted).toBe(true);
  expect(worker.id).toBe("");
});

it("an answer to a heartbeat that comes after the lease is over revives nothing", async () => {
  const worker = await harness.startWorker();
  const { store } = worker;
  const before = worker.id;
  const heartbeat = store.heartbeat.bind(store);
  store.heartbeat = async (...args) => {
    const answer = await heartbeat(...args);
    worker.clock.advance(LEASE_MS);
    return answer;
  };
  await worker.beat();
  expect(worker.id).toBe("");
  await worker.beat();
  expect(worker.id).not.toBe(before);
});

it("a worker that has given its lease back does not come back", async () => {
  const worker = await harness.startWorker();
  await worker.heartbeat.end();
  await worker.beat();
  expect(worker.id).toBe("");
  const workers = await harness.store.listWorkers();
  expect(workers.filter(({ name, isLive }) => name === worker.name && isLive)).toEqual([]);
});

it("a session lost in the middle of its end leaves one end in the log", async () => {
  const worker = await harness.startWorker({ agent: [{ say: "Done." }] });
  const { store } = worker;
  const commit = store.commit.bind(store);
  let isTaken = false;
  store.commit = async (owner, lastSeq, part) => {
    if (part.transition && !isTaken) {
      isTaken = true;
      await harness.store.forceTransition(owner.sessionId, {
        ...{ to: "paused", reason: "worker_lost", message: "lost", resumeInMs: 0 },
      });
    }
    return commit(owner, lastSeq, part);
  };
  const id = await harness.createSession();
  await worker.step();
  await worker.idle();
  expect(await harness.store.getSession(id)).toMatchObject({ status: "paused" });
  expect(await harness.store.listInbox([id])).toEqual([]);
  expect(await worker.step()).toMatchObject({ claimed: 1 });
  await harness.waitForStatus(id, "completed");
  expect(await harness.readTransitions(id)).toEqual([
    "pending → active (started)",
    "active → paused (worker_lost)",
    "paused → active (resumed)",
    "active → completed (end_turn)",
  ]);
});

it("a failing close of a workspace that is another's already asks nobody for a pause", async () => {
  const { agent, begun } = createGatedAgent();
  const lost = await harness.startWorker({ agent });
  const id = await harness.createSession();
  await lost.step();
  await begun;
  await harness.endLease(lost.id);
  const another = await harness.startWorker({ agent: () => never });
  await another.lifecycle.checkLostSessions();
  await another.step();
  harness.workspaces.beforeClose = () => Promise.reject(new Error("a process survives SIGKILL"));
  await lost.beat();
  lost.clock.advance(STOP_GRACE_MS);
  await lost.idle();
  expect(await harness.store.getSession(id)).toMatchObject({
    status: "active",
    workerId: another.id,
  });
  expect(await harness.store.listInbox([id])).toEqual([]);
});
