import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import type { AttemptContext, TurnResult } from "../../../src/core/attempt.ts";
import { createLocalWorkspaces } from "../../../src/worker/local-workspaces.ts";
import { listBearers } from "../../../src/workspace/sweep.ts";
import { systemClock } from "../../system-clock.ts";
import { Gate, STOP_GRACE_MS, type TestWorker, until, WorkerHarness } from "./harness.ts";

let harness: WorkerHarness;
beforeAll(async () => {
  harness = await WorkerHarness.create();
});
afterEach(() => harness.clear());
afterAll(() => harness.close());

const never = new Promise<never>(() => undefined);

/** Real files and processes, below a folder of the test. */
async function createRealWorkspaces() {
  const { open } = await createLocalWorkspaces({
    config: {
      dataDir: harness.folder,
      allowedRoots: [],
      environment: [],
      ignoredBytesMax: 1_000_000,
      logLevel: "silent",
    },
    env: process.env,
    clock: systemClock,
  });
  return open;
}

const bash = (command: string) => ({ call: { tool: "bash", input: { command } } }) as const;

/** Output is gathered for a moment of the worker's time before it is written. */
const untilOutput = (worker: TestWorker, id: string, text: string) =>
  until(async () => {
    worker.clock.advance(1);
    return (await harness.readEvents(id, "terminal")).some(({ output }) => output === text);
  });

const countProcesses = async (id: string) => (await listBearers("STINT_SESSION", id)).length;

it("a pause reaches a running agent, nothing runs on, and a resume continues it exactly", async () => {
  const worker = await harness.startWorker({
    openWorkspace: await createRealWorkspaces(),
    agent: [
      bash("echo one >> counter"),
      bash("echo two >> counter; echo begun; sleep 300"),
      bash("cat counter"),
      { say: "Done." },
    ],
  });
  const id = await harness.createSession();
  await worker.step();
  await untilOutput(worker, id, "begun\n");
  await harness.store.pauseSession(id);
  expect(await worker.step()).toMatchObject({ stopped: 1 });
  // Until the test moves the clock, an agent has all the time that it needs.
  const paused = await harness.waitForStatus(id, "paused");
  expect(paused).toMatchObject({ reason: "user", resumeAt: null, attempts: 0 });
  expect(await countProcesses(id)).toBe(0);
  expect(await harness.store.listInbox([id])).toEqual([]);
  await worker.idle();
  expect(await worker.step()).toEqual({ claimed: 0, stopped: 0 });

  await harness.store.resumeSession(id);
  expect(await worker.step()).toMatchObject({ claimed: 1 });
  await harness.waitForStatus(id, "completed");
  const ends = (await harness.readEvents(id, "terminal")).filter(({ final }) => final === true);
  expect(ends.map(({ command, status }) => [command, status ?? "finished"])).toEqual([
    ["echo one >> counter", "finished"],
    ["echo two >> counter; echo begun; sleep 300", "interrupted"],
    ["cat counter", "finished"],
  ]);
  await untilOutput(worker, id, "one\ntwo\n");
  const steps = (await harness.readEvents(id, "thinking")).map(({ iteration }) => iteration);
  expect(steps).toEqual([1, 2, 3, 4]);
});

it("a cancel ends a running session as failed, with nothing left running", async () => {
  const worker = await harness.startWorker({
    openWorkspace: await createRealWorkspaces(),
    agent: [bash("echo made > by-hand; echo begun; (setsid sleep 300 &) ; sleep 300")],
  });
  const id = await harness.createSession();
  await worker.step();
  await untilOutput(worker, id, "begun\n");
  expect(await countProcesses(id)).toBeGreaterThan(0);
  await harness.store.cancelSession(id);
  await worker.step();
  const session = await harness.waitForStatus(id, "failed");
  expect(session).toMatchObject({ reason: "cancelled", error: { code: "cancelled" } });
  expect(await countProcesses(id)).toBe(0);
  expect(await harness.store.listInbox([id])).toEqual([]);
  const changes = await harness.store.readEvents(id, { types: ["file_change"] });
  expect(changes.map(({ data }) => data["path"])).toEqual(["by-hand"]);
});

