import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { output, range, StoreHarness } from "./harness.ts";

let harness: StoreHarness;
beforeAll(async () => {
  harness = await StoreHarness.create();
});
afterAll(() => harness.close());

/** Each test starts with an empty queue. */
beforeEach(async () => {
  await harness.sql(
    "update coding_sessions set status = 'expired' where status in ('pending', 'active', 'paused')",
  );
});

/** Lets time pass for one session or worker; the database's clock is the only one that counts. */
const age = (id: string, column: string, text: string) =>
  harness.sql(`update coding_sessions set ${column} = now() - interval '${text}' where id = $1`, [
    id,
  ]);
const endLease = (workerId: string) =>
  harness.sql("update stint.workers set lease_expires_at = now() - interval '1 s' where id = $1", [
    workerId,
  ]);

const pause = (resumeInMs: number | null) =>
  ({ transition: { to: "paused", reason: "backoff", resumeInMs } }) as const;

/** Lies idle for longer than it may, and is due to be looked at. */
async function makeIdle(id: string): Promise<void> {
  await age(id, "last_activity_at", "31 min");
  await age(id, "sweep_at", "1 s");
}

/** Makes a control request older than an owner may let it lie. */
const letLie = (id: string) =>
  harness.sql("update stint.inbox set created_at = now() - interval '11 s' where session_id = $1", [
    id,
  ]);

