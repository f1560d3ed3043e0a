import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import { foldEvents } from "../../../src/core/fold.ts";
import { silentLogger } from "../../../src/core/log.ts";
import type { METRICS, Metrics } from "../../../src/core/metrics.ts";
import { SessionLifecycleManager } from "../../../src/worker/session-lifecycle-manager.ts";
import { systemClock } from "../../system-clock.ts";
import { MODEL_CALL, output } from "../store/harness.ts";
import { WorkerHarness, type TestWorker } from "./harness.ts";

let harness: WorkerHarness;
beforeAll(async () => {
  harness = await WorkerHarness.create();
});
afterEach(() => harness.clear());
afterAll(() => harness.close());

/** A session that a worker holds by hand, without any agent. */
async function start(
  worker: TestWorker,
  changes: Parameters<WorkerHarness["createSession"]>[0] = {},
) {
  const id = await harness.createSession(changes);
  return { id, hold: await worker.lifecycle.startSession(id, worker.id) };
}

const makeIdle = (id: string) =>
  harness.db.sql(
    `update coding_sessions set last_activity_at = now() - interval '31 min',
       sweep_at = now() - interval '1 s' where id = $1`,
    [id],
  );

it("validates state transitions: an illegal one is refused and changes nothing", async () => {
  const worker = await harness.startWorker();
  const { lifecycle } = worker;
  const pending = await harness.createSession();
  await expect(lifecycle.resumeSession(pending)).rejects.toMatchObject({
    code: "illegal_transition",
    message: "Invalid state transition: pending → active",
  });
  await expect(lifecycle.completeSession(pending, { message: "" })).rejects.toMatchObject({
    code: "stale_epoch",
  });
  expect(await harness.store.getSession(pending)).toMatchObject({ status: "pending", lastSeq: 1 });
  const { id } = await start(worker);
  await expect(lifecycle.resumeSession(id)).rejects.toMatchObject({ code: "illegal_transition" });
  await expect(lifecycle.startSession(id, worker.id)).rejects.toMatchObject({
    code: "not_claimable",
  });
  await lifecycle.completeSession(id, { message: "Done." });
  const { lastSeq } = await harness.waitForStatus(id, "completed");
  const attempts = [
    lifecycle.pauseSession(id),
    lifecycle.resumeSession(id),
    lifecycle.cancelSession(id),
    lifecycle.expireSession(id),
    lifecycle.failSession(id, { reason: "agent_error", message: "" }),
    lifecycle.emitEvent(id, "error", { code: "late" }),
  ];
  const results = await Promise.allSettled(attempts);
  expect(results.map(({ status }) => status)).toEqual(attempts.map(() => "rejected"));
  expect(await harness.store.getSession(id)).toMatchObject({ status: "completed", lastSeq });
});

it("tracks session metadata: totals, duration and every state change", async () => {
  const worker = await harness.startWorker();
  const { lifecycle } = worker;
  const { id } = await start(worker);
  const usage = { inputTokens: 7, outputTokens: 3 };
  await lifecycle.emitEvent(id, "thinking", { iteration: 1, toolsUsed: ["bash"] });
  await lifecycle.emitEvent(id, "model_call", { ...MODEL_CALL, usage });
  await lifecycle.emitEvent(id, "terminal", { command: "ls", output: "a", final: true });
  await lifecycle.pauseSession(id);
  await lifecycle.resumeSession(id);
  await lifecycle.startSession(id, worker.id);
  await lifecycle.completeSession(id, { message: "Done." });
  const metadata = await lifecycle.getMetadata(id);
  expect(metadata).toMatchObject({
    sessionId: id,
    state: "completed",
    stats: { iterations: 1, inputTokens: 7, outputTokens: 3, toolCalls: 1 },
  });
  expect(metadata.stateChanges.map(({ from, to, reason }) => [from, to, reason])).toEqual([
    ["pending", "active", "started"],
    ["active", "paused", "user"],
    ["paused", "active", "resumed"],
    ["active", "completed", "end_turn"],
  ]);
  const { createdAt, completedAt } = (await lifecycle.getSession(id))!;
  expect(metadata.durationMs).toBe(completedAt!.getTime() - createdAt.getTime());
  expect(metadata.activeMs).toBeLessThanOrEqual(metadata.durationMs);
});

it("keeps metadata across processes: a new one reads the same", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  await worker.lifecycle.emitEvent(id, "thinking", { iteration: 1, toolsUsed: [] });
  await worker.lifecycle.failSession(id, { reason: "agent_error", message: "No." });
  const another = await harness.startWorker();
  const metadata = await another.lifecycle.getMetadata(id);
  expect(metadata).toEqual(await worker.lifecycle.getMetadata(id));
  expect(metadata).toMatchObject({ state: "failed", stats: { iterations: 1 } });
});