it("a cancel of a pending session expires it, and no worker takes it", async () => {
  const worker = await harness.startWorker();
  const id = await harness.createSession();
  await harness.store.cancelSession(id);
  expect(await harness.store.getSession(id)).toMatchObject({
    status: "expired",
    reason: "cancelled",
  });
  expect(await worker.step()).toMatchObject({ claimed: 0 });
});

it.each([
  ["pause", "paused", "user"],
  ["cancel", "failed", "cancelled"],
  ["shutdown", "paused", "shutdown"],
] as const)(
  "a %s while a workspace is prepared is answered within the grace, and the late one is closed",
  async (kind, status, reason) => {
    const preparing = new Gate();
    const release = new Gate();
    let signal: AbortSignal | null = null;
    harness.workspaces.beforeOpen = (_, given) => {
      signal = given;
      preparing.open();
      return release.passed;
    };
    const worker = await harness.startWorker();
    const id = await harness.createSession();
    await worker.step();
    await preparing.passed;
    const { opened, closed } = harness.workspaces;
    if (kind === "pause") await harness.store.pauseSession(id);
    if (kind === "cancel") await harness.store.cancelSession(id);
    if (kind === "shutdown") worker.lifecycle.shutdown();
    else await worker.step();
    expect(signal!.aborted).toBe(true);
    await until(() => worker.clock.isSet(STOP_GRACE_MS));
    worker.clock.advance(STOP_GRACE_MS);
    expect(await harness.waitForStatus(id, status)).toMatchObject({ reason });
    await worker.idle();
    expect(await harness.readEvents(id, "thinking")).toEqual([]);
    release.open();
    await until(() => harness.workspaces.closed === closed + 1);
    expect(harness.workspaces.opened).toBe(opened + 1);
  },
);

it("an agent that is deaf to a pause is left behind: its late writes change nothing", async () => {
  const begun = new Gate();
  const wake = new Gate();
  const late = new Gate();
  const outcomes: string[] = [];
  const agent = async (context: AttemptContext): Promise<TurnResult> => {
    begun.open();
    await wake.passed;
    const attempts = [
      context.emit({ type: "error", data: { code: "late" } }),
      context.openCall({
        ...{ iteration: 1, ordinal: 0, modelCallId: "1", tool: "bash", input: {} },
        timeoutMs: 1_000,
      }),
      context.spawn({ command: "true", args: [] }),
      context.files.write("late", Buffer.from("late")),
    ];
    for (const { status } of await Promise.allSettled(attempts)) outcomes.push(status);
    late.open();
    return never;
  };
  const worker = await harness.startWorker({ agent });
  const id = await harness.createSession();
  await worker.step();
  await begun.passed;
  await harness.store.pauseSession(id);
  await worker.step();
  worker.clock.advance(STOP_GRACE_MS);
  const { lastSeq } = await harness.waitForStatus(id, "paused");
  await worker.idle();
  wake.open();
  await late.passed;
  expect(outcomes).toEqual(["rejected", "rejected", "rejected", "rejected"]);
  expect(await harness.store.getSession(id)).toMatchObject({ status: "paused", lastSeq });
});

it("a request that its owner leaves lying for 10 s is carried out over its head", async () => {
  const begun = new Gate();
  const worker = await harness.startWorker({
    agent: () => {
      begun.open();
      return never;
    },
  });
  const id = await harness.createSession();
  await worker.step();
  await begun.passed;
  const hold = worker.hold(id);
  await harness.store.cancelSession(id);
  const sweeping = await harness.startWorker();
  expect(await sweeping.lifecycle.checkLostSessions()).toEqual([]);
  await harness.db.sql(
    "update stint.inbox set created_at = now() - interval '11 s' where session_id = $1",
    [id],
  );
  expect(await sweeping.lifecycle.checkLostSessions()).toMatchObject([
    { sessionId: id, from: "active", to: "failed", reason: "cancelled" },
  ]);
  await worker.beat();
  expect(hold.isLost).toBe(true);
  worker.clock.advance(STOP_GRACE_MS);
  await worker.idle();
  expect(await harness.store.getSession(id)).toMatchObject({ status: "failed" });
});