describe("a claim", () => {
  it("gives each session to one of many workers, oldest first", async () => {
    const ids: string[] = [];
    for (const _ of range(30)) ids.push(await harness.createSession());
    const workers = await Promise.all(range(6).map(() => harness.registerWorker()));
    const claims = await Promise.all(
      workers.flatMap((workerId) =>
        range(3).map(() => harness.store.claimSessions({ workerId, limit: 2 })),
      ),
    );
    const claimed = claims.flat().map(({ session }) => session.id);
    expect(new Set(claimed).size).toBe(claimed.length);
    expect(claimed.toSorted()).toEqual(ids.toSorted());
    for (const batch of claims) {
      const places = batch.map(({ session }) => ids.indexOf(session.id));
      expect(places).toEqual(places.toSorted((a, b) => a - b));
    }
  });

  it("starts the session: its epoch, its worker, its attempt and its event", async () => {
    const id = await harness.createSession({ script: [{ text: "hi" }] });
    const workerId = await harness.registerWorker();
    const [claimed] = await harness.store.claimSessions({ workerId, limit: 1 });
    expect(claimed).toMatchObject({
      session: { id, status: "active", reason: "started", epoch: 1, lastSeq: 2, workerId },
      script: [{ text: "hi" }],
    });
    expect(claimed!.session.attempts).toBe(1);
    expect(claimed!.queuedMs).toBeGreaterThanOrEqual(0);
    expect(await harness.store.readStateChanges(id)).toMatchObject([
      { seq: 2, data: { from: "pending", to: "active", reason: "started", epoch: 1, workerId } },
    ]);
  });

  it("needs a worker whose lease lives", async () => {
    await harness.createSession();
    const workerId = await harness.registerWorker();
    await endLease(workerId);
    expect(await harness.store.claimSessions({ workerId, limit: 1 })).toEqual([]);
    expect(await harness.store.claimSessions({ workerId: randomUUID(), limit: 1 })).toEqual([]);
  });

  it("takes a paused session when its time has come, not before, and never one that is held", async () => {
    const workerId = await harness.registerWorker();
    const [due, later, held] = [
      await harness.startSession(),
      await harness.startSession(),
      await harness.startSession(),
    ];
    await harness.commit(due, pause(0));
    await harness.commit(later, pause(60_000));
    await harness.commit(held, pause(null));
    await harness.createSession();
    const claimed = await harness.store.claimSessions({ workerId, limit: 10 });
    // What was interrupted goes before what is new.
    expect(claimed.map(({ session }) => session.reason).toSorted()).toEqual(["resumed", "started"]);
    expect(claimed.find(({ session }) => session.reason === "resumed")?.session.id).toBe(
      due.sessionId,
    );
    await harness.store.resumeSession(held.sessionId);
    const [resumed] = await harness.store.claimSessions({ workerId, limit: 10 });
    expect(resumed?.session).toMatchObject({ id: held.sessionId, epoch: held.epoch + 2 });
  });

  it("goes on with a session only where its files are", async () => {
    const here = await harness.registerWorker(60_000, harness.store, "folder 1");
    const alsoHere = await harness.registerWorker(60_000, harness.store, "folder 1");
    const elsewhere = await harness.registerWorker(60_000, harness.store, "folder 2");
    const nowhere = await harness.registerWorker();
    const owner = await harness.claim(here, await harness.createSession());
    await harness.commit(owner, { workspacePath: "/tree" });
    await harness.commit(owner, pause(0));
    for (const workerId of [elsewhere, nowhere]) {
      expect(await harness.store.claimSessions({ workerId, limit: 1 })).toEqual([]);
    }
    await harness.claim(alsoHere, owner.sessionId);
  });

  it("goes on with a session wherever its last snapshot can be read, and only then", async () => {
    const register = (host: string, ...stores: string[]): Promise<string> =>
      harness.registerWorker(60_000, harness.store, host, stores);
    const [reader, other] = [await register("c", "database"), await register("b", "folder:2")];
    const owner = await harness.claim(
      await register("a", "database"),
      await harness.createSession(),
    );
    await harness.commit(owner, { workspacePath: "/a" });
    await harness.commit(owner, { snapshot: { id: "s1", calls: [], store: "database" } });
    await harness.commit(owner, pause(0));
    const ask = { limit: 1, sessionId: owner.sessionId };
    expect(await harness.store.claimSessions({ ...ask, workerId: other })).toEqual([]);
    const moved = await harness.claim(reader, owner.sessionId);
    const places = async (): Promise<unknown> =>
      (await harness.store.getSession(owner.sessionId))?.workspace;
    // Until it has made the files its own, the last ones are still those of the first host.
    await harness.commit(moved, { workspacePath: "/c" });
    expect(await places()).toMatchObject({ path: "/c", host: "a", snapshotStore: "database" });
    await harness.commit(moved, { snapshot: { id: "s1", calls: [], store: "database" } });
    expect(await places()).toMatchObject({ host: "c", snapshotId: "s1" });
    // One that is stored nowhere else pins the session again.
    await harness.commit(moved, { snapshot: { id: "s2", calls: [] } });
    expect(await places()).toMatchObject({ host: "c", snapshotId: "s2", snapshotStore: null });
    await harness.commit(moved, pause(0));
    const first = await register("a", "database");
    expect(await harness.store.claimSessions({ ...ask, workerId: first })).toEqual([]);
    await harness.claim(reader, owner.sessionId);
  });

  it("honours the session and the agents that it names", async () => {
    const workerId = await harness.registerWorker();
    const command = await harness.createSession({ agent: "command" });
    const builtin = await harness.createSession();
    const named = { workerId, limit: 5, sessionId: builtin };
    expect(await harness.store.claimSessions({ ...named, agents: ["command"] })).toEqual([]);
    const [first] = await harness.store.claimSessions({ workerId, limit: 5, agents: ["command"] });
    expect(first?.session.id).toBe(command);
    const [second] = await harness.store.claimSessions(named);
    expect(second?.session.id).toBe(builtin);
  });

  it("leaves a session alone that somebody wants paused or ended", async () => {
    const owner = await harness.startSession();
    await harness.store.pauseSession(owner.sessionId);
    await harness.commit(owner, {
      transition: { to: "paused", reason: "worker_lost", resumeInMs: 0 },
    });
    const workerId = await harness.registerWorker();
    expect(await harness.store.claimSessions({ workerId, limit: 1 })).toEqual([]);
  });
});

