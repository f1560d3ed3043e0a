import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createCommandAgent } from "../../../src/agents/command/agent.ts";
import { COMMAND_AGENT } from "../../../src/agents/command/definition.ts";
import type { AgentAdapter } from "../../../src/core/attempt.ts";
import { LOCAL_USER_ID } from "../../../src/core/session.ts";
import { createLocalWorkspaces } from "../../../src/worker/local-workspaces.ts";
import { probeResourceControl } from "../../../src/workspace/cgroup.ts";
import { probeCustody } from "../../../src/workspace/probe.ts";
import { listBearers } from "../../../src/workspace/sweep.ts";
import { systemClock } from "../../system-clock.ts";
import { type TestWorker, until, WorkerHarness } from "./harness.ts";

const canFreeze =
  (await probeCustody()).level === "bwrap" && (await probeResourceControl(null))?.canFreeze;
const FREEZE = { freezeMs: 600_000, frozenAgentsMax: 2 };
/** Works without a rest until it is let go. */
const BUSY = `sh -c 'echo begun > begun; while [ ! -e go ]; do :; done; echo > went'`;

let harness: WorkerHarness;
beforeAll(async () => {
  harness = await WorkerHarness.create();
});
afterEach(() => harness.clear());
afterAll(() => harness.close());

const COMMANDS = createCommandAgent({
  ...{ definition: COMMAND_AGENT, path: process.env["PATH"] ?? "" },
});

async function startWorker(freeze = FREEZE, agent: AgentAdapter = COMMANDS): Promise<TestWorker> {
  const { open } = await createLocalWorkspaces({
    config: {
      ...{ dataDir: harness.folder, allowedRoots: [], environment: [], ignoredBytesMax: 1_000_000 },
      logLevel: "silent",
    },
    env: process.env,
    clock: systemClock,
  });
  return harness.startWorker({
    ...{ openWorkspace: open, agent, slots: 1, freeze },
    permissions: {
      ...{ permissions: ["ask *"], permissionTimeoutMs: 3_600_000, permissionDefault: "deny" },
      permissionHoldMs: 1_000,
    },
  });
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false, // not yet
  );

/** A session whose program is at work, and where its files are. */
async function begin(worker: TestWorker): Promise<{ id: string; tree: string }> {
  const id = await harness.createSession({ agent: "command", prompt: BUSY });
  await worker.step();
  const { workspace } = await harness.waitFor(id, (session) => session.workspace.path !== null);
  const tree = workspace.path as string;
  await until(() => isThere(join(tree, "begun")));
  return { id, tree };
}

async function pause(worker: TestWorker, id: string): Promise<void> {
  await harness.store.pauseSession(id);
  await until(async () => {
    await worker.step();
    return worker.processor.running === 0;
  });
  await harness.waitForStatus(id, "paused");
}

async function beginPaused(worker: TestWorker): Promise<{ id: string; tree: string }> {
  const session = await begin(worker);
  await pause(worker, session.id);
  return session;
}

const countProcesses = async (id: string): Promise<number> =>
  (await listBearers("STINT_SESSION", id)).length;

/** CPU time of all processes of a session so far, in ticks. */
async function sumTicks(id: string): Promise<number> {
  const bearers = await listBearers("STINT_SESSION", id);
  const ticks = bearers.map(async ({ pid }) => {
    const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).replace(/^.*\) /, "").split(" ");
    return Number(fields[11]) + Number(fields[12]);
  });
  return (await Promise.all(ticks)).reduce((sum, one) => sum + one, 0);
}

/** Resolves once another process has worked for a while on every core that there may be. */
async function burn(): Promise<void> {
  const until = process.cpuUsage().user + 100_000;
  while (process.cpuUsage().user < until) await Promise.resolve();
}

