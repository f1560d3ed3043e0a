import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Viewer } from "../../../src/core/store.ts";
import { MONITORING_QUERIES } from "../../../src/store/stats.ts";
import { output, range, StoreHarness } from "./harness.ts";

const ann: Viewer = { userId: randomUUID(), role: "authenticated" };
const ben: Viewer = { userId: randomUUID(), role: "authenticated" };
const operator: Viewer = { userId: randomUUID(), role: "operator" };

let harness: StoreHarness;
let ofAnn: string;
beforeAll(async () => {
  harness = await StoreHarness.create();
  const owner = await harness.startSession({ userId: ann.userId });
  await harness.commit(owner, { events: [output("secret")] });
  ofAnn = owner.sessionId;
  await harness.createSession({ userId: ben.userId });
});
afterAll(() => harness.close());

/** Runs SQL as a role of the API, with the claims of a user. */
async function asRole(role: string, userId: string, text: string): Promise<unknown[]> {
  await harness.admin.query("begin");
  try {
    await harness.admin.query(`set local role ${role}`);
    await harness.admin.query("select set_config('request.jwt.claims', $1, true)", [
      JSON.stringify({ sub: userId, role }),
    ]);
    return (await harness.admin.query(text)).rows;
  } finally {
    await harness.admin.query("rollback");
  }
}

describe("a user", () => {
  it("reads their own sessions through every reading call", async () => {
    expect((await harness.store.getSession(ofAnn, ann))?.id).toBe(ofAnn);
    expect((await harness.store.listSessions({}, ann)).items).toHaveLength(1);
    expect(await harness.store.readEvents(ofAnn, {}, ann)).toHaveLength(3);
    expect(await harness.store.readEventRows(ofAnn, {}, ann)).toHaveLength(3);
    expect((await harness.store.readStats(ann)).sessions).toMatchObject({ active: 1, pending: 0 });
  });

  it("finds nothing of another's through any of them", async () => {
    expect(await harness.store.getSession(ofAnn, ben)).toBeNull();
    expect((await harness.store.listSessions({ idPrefix: ofAnn }, ben)).items).toEqual([]);
    expect(await harness.store.readEvents(ofAnn, {}, ben)).toEqual([]);
    expect(await harness.store.readEventRows(ofAnn, {}, ben)).toEqual([]);
    expect((await harness.store.readStats(ben)).sessions).toMatchObject({ active: 0, pending: 1 });
  });

  it("gets nothing of another's on a connection that served them before", async () => {
    const answers = await Promise.all(
      range(200).map((number) => harness.store.getSession(ofAnn, number % 2 === 0 ? ann : ben)),
    );
    expect(answers.map((session) => session?.id ?? null)).toEqual(
      range(200).map((number) => (number % 2 === 0 ? ofAnn : null)),
    );
  });

  it("is bound by the database when they come by SQL", async () => {
    const sessions = "select id from public.coding_sessions";
    const events = "select id from public.session_events";
    expect(await asRole("authenticated", ann.userId, sessions)).toEqual([{ id: ofAnn }]);
    expect(await asRole("authenticated", ann.userId, events)).toHaveLength(3);
    expect(
      await asRole("authenticated", ben.userId, `${events} where session_id = '${ofAnn}'`),
    ).toEqual([]);
    expect(await asRole("authenticated", "", sessions)).toEqual([]);
    expect(await asRole("service_role", "", events)).toHaveLength(4);
  });

  it.each([
    "insert into public.coding_sessions (prompt) values ('x')",
    "delete from public.coding_sessions",
    "insert into public.session_events values (gen_random_uuid(), gen_random_uuid(), 1, 'x', '{}')",
    "select * from stint.inbox",
    "select * from stint.steps",
    "select * from stint.idempotency_keys",
    "select stint.cancel_session(gen_random_uuid())",
    "select stint.append_events('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
    "select stint.append_locked(gen_random_uuid(), 'x', '{}')",
    "select stint.apply_commit(gen_random_uuid(), 1, 1, '{}')",
    "update public.stint_migrations set checksum = ''",
  ])("may not: %s", async (sql) => {
    for (const role of ["authenticated", "anon"]) {
      await expect(asRole(role, ann.userId, sql)).rejects.toMatchObject({ code: "42501" });
    }
  });
});