describe("a heartbeat", () => {
  it("renews the lease and tells what the worker still holds", async () => {
    const workerId = await harness.registerWorker();
    const kept = await harness.claim(workerId, await harness.createSession());
    const lost = await harness.claim(workerId, await harness.createSession());
    await harness.store.forceTransition(lost.sessionId, {
      to: "paused",
      reason: "user",
      message: "",
    });
    expect(await harness.store.heartbeat(workerId, 60_000)).toEqual({
      isLive: true,
      held: [{ sessionId: kept.sessionId, epoch: kept.epoch }],
    });
  });

  it("never revives a lease that has run out", async () => {
    const workerId = await harness.registerWorker();
    await harness.claim(workerId, await harness.createSession());
    await endLease(workerId);
    const lost = { isLive: false, held: [] };
    expect(await harness.store.heartbeat(workerId, 60_000)).toEqual(lost);
    expect(await harness.store.heartbeat(workerId, 60_000)).toEqual(lost);
    expect(await harness.store.heartbeat(randomUUID(), 60_000)).toEqual(lost);
  });
});

describe("the sweep of lost leases", () => {
  it("pauses what lost its worker; another takes it up at once", async () => {
    // A lease shorter than the life of this Postgres: its loss counts.
    const workerId = await harness.registerWorker(1);
    const other = await harness.registerWorker();
    await harness.sql(
      "update stint.workers set lease_expires_at = now() + interval '1 min' where id = $1",
      [workerId],
    );
    const owner = await harness.claim(workerId, await harness.createSession());
    expect(await harness.store.sweepLostLeases()).toEqual([]);
    await endLease(workerId);
    expect(await harness.store.sweepLostLeases()).toMatchObject([
      { sessionId: owner.sessionId, from: "active", to: "paused", reason: "worker_lost" },
    ]);
    expect(await harness.commit(owner, { events: [output("late")] })).toMatchObject({
      status: "fenced",
    });
    const next = await harness.claim(other, owner.sessionId);
    expect(next.epoch).toBe(owner.epoch + 2);
    expect(await harness.store.getSession(owner.sessionId)).toMatchObject({ attempts: 2 });
  });

  it("judges no lease until Postgres has been up for one lease duration", async () => {
    const workerId = await harness.registerWorker(10 * 365 * 86_400_000);
    const owner = await harness.claim(workerId, await harness.createSession());
    await endLease(workerId);
    expect(await harness.store.sweepLostLeases()).toEqual([]);
    await harness.sql("update stint.workers set lease_duration_ms = 1 where id = $1", [workerId]);
    expect(await harness.store.sweepLostLeases()).toMatchObject([{ sessionId: owner.sessionId }]);
  });

  it("takes over all others when one cannot be", async () => {
    const workerId = await harness.registerWorker();
    const [poison, other] = [await harness.createSession(), await harness.createSession()];
    await harness.claim(workerId, poison);
    await harness.claim(workerId, other);
    await harness.sql(
      `create function public.refuse() returns trigger language plpgsql as
         'begin raise exception ''not this one''; end';
       create trigger refuse before update on public.coding_sessions for each row
         when (new.id = '${poison}' and new.status = 'paused') execute function public.refuse()`,
    );
    try {
      await harness.store.removeWorker(workerId);
      expect(await harness.store.sweepLostLeases()).toMatchObject([{ sessionId: other }]);
      expect(await harness.store.getSession(poison)).toMatchObject({ status: "active" });
    } finally {
      await harness.sql("drop function public.refuse() cascade");
    }
    expect(await harness.store.sweepLostLeases()).toMatchObject([{ sessionId: poison }]);
  });

  it("acts at once on a worker that has gone from the list", async () => {
    const workerId = await harness.registerWorker();
    const owner = await harness.claim(workerId, await harness.createSession());
    await harness.store.removeWorker(workerId);
    expect(await harness.store.sweepLostLeases()).toMatchObject([{ sessionId: owner.sessionId }]);
  });
});