it("a message reaches the agent at its next step and is consumed once", async () => {
  const asked = new Gate();
  const answered = new Gate();
  const worker = await harness.startWorker({
    agent: [{ wait: () => (asked.open(), answered.passed) }, { say: "First." }, { say: "Second." }],
  });
  const id = await harness.createSession();
  await worker.step();
  await asked.passed;
  await harness.sendMessage(id, "Mind the gap.");
  answered.open();
  await harness.waitForStatus(id, "completed");
  expect(await harness.readEvents(id, "user_message")).toMatchObject([
    { text: "Do it." },
    { text: "Mind the gap." },
  ]);
  const { steps, undelivered } = await harness.store.readCheckpoint(id);
  expect(steps.map(({ inputs }) => inputs)).toEqual([["Do it."], ["Mind the gap."]]);
  expect(undelivered).toEqual([]);
  expect(await harness.store.listInbox([id])).toEqual([]);
});

it("a message sent in the last moment of a turn is not lost: the agent takes it up", async () => {
  const worker = await harness.startWorker({ agent: [{ say: "First." }, { say: "Second." }] });
  const { store } = worker;
  const commit = store.commit.bind(store);
  let isSent = false;
  store.commit = async (owner, lastSeq, part) => {
    if (part.transition && !isSent) {
      isSent = true;
      await harness.sendMessage(owner.sessionId, "One more thing.");
    }
    return commit(owner, lastSeq, part);
  };
  const id = await harness.createSession();
  await worker.step();
  const session = await harness.waitForStatus(id, "completed");
  expect(session.epoch).toBe(2);
  const { steps } = await harness.store.readCheckpoint(id);
  expect(steps.map(({ inputs }) => inputs)).toEqual([["Do it."], ["One more thing."]]);
});

it("a pause that arrives as the turn ends is carried out, and the agent does not start again", async () => {
  let starts = 0;
  const worker = await harness.startWorker({
    agent: () => {
      starts++;
      return Promise.resolve({ outcome: "end_turn", message: "Done." });
    },
  });
  const { store } = worker;
  const commit = store.commit.bind(store);
  let isAsked = false;
  store.commit = async (owner, lastSeq, part) => {
    if (part.transition && !isAsked) {
      isAsked = true;
      await harness.store.pauseSession(owner.sessionId);
    }
    return commit(owner, lastSeq, part);
  };
  const id = await harness.createSession();
  await worker.step();
  expect(await harness.waitForStatus(id, "paused")).toMatchObject({ reason: "user", epoch: 2 });
  expect(starts).toBe(1);
  expect(await harness.store.listInbox([id])).toEqual([]);
});

it("an agent that never takes its messages fails instead of being asked for ever", async () => {
  let starts = 0;
  const worker = await harness.startWorker({
    agent: () => {
      starts++;
      return Promise.resolve({ outcome: "end_turn", message: "Done." });
    },
  });
  const id = await harness.createSession();
  await harness.sendMessage(id, "Hello?");
  await worker.step();
  expect(await harness.waitForStatus(id, "failed")).toMatchObject({ reason: "agent_error" });
  expect(starts).toBe(2);
});

it("a session that stays open pauses for input, and a message takes it up again", async () => {
  const worker = await harness.startWorker({ agent: [{ say: "First." }, { say: "Second." }] });
  const id = await harness.createSession({ keepOpen: true });
  await worker.step();
  expect(await harness.waitForStatus(id, "paused")).toMatchObject({
    reason: "awaiting_input",
    waitingFor: "input",
    resumeAt: null,
    attempts: 0,
  });
  await worker.idle();
  expect(await worker.step()).toMatchObject({ claimed: 0 });
  await harness.sendMessage(id, "Go on.");
  expect(await worker.step()).toMatchObject({ claimed: 1 });
  await harness.waitFor(id, ({ status, epoch }) => status === "paused" && epoch === 4);
  const { steps } = await harness.store.readCheckpoint(id);
  expect(steps.map(({ inputs }) => inputs)).toEqual([["Do it."], ["Go on."]]);
});