describe("nobody in particular", () => {
  it("reads nothing", async () => {
    const sql = "select id from public.coding_sessions";
    await expect(asRole("anon", "", sql)).rejects.toMatchObject({ code: "42501" });
  });
});

describe("the service", () => {
  it("changes tables only through functions", async () => {
    for (const sql of [
      "update public.coding_sessions set prompt = 'x'",
      "delete from public.session_events",
      "insert into stint.workers select * from stint.workers",
      "select stint.append_locked(gen_random_uuid(), 'x', '{}')",
      "select stint.apply_commit(gen_random_uuid(), 1, 1, '{}')",
    ]) {
      await expect(asRole("service_role", "", sql)).rejects.toMatchObject({ code: "42501" });
    }
  });

  it("works as service_role on all connections of a store", async () => {
    await harness.store.ping();
    await harness.store.heartbeat(randomUUID(), 1_000);
    const owner = await harness.startSession();
    await harness.commit(owner, { events: [output("x")] });
    // A connection that works as another role cannot be told from outside; what it may do can.
    const rows = await harness.sql<{ application_name: string }>(
      `select application_name from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`,
    );
    expect(rows.length).toBeGreaterThan(2);
    expect(new Set(rows.map((row) => row.application_name))).toEqual(new Set(["stint"]));
  });

  it("lets an operator read everything", async () => {
    expect((await harness.store.getSession(ofAnn, operator))?.id).toBe(ofAnn);
  });
});

describe("functions and tables", () => {
  it("have a fixed search path where they run with their owner's rights", async () => {
    const rows = await harness.sql(
      `select proname from pg_proc where pronamespace = 'stint'::regnamespace and prosecdef
       and not coalesce(array_to_string(proconfig, ',') like 'search_path=pg_catalog, pg_temp%', false)`,
    );
    expect(rows).toEqual([]);
  });

  it("force row-level security on every public table with sessions' data", async () => {
    const rows = await harness.sql(
      `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
       and relname <> 'stint_migrations' and not (relrowsecurity and relforcerowsecurity)`,
    );
    expect(rows).toEqual([]);
  });
});

describe("the monitoring queries", () => {
  it.each(Object.entries(MONITORING_QUERIES))("%s runs as it is printed", async (_, sql) => {
    expect((await harness.sql(sql)).length).toBeGreaterThan(0);
  });

  it("are the source of the figures", async () => {
    await harness.createInState("completed");
    await harness.createInState("expired");
    const stats = await harness.store.readStats();
    const rows = await harness.sql<{ status: string; count: number }>(
      MONITORING_QUERIES.stateDistribution,
    );
    for (const { status, count } of rows) {
      expect(stats.sessions[status as keyof typeof stats.sessions]).toBe(count);
    }
    expect(stats.averageDurationMs).toBeGreaterThanOrEqual(0);
    expect(stats.expirationRatePercent).toBeCloseTo((100 * 1) / 5, 1);
    expect(stats.eventVolume).toMatchObject({ terminal: 2 });
    expect(stats.workers).toBeGreaterThan(0);
  });

  it("have no figures to give for an empty database", async () => {
    const empty = await StoreHarness.create();
    expect(await empty.store.readStats()).toEqual({
      sessions: { pending: 0, active: 0, paused: 0, completed: 0, failed: 0, expired: 0 },
      averageDurationMs: null,
      expirationRatePercent: null,
      eventVolume: {},
      workers: 0,
      slots: 0,
    });
    await empty.close();
  });
});