/** A session whose worker is gone with the request before it. */
async function losePausedSession(): Promise<{ id: string; other: string }> {
  const workerId = await harness.registerWorker();
  const other = await harness.registerWorker();
  const { sessionId: id } = await harness.claim(workerId, await harness.createSession());
  await harness.store.pauseSession(id);
  await harness.store.removeWorker(workerId);
  await harness.store.sweepLostLeases();
  return { id, other };
}
const claimOne = (workerId: string, sessionId: string) =>
  harness.store.claimSessions({ workerId, limit: 1, sessionId });

describe("a pause that its worker did not live to carry out", () => {
  it("holds the session all the same, until a person resumes it", async () => {
    const { id, other } = await losePausedSession();
    const lost = { status: "paused", reason: "worker_lost", resumeAt: null };
    expect(await harness.store.getSession(id)).toMatchObject(lost);
    expect(await claimOne(other, id)).toEqual([]);
    expect(await harness.store.sweepControlRequests()).toEqual([]);
    expect(await claimOne(other, id)).toEqual([]);
    await harness.store.resumeSession(id);
    expect(await claimOne(other, id)).toHaveLength(1);
  });

  it("is over when a person resumes the session before it was carried out", async () => {
    const owner = await harness.startSession();
    const other = await harness.registerWorker();
    await harness.store.pauseSession(owner.sessionId);
    const transition = { to: "paused", reason: "shutdown", resumeInMs: 0 } as const;
    expect((await harness.commit(owner, { transition })).status).toBe("ok");
    await harness.store.resumeSession(owner.sessionId);
    expect(await harness.store.sweepControlRequests()).toEqual([]);
    expect(await claimOne(other, owner.sessionId)).toHaveLength(1);
  });
});

