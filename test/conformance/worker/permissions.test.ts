import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { FakeAct } from "../../../src/agents/fake.ts";
import type { StoredPermission } from "../../../src/core/permission.ts";
import { LOCAL_USER_ID } from "../../../src/core/session.ts";
import type { PermissionSettings } from "../../../src/worker/permission-desk.ts";
import { until, type TestWorker, WorkerHarness } from "./harness.ts";

const SETTINGS: PermissionSettings = {
  ...({ permissions: [], permissionTimeoutMs: 3_600_000, permissionDefault: "deny" } as const),
  permissionHoldMs: 60_000,
};
const WRITE: FakeAct = {
  call: { tool: "write_file", input: { path: "asked.txt", content: "by leave\n" } },
};

let harness: WorkerHarness;
beforeAll(async () => {
  harness = await WorkerHarness.create();
});
afterEach(() => harness.clear());
afterAll(() => harness.close());

async function start(acts: readonly FakeAct[], settings: object = {}): Promise<TestWorker> {
  return harness.startWorker({ agent: acts, permissions: { ...SETTINGS, ...settings } });
}

/** Time goes on as it waits: notices of the database may be lost, and the poll is their net. */
async function findAsked(worker: TestWorker, sessionId: string): Promise<StoredPermission> {
  let asked: StoredPermission | undefined;
  await until(async () => {
    worker.clock.advance(10);
    const open = await harness.store.listPermissions(sessionId, { isOpen: true });
    asked = open.find(({ status }) => status === "pending");
    return asked !== undefined;
  });
  return asked as StoredPermission;
}

function decide(
  sessionId: string,
  permissionId: string,
  decision: "allow" | "deny",
  note?: string,
) {
  return harness.store.decidePermission({
    ...{ sessionId, permissionId, decision, note: note ?? null, userId: LOCAL_USER_ID },
  });
}

async function waitForEnd(worker: TestWorker, sessionId: string): Promise<void> {
  await until(async () => {
    worker.clock.advance(10);
    return (await harness.store.getSession(sessionId))?.status === "completed";
  });
}

/** Moves the time of a worker on, turn by turn of the event loop, until this holds. */
async function passTime(worker: TestWorker, holds: () => boolean | Promise<boolean>) {
  await until(async () => {
    worker.clock.advance(100);
    return holds();
  });
}

/** The log of what was asked and answered, as `status by`. */
async function readAnswers(sessionId: string): Promise<string[]> {
  const events = await harness.store.readEvents(sessionId, { types: ["permission"] });
  return events.map(({ data }) => [data["status"], data["by"]].filter(Boolean).join(" "));
}

async function listCalls(sessionId: string) {
  const { calls } = await harness.store.readCheckpoint(sessionId);
  return calls.map(({ status, isError }) => [status, isError]);
}