describe.skipIf(!canFreeze)("an agent that is frozen [needs bwrap and a writable freezer]", () => {
  it("is paused with its process, takes no time, and goes on in it", async () => {
    const worker = await startWorker();
    const { id, tree } = await beginPaused(worker);
    const paused = await harness.store.getSession(id);
    expect(paused).toMatchObject({ reason: "user", resumeAt: null, attempts: 0, workerId: null });
    expect(paused?.frozenUntil?.getTime()).toBeGreaterThan(paused?.pausedAt?.getTime() ?? Infinity);
    const before = await sumTicks(id);
    await burn();
    expect(before).toBeGreaterThan(0);
    expect(await sumTicks(id)).toBe(before);
    await writeFile(join(tree, "go"), "");
    expect(await worker.step()).toEqual({ claimed: 0, stopped: 0 });

    await harness.store.resumeSession(id);
    expect(await worker.step()).toMatchObject({ claimed: 1 });
    await harness.waitForStatus(id, "completed");
    expect(await isThere(join(tree, "went"))).toBe(true);
    expect(await harness.readTransitions(id)).toEqual([
      "pending → active (started)",
      "active → paused (user)",
      "paused → active (resumed)",
      "active → completed (end_turn)",
    ]);
    const { calls } = await harness.store.readCheckpoint(id);
    expect(calls).toMatchObject([{ status: "finished", isError: false }]);
  });

  it("leaves its slot to another session, and may be frozen more than once", async () => {
    const worker = await startWorker();
    const first = await beginPaused(worker);
    const second = await beginPaused(worker);
    for (const { id, tree } of [first, second]) {
      await harness.store.resumeSession(id);
      await worker.step();
      await harness.waitForStatus(id, "active");
      await pause(worker, id);
      expect(await countProcesses(id)).toBeGreaterThan(0);
      await writeFile(join(tree, "go"), "");
      await harness.store.resumeSession(id);
      await worker.step();
      await harness.waitForStatus(id, "completed");
    }
  });

  it("is stopped where as many are frozen as may be", async () => {
    const worker = await startWorker({ ...FREEZE, frozenAgentsMax: 1 });
    const first = await beginPaused(worker);
    const second = await begin(worker);
    await harness.store.pauseSession(second.id);
    await worker.step();
    await harness.waitForStatus(second.id, "paused");
    expect(await countProcesses(second.id)).toBe(0);
    expect(await countProcesses(first.id)).toBeGreaterThan(0);
  });

  it("ends with its time; what it had done is kept, and told, wherever it goes on", async () => {
    const worker = await startWorker();
    const { id, tree } = await beginPaused(worker);
    worker.clock.advance(FREEZE.freezeMs);
    await until(async () => (await countProcesses(id)) === 0);
    await harness.db.sql("update coding_sessions set hold_until = now() where id = $1", [id]);
    await harness.store.resumeSession(id);
    const other = await startWorker();
    expect(await other.step()).toMatchObject({ claimed: 1 });
    await harness.waitForStatus(id, "failed");
    expect(await isThere(join(tree, "begun"))).toBe(true);
    const { calls, snapshotId } = await harness.store.readCheckpoint(id);
    expect(calls).toMatchObject([{ status: "interrupted" }]);
    expect(snapshotId).not.toBeNull();
  });

  it.each<[string, (worker: TestWorker, id: string) => Promise<unknown>]>([
    ["its session is cancelled", (_worker, id) => harness.store.cancelSession(id)],
    [
      "its session is expired",
      (_worker, id) =>
        harness.store.forceTransition(id, { to: "expired", reason: "deadline", message: "late" }),
    ],
    ["the lease of its worker is lost", (worker) => harness.endLease(worker.id)],
  ])("ends within a heartbeat when %s", async (_why, act) => {
    const worker = await startWorker();
    const { id } = await beginPaused(worker);
    await worker.beat();
    expect(await countProcesses(id)).toBeGreaterThan(0);
    await act(worker, id);
    await worker.beat();
    await until(async () => (await countProcesses(id)) === 0);
  });

  it("waits for leave without taking any time, and gets its answer where it is", async () => {
    const answers: string[] = [];
    const asking: AgentAdapter = {
      ...{ name: "command", needsModel: false, isProgram: true, actsUnseen: true },
      probe: () => Promise.resolve({ available: true, detail: "" }),
      async run(context) {
        const busy = await context.spawn({ command: "sh", args: ["-c", "while :; do :; done"] });
        const request = { tool: "bash", kind: "execute", title: "npm test", input: {} } as const;
        const more = { cwd: context.workspace, paths: [], modelCallId: null };
        answers.push(`${context.epoch}`);
        answers.push((await context.ask({ ...request, ...more })).decision);
        answers.push(`${context.epoch}`);
        await busy.stop(0);
        return { outcome: "end_turn", message: "asked" };
      },
    };
    const worker = await startWorker(FREEZE, asking);
    const id = await harness.createSession({ agent: "command" });
    await worker.step();
    await until(async () => (await harness.store.listPermissions(id, {})).length > 0);
    await until(async () => {
      worker.clock.advance(100);
      await worker.beat();
      return (await harness.store.getSession(id))?.status === "paused";
    });
    const { reason, waitingFor } = await harness.waitForStatus(id, "paused");
    expect([reason, waitingFor]).toEqual(["awaiting_permission", "permission"]);
    expect(await countProcesses(id)).toBeGreaterThan(0);
    const [asked] = await harness.store.listPermissions(id, { isOpen: true });
    const decided = { decision: "allow", note: null, userId: LOCAL_USER_ID } as const;
    await harness.store.decidePermission({ sessionId: id, permissionId: asked!.id, ...decided });
    await until(async () => {
      await worker.step();
      worker.clock.advance(10);
      await worker.beat();
      return (await harness.store.getSession(id))?.status === "completed";
    });
    expect(answers).toEqual(["1", "allow", "3"]);
  });

  it("ends with its worker, and its session stays paused", async () => {
    const worker = await startWorker();
    const { id } = await beginPaused(worker);
    await worker.processor.stop();
    expect(await countProcesses(id)).toBe(0);
    expect(await harness.store.getSession(id)).toMatchObject({ status: "paused", reason: "user" });
  });
});