describe("the sweep of idle sessions", () => {
  it("expires an active session without activity, with an error before the end", async () => {
    const owner = await harness.startSession();
    await makeIdle(owner.sessionId);
    expect(await harness.store.sweepIdleSessions()).toMatchObject([
      { sessionId: owner.sessionId, from: "active", to: "expired", reason: "idle_timeout" },
    ]);
    const events = await harness.store.readEvents(owner.sessionId, { after: owner.lastSeq });
    expect(events).toMatchObject([
      { type: "error", data: { code: "idle_timeout" } },
      { type: "state_changed", data: { to: "expired", reason: "idle_timeout" } },
    ]);
    expect(await harness.store.getSession(owner.sessionId)).toMatchObject({
      status: "expired",
      error: { code: "idle_timeout" },
    });
  });

  it("only looks again later when there was activity", async () => {
    const owner = await harness.startSession();
    await makeIdle(owner.sessionId);
    await harness.store.recordActivity([owner]);
    expect(await harness.store.sweepIdleSessions()).toEqual([]);
    const [row] = await harness.sql<{ minutes: string }>(
      "select round(extract(epoch from sweep_at - now()) / 60) as minutes from coding_sessions where id = $1",
      [owner.sessionId],
    );
    expect(Number(row?.minutes)).toBe(30);
  });

  it("does not count activity of an owner that lost the session", async () => {
    const owner = await harness.startSession();
    await makeIdle(owner.sessionId);
    await harness.store.recordActivity([{ ...owner, epoch: owner.epoch - 1 }]);
    expect(await harness.store.sweepIdleSessions()).toHaveLength(1);
  });

  it.each(["tool call", "model call"])(
    "spares a session whose %s runs within its limit",
    async (kind) => {
      const owner = await harness.startSession();
      const timeoutMs = 3_600_000;
      await harness.commit(
        owner,
        kind === "tool call"
          ? {
              openCall: {
                callId: randomUUID(),
                iteration: 1,
                ordinal: 0,
                modelCallId: "m",
                tool: "bash",
                input: {},
                timeoutMs,
              },
            }
          : { beginStep: { iteration: 1, inputs: [], inboxDelivered: [], timeoutMs } },
      );
      await makeIdle(owner.sessionId);
      expect(await harness.store.sweepIdleSessions()).toEqual([]);
      const past =
        "update stint.TABLE set deadline_at = now() - interval '1 s' where session_id = $1";
      for (const table of ["tool_calls", "steps"]) {
        await harness.sql(past.replace("TABLE", table), [owner.sessionId]);
      }
      await makeIdle(owner.sessionId);
      expect(await harness.store.sweepIdleSessions()).toHaveLength(1);
      // Nobody will establish what became of the call.
      const open = "select from stint.tool_calls where session_id = $1 and status = 'open'";
      expect(await harness.sql(open, [owner.sessionId])).toEqual([]);
    },
  );

  it.each([
    ["pending", "created_at", "2 days", "queue_timeout"],
    ["paused", "paused_at", "8 days", "paused_timeout"],
    ["paused", "deadline_at", "1 s", "deadline"],
    ["active", "deadline_at", "1 s", "deadline"],
    ["pending", "deadline_at", "1 s", "deadline"],
  ])("expires a %s session by %s", async (status, column, text, reason) => {
    const id =
      status === "active"
        ? (await harness.startSession()).sessionId
        : await harness.createInState(status);
    await age(id, column, text);
    await age(id, "sweep_at", "1 s");
    expect(await harness.store.sweepIdleSessions()).toMatchObject([
      { sessionId: id, from: status, to: "expired", reason },
    ]);
  });

  it("goes on until nothing is due, however much that is", async () => {
    await harness.sql(
      "insert into coding_sessions (prompt) select 'x' from generate_series(1, 2500)",
    );
    await harness.sql("update coding_sessions set sweep_at = now() where status = 'pending'");
    expect(await harness.store.sweepIdleSessions()).toEqual([]);
    const [row] = await harness.sql<{ due: number }>(
      "select count(*) as due from coding_sessions where status = 'pending' and sweep_at <= now()",
    );
    expect(row?.due).toBe(0);
  });

  it("lets two sweeps at once end each session once", async () => {
    const ids = await Promise.all(range(20).map(() => harness.createSession()));
    for (const id of ids) await age(id, "deadline_at", "1 s");
    await harness.sql("update coding_sessions set sweep_at = now() where status = 'pending'");
    const sweeps = await Promise.all(range(4).map(() => harness.store.sweepIdleSessions()));
    const swept = sweeps.flat().map(({ sessionId }) => sessionId);
    expect(swept.toSorted()).toEqual(ids.toSorted());
  });
});

describe("the sweep of control requests", () => {
  it.each([
    ["pause", "paused", "user"],
    ["cancel", "failed", "cancelled"],
  ] as const)("carries out a %s that the owner left lying", async (kind, to, reason) => {
    const owner = await harness.startSession();
    const ask = () =>
      kind === "pause"
        ? harness.store.pauseSession(owner.sessionId)
        : harness.store.cancelSession(owner.sessionId);
    await ask();
    await ask();
    expect(await harness.store.listInbox([owner.sessionId])).toMatchObject([{ kind }]);
    expect(await harness.store.sweepControlRequests()).toEqual([]);
    await letLie(owner.sessionId);
    expect(await harness.store.sweepControlRequests()).toMatchObject([
      { sessionId: owner.sessionId, from: "active", to, reason },
    ]);
    expect(await harness.store.listInbox([owner.sessionId])).toEqual([]);
    expect(await harness.store.getSession(owner.sessionId)).toMatchObject({ resumeAt: null });
  });

  it("holds a session that was paused otherwise while the request lay", async () => {
    const owner = await harness.startSession();
    await harness.store.pauseSession(owner.sessionId);
    await harness.commit(owner, {
      transition: { to: "paused", reason: "shutdown", resumeInMs: 0 },
    });
    await harness.store.sweepControlRequests();
    expect(await harness.store.getSession(owner.sessionId)).toMatchObject({
      status: "paused",
      resumeAt: null,
    });
  });
});