describe("asking leave", () => {
  test("a call waits for leave, then acts; the log tells both", async () => {
    const worker = await start([WRITE]);
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    const asked = await findAsked(worker, id);
    expect(asked).toMatchObject({ tool: "write_file", kind: "edit", paths: ["asked.txt"] });
    expect(await listCalls(id)).toEqual([]);
    await decide(id, asked.id, "allow");
    await passTime(
      worker,
      async () => (await harness.store.getSession(id))?.status === "completed",
    );
    expect(await readAnswers(id)).toEqual(["requested", "allowed user"]);
    expect(await listCalls(id)).toEqual([["finished", false]]);
    expect(await harness.store.listPermissions(id, { isOpen: true })).toEqual([]);
  });

  test("a call that is refused does nothing, and the model is told why", async () => {
    const worker = await start([WRITE]);
    const id = await harness.createSession({ permissions: ["ask *"] });
    await worker.step();
    await decide(id, (await findAsked(worker, id)).id, "deny", "not today");
    await passTime(
      worker,
      async () => (await harness.store.getSession(id))?.status === "completed",
    );
    const { calls } = await harness.store.readCheckpoint(id);
    expect(calls[0]).toMatchObject({ isError: true, hasEffect: false });
    expect(String(calls[0]?.result)).toMatch(/user did not allow.*not today.*Nothing was done/);
    expect(await readAnswers(id)).toEqual(["requested", "denied user"]);
  });

  test("a rule that denies asks nobody", async () => {
    const worker = await start([WRITE], { permissions: ["deny edit asked.*"] });
    const id = await harness.createSession();
    await worker.step();
    await waitForEnd(worker, id);
    expect(await readAnswers(id)).toEqual(["denied policy"]);
    expect(await listCalls(id)).toEqual([["finished", true]]);
  });

  test("a rule for a path holds whichever way leads there", async () => {
    const input = { path: "src/..//asked.txt", content: "by a detour\n" };
    const worker = await start([{ call: { tool: "write_file", input } }]);
    const id = await harness.createSession({ permissions: ["deny edit asked.txt"] });
    await worker.step();
    await waitForEnd(worker, id);
    expect(await listCalls(id)).toEqual([["finished", true]]);
    expect(await readAnswers(id)).toEqual(["denied policy"]);
  });

  test("the rules of a session come before those of the worker", async () => {
    const worker = await start([WRITE], { permissions: ["deny edit"] });
    const id = await harness.createSession({ permissions: ["allow edit"] });
    await worker.step();
    await waitForEnd(worker, id);
    expect(await listCalls(id)).toEqual([["finished", false]]);
  });

  test("the slot is freed after a while, and the answer wakes the session once", async () => {
    const worker = await start([WRITE], { permissionHoldMs: 1_000 });
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    const asked = await findAsked(worker, id);
    await passTime(worker, () => worker.processor.running === 0);
    const paused = await harness.waitForStatus(id, "paused");
    expect(paused).toMatchObject({
      ...{ reason: "awaiting_permission", waitingFor: "permission", resumeAt: null, attempts: 0 },
    });
    await worker.step();
    expect(worker.processor.running).toBe(0);

    expect((await decide(id, asked.id, "allow")).resumeAt).not.toBeNull();
    await worker.step();
    await waitForEnd(worker, id);
    expect(await readAnswers(id)).toEqual(["requested", "allowed user"]);
    expect(await listCalls(id)).toEqual([["finished", false]]);
  });

  test("an answer that comes as the slot is given back is not missed", async () => {
    const worker = await start([WRITE], { permissionHoldMs: 1_000 });
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    const asked = await findAsked(worker, id);
    harness.workspaces.beforeClose = () => decide(id, asked.id, "allow");
    await passTime(worker, () => worker.processor.running === 0);
    const paused = await harness.store.getSession(id);
    expect(paused).toMatchObject({ status: "paused", waitingFor: null });
    expect(paused?.resumeAt).not.toBeNull();
  });

  test("what was asked by a worker that died is answered after its death", async () => {
    const first = await start([WRITE]);
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await first.step();
    const asked = await findAsked(first, id);
    await harness.endLease(first.id);
    const second = await start([WRITE]);
    await second.lifecycle.checkLostSessions();
    expect(await harness.store.getSession(id)).toMatchObject({
      ...{ status: "paused", reason: "worker_lost", waitingFor: "permission", resumeAt: null },
    });
    await decide(id, asked.id, "allow");
    await second.step();
    await waitForEnd(second, id);
    expect(await readAnswers(id)).toEqual(["requested", "allowed user"]);
    expect(await harness.store.listPermissions(id)).toHaveLength(1);
  });

  test("another call is asked anew, and so is the same call a second time", async () => {
    const other: FakeAct = {
      call: { tool: "write_file", input: { path: "other.txt", content: "" } },
    };
    const worker = await start([WRITE, other, WRITE]);
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    for (const path of ["asked.txt", "other.txt", "asked.txt"]) {
      const asked = await findAsked(worker, id);
      expect(asked.paths).toEqual([path]);
      await decide(id, asked.id, "allow");
    }
    await passTime(
      worker,
      async () => (await harness.store.getSession(id))?.status === "completed",
    );
    expect(await listCalls(id)).toHaveLength(3);
  });

  test.each([
    ["deny", true],
    ["allow", false],
  ] as const)("nobody answers in time: %s", async (permissionDefault, isError) => {
    const worker = await start([WRITE], { permissionDefault });
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    const asked = await findAsked(worker, id);
    await harness.db.sql("update stint.permissions set expires_at = now() where id = $1", [
      asked.id,
    ]);
    await worker.lifecycle.checkLostSessions();
    await passTime(
      worker,
      async () => (await harness.store.getSession(id))?.status === "completed",
    );
    expect((await listCalls(id))[0]?.[1]).toBe(isError);
    expect((await readAnswers(id))[1]).toBe(`${isError ? "denied" : "allowed"} expiry`);
  });

  test("a session that ends lets go of what it asked, and takes no answer any more", async () => {
    const worker = await start([WRITE]);
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    const asked = await findAsked(worker, id);
    await harness.store.cancelSession(id);
    await worker.step();
    await harness.waitForStatus(id, "failed");
    expect((await harness.store.listPermissions(id))[0]?.status).toBe("lapsed");
    await expect(decide(id, asked.id, "allow")).rejects.toMatchObject({
      code: "permission_decided",
    });
  });

  test("a decision stands: the same again changes nothing, another is refused", async () => {
    const worker = await start([WRITE]);
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    const asked = await findAsked(worker, id);
    await decide(id, asked.id, "deny");
    await decide(id, asked.id, "deny");
    await expect(decide(id, asked.id, "allow")).rejects.toMatchObject({
      code: "permission_decided",
    });
    const unknown = decide(id, crypto.randomUUID(), "allow");
    await expect(unknown).rejects.toMatchObject({ code: "permission_not_found" });
  });

  test("a session is not idle while a person is waited for", async () => {
    const worker = await start([WRITE]);
    const id = await harness.createSession({ permissions: ["ask edit"] });
    await worker.step();
    await findAsked(worker, id);
    await harness.db.sql(
      `update coding_sessions set last_activity_at = now() - interval '1 day', sweep_at = now()
       where id = $1`,
      [id],
    );
    expect(await worker.lifecycle.checkExpiredSessions()).toEqual([]);
  });
});
