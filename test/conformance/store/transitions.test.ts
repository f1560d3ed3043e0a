import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  isValidTransition,
  REASON_CODES,
  isReasonFor,
  SESSION_STATES,
  type SessionState,
} from "../../../src/core/state.ts";
import { StoreHarness } from "./harness.ts";

const pairs = SESSION_STATES.flatMap((from) =>
  SESSION_STATES.filter((to) => to !== from).map((to) => [from, to] as const),
);
const illegal = pairs.filter(([from, to]) => !isValidTransition(from, to));
const legal = pairs.filter(([from, to]) => isValidTransition(from, to));

let harness: StoreHarness;
beforeAll(async () => {
  harness = await StoreHarness.create();
});
afterAll(() => harness.close());

async function setStatusAs(role: string | null, id: string, to: SessionState): Promise<void> {
  await harness.admin.query("begin");
  try {
    if (role !== null) await harness.admin.query(`set local role ${role}`);
    await harness.admin.query("update public.coding_sessions set status = $2 where id = $1", [
      id,
      to,
    ]);
    await harness.admin.query("commit");
  } catch (error) {
    await harness.admin.query("rollback");
    throw error;
  }
}

async function readRow(id: string) {
  const [row] = await harness.sql<{ status: string; epoch: number; last_seq: number }>(
    "select status, epoch, last_seq from public.coding_sessions where id = $1",
    [id],
  );
  return row!;
}

describe("the database refuses what the table does not allow", () => {
  it.each(illegal)("%s → %s, by SQL of superuser and owner", async (from, to) => {
    const id = await harness.createInState(from);
    const before = await readRow(id);
    for (const role of [null, "stint_owner"]) {
      await expect(setStatusAs(role, id, to)).rejects.toThrow(
        `Invalid state transition: ${from} → ${to}`,
      );
    }
    expect(await readRow(id)).toEqual(before);
  });

  it.each(illegal.filter(([, to]) => ["paused", "failed", "expired"].includes(to)))(
    "%s → %s, by a forced transition",
    async (from, to) => {
      const id = await harness.createInState(from);
      await expect(
        harness.store.forceTransition(id, {
          to: to as "paused",
          reason: "external",
          message: "",
        }),
      ).rejects.toMatchObject({
        code: "illegal_transition",
        message: `Invalid state transition: ${from} → ${to}`,
      });
    },
  );

  it.each(["pending", "completed", "failed", "expired"] as const)(
    "resuming a session that is %s",
    async (from) => {
      const id = await harness.createInState(from);
      await expect(harness.store.resumeSession(id)).rejects.toMatchObject({
        code: "illegal_transition",
        message: `Invalid state transition: ${from} → active`,
      });
    },
  );

  it.each(["pending", "completed", "failed", "expired"] as const)(
    "pausing a session that is %s",
    async (from) => {
      const id = await harness.createInState(from);
      await expect(harness.store.pauseSession(id)).rejects.toMatchObject({
        code: "illegal_transition",
        message: `Invalid state transition: ${from} → paused`,
      });
    },
  );

  it.each(["completed", "failed", "expired"] as const)(
    "cancelling one that is %s",
    async (from) => {
      const id = await harness.createInState(from);
      await expect(harness.store.cancelSession(id)).rejects.toMatchObject({
        code: "session_terminal",
      });
    },
  );

  it.each(["active", "paused", "completed", "failed", "expired"])(
    "inserting a session as %s",
    async (status) => {
      await expect(
        harness.sql("insert into public.coding_sessions (prompt, status) values ('x', $1)", [
          status,
        ]),
      ).rejects.toThrow(`Invalid state transition: (new) → ${status}`);
    },
  );

  it.each(["service_role", "authenticated", "anon"])("any write by SQL of %s", async (role) => {
    const id = await harness.createInState("pending");
    await expect(setStatusAs(role, id, "active")).rejects.toMatchObject({ code: "42501" });
  });
});

describe("a legal step by SQL", () => {
  it.each(legal)("%s → %s leaves its event and a new epoch", async (from, to) => {
    const id = await harness.createInState(from);
    const before = await readRow(id);
    await setStatusAs(null, id, to);
    expect(await readRow(id)).toEqual({
      status: to,
      epoch: before.epoch + 1,
      last_seq: before.last_seq + 1,
    });
    const [event] = await harness.sql<{ event_type: string; event_data: object }>(
      "select event_type, event_data from session_events where session_id = $1 and seq = $2",
      [id, before.last_seq + 1],
    );
    expect(event).toMatchObject({
      event_type: "state_changed",
      event_data: { from, to, epoch: before.epoch + 1, reason: "external" },
    });
  });
});

describe("the tables of code and database are the same", () => {
  it("for transitions", async () => {
    for (const [from, to] of pairs) {
      const [row] = await harness.sql<{ valid: boolean }>(
        "select stint.is_valid_transition($1, $2) as valid",
        [from, to],
      );
      expect([from, to, row?.valid]).toEqual([from, to, isValidTransition(from, to)]);
    }
  });

  it("for reasons", async () => {
    for (const reason of REASON_CODES.filter((code) => code !== "created")) {
      for (const to of SESSION_STATES) {
        const [row] = await harness.sql<{ valid: boolean }>(
          "select stint.is_reason_for($1, $2) as valid",
          [reason, to],
        );
        expect([reason, to, row?.valid]).toEqual([reason, to, isReasonFor(reason, to)]);
      }
    }
  });
});

describe("a log", () => {
  it.each([
    ["update", "update public.session_events set event_data = '{}' where session_id = $1"],
    ["delete", "delete from public.session_events where session_id = $1"],
    ["truncate", "truncate public.session_events -- $1"],
  ])("takes no %s, not from the owner of the tables either", async (verb, sql) => {
    const id = await harness.createInState("completed");
    const text = verb === "truncate" ? sql.replace("$1", id) : sql;
    const values = verb === "truncate" ? [] : [id];
    await expect(harness.sql(text, values)).rejects.toMatchObject({ code: "ST006" });
    for (const role of ["stint_owner", "service_role", "authenticated", "anon"]) {
      await harness.admin.query(`set role ${role}`);
      const refused = harness.sql(text, values);
      await expect(refused).rejects.toMatchObject({
        code: expect.stringMatching(/^(ST006|42501)$/),
      });
      await harness.admin.query("reset role");
    }
  });

  it("of a finished session takes no event by any way", async () => {
    const id = await harness.createInState("completed");
    const before = await harness.readSeqs(id);
    await expect(
      harness.store.appendUnowned(id, [{ type: "error", data: { code: "x" } }]),
    ).rejects.toMatchObject({ code: "session_terminal" });
    await expect(
      harness.sql("update coding_sessions set last_seq = last_seq + 1 where id = $1", [id]),
    ).rejects.toMatchObject({ code: "ST002" });
    await expect(
      harness.sql("update coding_sessions set prompt = 'x' where id = $1", [id]),
    ).rejects.toMatchObject({ code: "ST002" });
    expect(await harness.readSeqs(id)).toEqual(before);
  });

  it("goes only with its whole session, and only a finished one goes", async () => {
    const running = await harness.createInState("paused");
    await expect(harness.store.deleteSession(running)).rejects.toMatchObject({
      code: "session_not_terminal",
    });
    const id = await harness.createInState("completed");
    await harness.store.deleteSession(id);
    expect(await harness.readSeqs(id)).toEqual([]);
    expect(await harness.store.getSession(id)).toBeNull();
    await expect(harness.store.deleteSession(id)).rejects.toMatchObject({
      code: "session_not_found",
    });
  });
});
