import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Clock } from "../../../src/core/clock.ts";
import type { Logger } from "../../../src/core/log.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { ChangeFeed } from "../../../src/store/change-feed.ts";
import { ConnectionPool } from "../../../src/store/connection-pool.ts";
import { Notifier } from "../../../src/store/notifier.ts";
import { systemClock } from "../../system-clock.ts";
import { output, range, Signal, StoreHarness } from "./harness.ts";

let harness: StoreHarness;
beforeAll(async () => {
  harness = await StoreHarness.create();
});
afterAll(() => harness.close());

const POLL_MS = 1_000;

/** A clock on which the polling net never comes round: what is heard came by LISTEN. */
const neverPolls: Clock = {
  ...systemClock,
  setTimer: (callback, delayMs) =>
    delayMs === POLL_MS ? { cancel: () => undefined } : systemClock.setTimer(callback, delayMs),
};

/** Collects what a listener hears and waits for it. */
function listen() {
  const heard: number[] = [];
  const signal = new Signal();
  return {
    heard,
    listener: ({ lastSeq }: { lastSeq: number }) => {
      heard.push(lastSeq);
      signal.fire();
    },
    until: async (lastSeq: number) => {
      while ((heard.at(-1) ?? 0) < lastSeq) await signal.next();
    },
  };
}

const isListening = async () => {
  const rows = await harness.sql(
    `select from pg_stat_activity where datname = current_database() and query like 'listen %'`,
  );
  return rows.length;
};

async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("a listener for a session", () => {
  it("hears of news of its own process at once", async () => {
    const owner = await harness.startSession();
    const ear = listen();
    const stop = harness.store.watchSession(owner.sessionId, ear.listener);
    const result = await harness.commit(owner, { events: [output("x")] });
    expect(result).toMatchObject({ status: "ok" });
    expect(ear.heard.at(-1)).toBe(owner.lastSeq);
    stop();
    await harness.commit(owner, { events: [output("y")] });
    expect(ear.heard.at(-1)).toBe(owner.lastSeq - 1);
  });

  it("hears of another process's news without polling", async () => {
    const listening = await harness.connectAnother({ clock: neverPolls });
    const owner = await harness.startSession();
    const ear = listen();
    const before = await isListening();
    listening.watchSession(owner.sessionId, ear.listener);
    await waitFor(async () => (await isListening()) > before);
    for (const text of ["a", "b", "c"]) {
      await harness.commit(owner, { events: [output(text)] });
      await ear.until(owner.lastSeq);
    }
    await harness.store.forceTransition(owner.sessionId, {
      to: "failed",
      reason: "agent_error",
      message: "",
    });
    await ear.until(owner.lastSeq + 2);
  });

  it("hears by the polling net of what nobody announced", async () => {
    const id = await harness.createSession();
    const ear = listen();
    const stop = harness.store.watchSession(id, ear.listener);
    await ear.until(1);
    await harness.sql("update coding_sessions set status = 'expired' where id = $1", [id]);
    await ear.until(2);
    expect(ear.heard).toEqual([1, 2]);
    stop();
  });

  it("hears again after its connection was cut", async () => {
    const listening = await harness.connectAnother({ clock: neverPolls });
    const owner = await harness.startSession();
    const ear = listen();
    const before = await isListening();
    const stop = listening.watchSession(owner.sessionId, ear.listener);
    await waitFor(async () => (await isListening()) > before);
    await harness.sql(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and query like 'listen %'`,
    );
    await waitFor(async () => (await isListening()) > before);
    await harness.commit(owner, { events: [output("x")] });
    await ear.until(owner.lastSeq);
    stop();
  });

  it("that fails disturbs no other", async () => {
    const owner = await harness.startSession();
    const ear = listen();
    const stops = [
      harness.store.watchSession(owner.sessionId, () => {
        throw new Error("broken listener");
      }),
      harness.store.watchSession(owner.sessionId, ear.listener),
    ];
    expect(await harness.commit(owner, { events: [output("x")] })).toMatchObject({ status: "ok" });
    expect(ear.heard.at(-1)).toBe(owner.lastSeq);
    for (const stop of stops) stop();
  });
});

describe("a listener for work", () => {
  it("hears of new sessions, resumed ones and messages, from any process", async () => {
    const other = await harness.connectAnother();
    let calls = 0;
    const signal = new Signal();
    const stop = other.watchWork(() => {
      calls++;
      signal.fire();
    });
    const owner = await harness.startSession();
    for (const act of [
      () => harness.createSession(),
      () => harness.store.pauseSession(owner.sessionId),
    ]) {
      const before = calls;
      const heard = signal.next();
      await act();
      await heard;
      expect(calls).toBeGreaterThan(before);
    }
    stop();
  });
});

describe("the self-test", () => {
  it("connects anew when notifications do not arrive", async () => {
    const warnings: string[] = [];
    const warned = new Signal();
    const hasWarned = warned.next();
    const logger: Logger = {
      ...silentLogger,
      warn: (_, message) => {
        warnings.push(message);
        warned.fire();
      },
    };
    const clock: Clock = {
      ...systemClock,
      setTimer: (callback, delayMs) => systemClock.setTimer(callback, Math.min(delayMs, 50)),
    };
    const source = { ...harness.source(), clock, logger };
    class DeafNotifier extends Notifier {
      override sendProbe(): void {
        // As a pooler does that accepts LISTEN and delivers nothing.
      }
    }
    const pool = new ConnectionPool(harness.source(), {
      connectionsMax: 1,
      waitersMax: 10,
      idleTimeoutMs: 1_000,
      statementTimeoutMs: 1_000,
      pipeline: true,
    });
    const notifier = new DeafNotifier(source);
    const feed = new ChangeFeed({ source, notifier, run: (work) => pool.run(work) });
    const ear = listen();
    const id = await harness.createSession();
    feed.watchSession(id, ear.listener);
    await hasWarned;
    expect(warnings[0]).toContain("does not deliver notifications");
    // Polling goes on meanwhile.
    await harness.sql("update coding_sessions set status = 'expired' where id = $1", [id]);
    await ear.until(2);
    await feed.close();
    await notifier.close();
    await pool.close();
  });
});

describe("a store whose connections are all cut", () => {
  it("loses nothing and works on", async () => {
    const owners = await Promise.all(range(3).map(() => harness.startSession()));
    const cut = () =>
      harness.sql(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()`,
      );
    for (const round of range(5)) {
      const writes = owners.map((owner) =>
        harness.commit(owner, { events: [output(String(round))] }),
      );
      await cut();
      expect((await Promise.all(writes)).every(({ status }) => status === "ok")).toBe(true);
    }
    for (const owner of owners) {
      const seqs = await harness.readSeqs(owner.sessionId);
      expect(seqs).toEqual(range(7));
    }
    await harness.store.ping();
  });
});