it("expires inactive sessions, stops what runs here and leaves active ones alone", async () => {
  const worker = await harness.startWorker();
  const idle = await start(worker);
  const busy = await start(worker);
  await makeIdle(idle.id);
  expect(await worker.lifecycle.checkExpiredSessions()).toMatchObject([
    { sessionId: idle.id, from: "active", to: "expired", reason: "idle_timeout" },
  ]);
  expect(idle.hold.isLost).toBe(true);
  expect(busy.hold.signal.aborted).toBe(false);
  expect(await harness.store.getSession(idle.id)).toMatchObject({
    status: "expired",
    error: { code: "idle_timeout" },
  });
});

it("tells of an end that was not its owner's doing as of any other", async () => {
  const worker = await harness.startWorker();
  const another = await harness.startWorker();
  const { id } = await start(worker);
  await worker.lifecycle.emitEvent(id, "thinking", { iteration: 1, toolsUsed: [] });
  await harness.db.sql(
    "update coding_sessions set created_at = created_at - interval '1 hour' where id = $1",
    [id],
  );
  await makeIdle(id);
  await another.lifecycle.checkExpiredSessions();
  const [line, ...more] = another.logs.find("Session expired");
  expect(more).toEqual([]);
  expect(line).toMatchObject({ level: "info", sessionId: id, stats: { iterations: 1 } });
  // From creation to the end, by the clock of the database.
  expect(line!["duration"]).toBeGreaterThanOrEqual(3_600_000);
  expect(line!["duration"]).toBeLessThan(3_660_000);
});

it("takes lost sessions over also while questions cannot be swept", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  await harness.endLease(worker.id);
  const another = await harness.startWorker();
  const sweep = vi.spyOn(another.store, "sweepPermissions");
  sweep.mockRejectedValueOnce(new Error("no answer"));
  await expect(another.lifecycle.checkLostSessions()).rejects.toThrow("no answer");
  expect(await harness.store.getSession(id)).toMatchObject({
    status: "paused",
    reason: "worker_lost",
  });
});

it("activity keeps a session from expiring", async () => {
  const worker = await harness.startWorker();
  const { id, hold } = await start(worker);
  await makeIdle(id);
  worker.lifecycle.recordActivity(id);
  await worker.lifecycle.flushActivity();
  expect(await worker.lifecycle.checkExpiredSessions()).toEqual([]);
  expect(hold.signal.aborted).toBe(false);
});

it("activity that could not be written is written the next time", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  await makeIdle(id);
  const { store } = worker;
  const recordActivity = store.recordActivity.bind(store);
  store.recordActivity = () => Promise.reject(new Error("the database is away"));
  worker.lifecycle.recordActivity(id);
  await expect(worker.lifecycle.flushActivity()).rejects.toThrow("away");
  store.recordActivity = recordActivity;
  await worker.lifecycle.flushActivity();
  expect(await worker.lifecycle.checkExpiredSessions()).toEqual([]);
});

it("emits events to the database: dense, in the order of the calls, folding to what is stored", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  const seqs = await Promise.all(
    ["a", "b", "c"].map((text) => worker.lifecycle.emitEvent(id, "terminal", { output: text })),
  );
  expect(seqs).toEqual([3, 4, 5]);
  await worker.lifecycle.completeSession(id, { message: "Done." });
  const events = await worker.lifecycle.getEventHistory(id);
  expect(events.map(({ type }) => type)).toEqual([
    ...["user_message", "state_changed", "terminal", "terminal", "terminal"],
    ...["completion", "state_changed"],
  ]);
  expect(events.slice(2, 5).map(({ data }) => data["output"])).toEqual(["a", "b", "c"]);
  const { status, reason, epoch, lastSeq, stats } = (await harness.store.getSession(id))!;
  expect(foldEvents(events)).toEqual({ status, reason, epoch, lastSeq, stats });
});

it("handles graceful shutdown: every agent of this process is told to stop, none of another", async () => {
  const worker = await harness.startWorker();
  const another = await harness.startWorker();
  const mine = [await start(worker), await start(worker)];
  const theirs = await start(another);
  worker.lifecycle.shutdown();
  expect(mine.map(({ hold }) => hold.stopRequest?.kind)).toEqual(["shutdown", "shutdown"]);
  expect(theirs.hold.stopRequest).toBeNull();
});

it("logs a transition and an end with the fields that dashboards are built on", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  const usage = { inputTokens: 7, outputTokens: 3 };
  await worker.lifecycle.emitEvent(id, "thinking", { iteration: 1, toolsUsed: [] });
  await worker.lifecycle.emitEvent(id, "model_call", { ...MODEL_CALL, usage });
  await worker.lifecycle.completeSession(id, { message: "Done." });
  expect(worker.logs.find("Session state transition")).toMatchObject([
    { level: "info", sessionId: id, from: "pending", to: "active", reason: "started", epoch: 1 },
    { level: "info", sessionId: id, from: "active", to: "completed", reason: "end_turn", epoch: 2 },
  ]);
  const [line] = worker.logs.find("Session completed");
  expect(line).toMatchObject({
    level: "info",
    sessionId: id,
    stats: { iterations: 1, inputTokens: 7, outputTokens: 3, toolCalls: 0 },
  });
  expect(line!["duration"]).toBeTypeOf("number");
});

it("counts each event, append and claim once, whoever is given the metrics", async () => {
  const counted: string[] = [];
  const metrics: Metrics = {
    count: (name) => void counted.push(name),
    observe: (name) => void counted.push(name),
    set: (name) => void counted.push(name),
  };
  const store = await harness.db.connectAnother({ metrics });
  const context = { store, metrics, clock: systemClock, logger: silentLogger };
  const lifecycle = new SessionLifecycleManager(context);
  const id = await harness.createSession();
  await lifecycle.startSession(id, await harness.db.registerWorker());
  await lifecycle.emitEvent(id, "thinking", { iteration: 1, toolsUsed: [] });
  await lifecycle.completeSession(id, { message: "Done." });
  const count = (name: keyof typeof METRICS) => counted.filter((one) => one === name).length;
  expect(count("events")).toBe(2);
  expect(count("appendLatency")).toBe(2);
  expect(count("claimLatency")).toBe(1);
  expect(count("transitions")).toBe(2);
  expect(count("sessionDuration")).toBe(1);
});

it("an owner that lost its session cannot end a later hold of the same process", async () => {
  const worker = await harness.startWorker();
  const { id, hold: lost } = await start(worker);
  await harness.endLease(worker.id);
  await worker.lifecycle.checkLostSessions();
  await worker.beat();
  const present = await worker.lifecycle.startSession(id, worker.id);
  const failure = { reason: "agent_error", message: "late" } as const;
  for (const end of [
    worker.lifecycle.completeSession(lost, { message: "late" }),
    worker.lifecycle.failSession(lost, failure),
    worker.lifecycle.pauseSession(lost),
    worker.lifecycle.commit(lost, { events: [output("late")] }),
  ]) {
    await expect(end).rejects.toMatchObject({ code: "stale_epoch" });
  }
  expect(present.signal.aborted).toBe(false);
  expect(await harness.store.getSession(id)).toMatchObject({ status: "active", epoch: 3 });
  expect(await harness.store.listInbox([id])).toEqual([]);
});

it("a hold that is claimed over stops its agent at once", async () => {
  const worker = await harness.startWorker();
  const { id, hold } = await start(worker);
  const transition = { to: "paused", reason: "user", message: "", resumeInMs: 0 } as const;
  await harness.store.forceTransition(id, transition);
  await worker.lifecycle.startSession(id, worker.id);
  expect(hold.isLost).toBe(true);
  expect(worker.lifecycle.holds).toHaveLength(1);
});

it("an end tells the totals of the writes that were under way", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  const writing = worker.lifecycle.emitEvent(id, "thinking", { iteration: 1, toolsUsed: [] });
  await worker.lifecycle.failSession(id, { reason: "agent_error", message: "No." });
  await writing;
  const [error] = await harness.readEvents(id, "error");
  expect(error).toMatchObject({ stats: { iterations: 1 } });
});

it("an end with a message beyond all bounds is written, cut", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  const message = "\u0001".repeat(2_000_000);
  await worker.lifecycle.failSession(id, { reason: "agent_error", message });
  const { error } = (await harness.store.getSession(id))!;
  expect(error!.message.length).toBeLessThan(200_000);
});

it("a claim whose answer was lost is given back by the next heartbeat", async () => {
  const worker = await harness.startWorker();
  const id = await harness.createSession();
  const { store } = worker;
  const claimSessions = store.claimSessions.bind(store);
  store.claimSessions = async (request) => {
    await claimSessions(request);
    throw new Error("the connection was lost");
  };
  await expect(worker.step()).rejects.toThrow("lost");
  expect(await store.getSession(id)).toMatchObject({ status: "active", workerId: worker.id });
  await worker.beat();
  expect(await store.getSession(id)).toMatchObject({ status: "paused", reason: "agent_lost" });
  store.claimSessions = claimSessions;
  expect(await worker.step()).toMatchObject({ claimed: 1 });
  await harness.waitForStatus(id, "completed");
});

it("a heartbeat gives nothing back while an answer to a claim is under way", async () => {
  const worker = await harness.startWorker();
  const id = await harness.createSession();
  const { store } = worker;
  const claimSessions = store.claimSessions.bind(store);
  store.claimSessions = async (request) => {
    const claimed = await claimSessions(request);
    await worker.beat();
    return claimed;
  };
  await worker.step();
  await harness.waitForStatus(id, "completed");
  expect(await harness.readTransitions(id)).toEqual([
    "pending → active (started)",
    "active → completed (end_turn)",
  ]);
});

it("a renewal does not wait for rows that somebody has locked", async () => {
  const worker = await harness.startWorker();
  const { id } = await start(worker);
  worker.lifecycle.recordActivity(id);
  await harness.db.sql("begin");
  await harness.db.sql("select from coding_sessions where id = $1 for update", [id]);
  try {
    await worker.beat();
  } finally {
    await harness.db.sql("commit");
  }
  expect(worker.logs.find("Heartbeat failed")).toEqual([]);
});
