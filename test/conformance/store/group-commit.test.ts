import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { OwnerCommit } from "../../../src/core/store.ts";
import { silentMetrics } from "../../../src/core/metrics.ts";
import { EMPTY_STATS, type EventData, type NewEvent } from "../../../src/core/event.ts";
import { foldEvents } from "../../../src/core/fold.ts";
import { GroupCommit, type GroupCommitLimits } from "../../../src/store/group-commit.ts";
import type { PartFields, PreparedEvent } from "../../../src/store/slot.ts";
import { AnswerProxy } from "./answer-proxy.ts";
import { MODEL_CALL, type Owner, output, range, StoreHarness, toOwner } from "./harness.ts";

let harness: StoreHarness;
beforeAll(async () => {
  harness = await StoreHarness.create();
});
afterAll(() => harness.close());

/** Texts of the outputs in a log, in order. */
async function readOutputs(sessionId: string): Promise<string[]> {
  const rows = await harness.sql<{ text: string }>(
    `select event_data ->> 'output' as text from session_events
     where session_id = $1 and event_type = 'terminal' order by seq`,
    [sessionId],
  );
  return rows.map(({ text }) => text);
}

async function expectDense(sessionId: string): Promise<void> {
  const seqs = await harness.readSeqs(sessionId);
  expect(seqs).toEqual(range(seqs.length));
}

/** Prepared as the store would, but not checked: for payloads that only the database refuses. */
function prepared(json: string, id: string = randomUUID()): PreparedEvent {
  return { id, type: "terminal", json, bytes: Buffer.byteLength(json), stats: null };
}

/** Somebody else was faster. */
function ignoreIllegalTransition(error: unknown): void {
  if ((error as { code?: string }).code !== "illegal_transition") throw error;
}

async function withGroup(
  url: string,
  limits: GroupCommitLimits,
  work: (group: GroupCommit) => Promise<void>,
): Promise<void> {
  const source = harness.source(url);
  const group = new GroupCommit({ source, metrics: silentMetrics, limits, onAppended: () => {} });
  try {
    await work(group);
  } finally {
    await group.close(2_000);
  }
}

const modelCall = (data: Partial<EventData<"model_call">>): NewEvent => ({
  type: "model_call",
  data: { ...MODEL_CALL, ...data },
});
const good = (text: string) => prepared(JSON.stringify({ output: text }));
const eventsOnly = (...events: PreparedEvent[]) => ({
  events,
  fields: null,
  hasTransition: false,
});

describe("a session that floods", () => {
  it("delays an event of another by two flushes at most, each with a share of the flood", async () => {
    const [flooder, polite] = [await harness.startSession(), await harness.startSession()];
    await withGroup(harness.database.url, { lanes: 1 }, async (group) => {
      const append = (owner: Owner, text: string) =>
        group.append(owner, owner.lastSeq, eventsOnly(good(text)));
      let written = 0;
      const flood = range(3_000).map((number) =>
        append(flooder, `${number}`).then(() => ++written),
      );
      await flood[0];
      await append(polite, "mine");
      expect(written).toBeLessThanOrEqual(1 + 2 * 250);
      await Promise.all(flood);
    });
    expect(await readOutputs(flooder.sessionId)).toEqual(range(3_000).map(String));
  });
});

describe("commits of one session", () => {
  it("take effect in the order of the calls, merged or not", async () => {
    const owner = await harness.startSession();
    const texts = range(200).map(String);
    const results = await Promise.all(
      texts.map((text, place) =>
        harness.store.commit(owner, owner.lastSeq, {
          events: [output(text)],
          // Now and then a part that may not be merged.
          ...(place % 7 === 0 ? { workspacePath: `/tmp/${text}` } : {}),
        }),
      ),
    );
    expect(results.map((result) => result.status === "ok" && result.lastSeq)).toEqual(
      texts.map((_, place) => owner.lastSeq + place + 1),
    );
    expect(await readOutputs(owner.sessionId)).toEqual(texts);
    await expectDense(owner.sessionId);
  });

  it("are refused one by one without harm to those after", async () => {
    const owner = await harness.startSession();
    const closeCall = {
      callId: randomUUID(),
      status: "finished",
      result: null,
      isError: false,
    } as const;
    const results = await Promise.all([
      harness.store.commit(owner, owner.lastSeq, { events: [output("a")] }),
      harness.store.commit(owner, owner.lastSeq, { events: [output("lost")], closeCall }),
      harness.store.commit(owner, owner.lastSeq, { events: [output("b")] }),
      harness.store.commit(owner, owner.lastSeq, { inboxConsumed: [randomUUID()] }),
      harness.store.commit(owner, owner.lastSeq, { events: [output("c")] }),
    ]);
    expect(results).toMatchObject([
      { status: "ok" },
      { status: "rejected", code: "call_not_open" },
      { status: "ok" },
      { status: "rejected", code: "message_taken" },
      { status: "ok" },
    ]);
    expect(await readOutputs(owner.sessionId)).toEqual(["a", "b", "c"]);
    await expectDense(owner.sessionId);
  });

  it("keep their order when one of those that were merged is refused", async () => {
    const owner = await harness.startSession();
    await withGroup(harness.database.url, {}, async (group) => {
      const append = (text: string, stats: PreparedEvent["stats"], fields: PartFields = null) =>
        group.append(owner, owner.lastSeq, {
          events: [{ ...good(text), stats }],
          fields,
          hasTransition: false,
        });
      const results = await Promise.all([
        append("a", { ...EMPTY_STATS, iterations: 1 }),
        append("too much", { ...EMPTY_STATS, inputTokens: 1e300 }),
        append("b", null, { workspacePath: "/b" }),
        append("c", null),
        append("d", null),
      ]);
      expect(results.map(({ status }) => status)).toEqual(["ok", "rejected", "ok", "ok", "ok"]);
    });
    expect(await readOutputs(owner.sessionId)).toEqual(["a", "b", "c", "d"]);
    await expectDense(owner.sessionId);
  });

  it("leave totals equal to the fold of the log", async () => {
    const owner = await harness.startSession();
    const usage = { inputTokens: 10, outputTokens: 3, cacheReadTokens: 2 };
    await Promise.all([
      harness.commit(owner, {
        events: [
          { type: "thinking", data: { iteration: 1, toolsUsed: ["bash"], usage } },
          modelCall({ usage, costUsd: 0.25 }),
        ],
      }),
      harness.commit(owner, {
        events: [
          modelCall({ usage: { inputTokens: 1, outputTokens: 1 }, costUsd: null }),
          { type: "terminal", data: { command: "ls", final: true } },
          { type: "tool", data: { callId: "c", name: "write" } },
        ],
      }),
      harness.commit(owner, {
        events: [{ type: "thinking", data: { iteration: 2, toolsUsed: [] } }],
      }),
    ]);
    const snapshot = await harness.store.getSession(owner.sessionId);
    const folded = foldEvents(await harness.store.readEvents(owner.sessionId, {}));
    expect(snapshot?.stats).toEqual(folded.stats);
    expect(folded.stats).toEqual({
      ...EMPTY_STATS,
      iterations: 2,
      inputTokens: 11,
      outputTokens: 4,
      cacheReadTokens: 2,
      toolCalls: 2,
      modelCalls: 2,
      costUsd: 0.25,
    });
    expect(snapshot).toMatchObject({ status: folded.status, epoch: folded.epoch });
    expect(snapshot?.lastSeq).toBe(folded.lastSeq);
  });

  it("refuse a pause for input while messages wait", async () => {
    const owner = await harness.startSession({ keepOpen: true });
    const message = { id: randomUUID(), sessionId: owner.sessionId, userId: null, text: "wait" };
    await harness.store.sendMessage(message);
    const transition = {
      to: "paused",
      reason: "awaiting_input",
      waitingFor: "input",
      unlessInbox: true,
    } as const;
    expect(await harness.commit(owner, { transition })).toMatchObject({
      status: "rejected",
      code: "inbox_not_empty",
    });
    const inboxConsumed = [message.id];
    expect(await harness.commit(owner, { inboxConsumed, transition })).toMatchObject({
      status: "ok",
      epoch: owner.epoch + 1,
    });
    expect(await harness.commit(owner, { events: [output("late")] })).toMatchObject({
      status: "fenced",
    });
  });
});

describe("commits of many sessions in one flush", () => {
  it("are fenced, refused or gone each for itself", async () => {
    const [healthy, lost, gone, wrong] = await Promise.all(
      range(4).map(() => harness.startSession()),
    );
    await harness.store.forceTransition(lost!.sessionId, {
      to: "paused",
      reason: "worker_lost",
      message: "",
    });
    await harness.store.forceTransition(gone!.sessionId, {
      to: "failed",
      reason: "agent_error",
      message: "",
    });
    await harness.store.deleteSession(gone!.sessionId);
    const unknownItem = { inboxConsumed: [randomUUID()] };
    const results = await Promise.all([
      harness.commit(lost!, { events: [output("x")] }),
      harness.commit(healthy!, { events: [output("a")] }),
      harness.commit(gone!, { events: [output("x")] }),
      harness.commit(wrong!, { events: [output("x")], ...unknownItem }),
      harness.commit(healthy!, { events: [output("b")] }),
    ]);
    expect(results).toMatchObject([
      { status: "fenced", epoch: lost!.epoch + 1 },
      { status: "ok" },
      { status: "gone" },
      { status: "rejected" },
      { status: "ok" },
    ]);
    expect(await readOutputs(healthy!.sessionId)).toEqual(["a", "b"]);
    expect(await readOutputs(lost!.sessionId)).toEqual([]);
  });

  it("fence an owner whose log holds what it has not written", async () => {
    const owner = await harness.startSession();
    const stranger = { sessionId: owner.sessionId, epoch: owner.epoch };
    expect(
      await harness.store.commit(stranger, owner.lastSeq - 1, { events: [output("x")] }),
    ).toMatchObject({ status: "fenced" });
    await expectDense(owner.sessionId);
  });

  it("fence an owner of yesterday that knows where the log ends today", async () => {
    const owner = await harness.startSession();
    await harness.commit(owner, {
      transition: { to: "paused", reason: "worker_lost", resumeInMs: 0 },
    });
    const successor = await harness.claim(await harness.registerWorker(), owner.sessionId);
    const old = { sessionId: owner.sessionId, epoch: owner.epoch };
    const another = await harness.connectAnother();
    for (const commit of [{ events: [output("x")] }, { workspacePath: "/x" }]) {
      expect(await another.commit(old, successor.lastSeq, commit)).toEqual({
        status: "fenced",
        epoch: successor.epoch,
      });
    }
    expect(await harness.commit(successor, { events: [output("y")] })).toMatchObject({
      status: "ok",
    });
    expect(await readOutputs(owner.sessionId)).toEqual(["y"]);
  });

  it("do not wait for a session that somebody else has locked", async () => {
    const [locked, free] = await Promise.all([harness.startSession(), harness.startSession()]);
    await harness.admin.query("begin");
    await harness.sql("select from coding_sessions where id = $1 for update", [locked!.sessionId]);
    const blocked = Promise.all([
      harness.store.commit(locked!, locked!.lastSeq, { events: [output("late 1")] }),
      harness.store.commit(locked!, locked!.lastSeq, { events: [output("late 2")] }),
    ]);
    for (const text of ["a", "b", "c"]) {
      expect(await harness.commit(free!, { events: [output(text)] })).toMatchObject({
        status: "ok",
      });
    }
    await harness.admin.query("rollback");
    expect(await blocked).toMatchObject([{ status: "ok" }, { status: "ok" }]);
    expect(await readOutputs(locked!.sessionId)).toEqual(["late 1", "late 2"]);
  });
});

describe("seqs stay dense and epochs in order", () => {
  it("while several writers take sessions from each other", async () => {
    const stores = [harness.store, await harness.connectAnother(), await harness.connectAnother()];
    const workers = await Promise.all(stores.map((store) => harness.registerWorker(60_000, store)));
    const ids = await Promise.all(range(6).map(() => harness.createSession()));
    const acknowledged = new Map(ids.map((id) => [id, new Set<number>()]));
    let fenced = 0;

    const write = async (place: number, owner: Owner): Promise<void> => {
      for (let number = 0; ; number++) {
        const result = await harness.commit(
          owner,
          { events: [output(`${number}`)] },
          stores[place],
        );
        if (result.status !== "ok") {
          fenced++;
          return;
        }
        const seqs = acknowledged.get(owner.sessionId)!;
        expect(seqs.has(result.lastSeq)).toBe(false);
        seqs.add(result.lastSeq);
      }
    };
    const writers: Promise<void>[] = [];
    for (let round = 0; round < 15; round++) {
      for (const [place, store] of stores.entries()) {
        const claimed = await store.claimSessions({ workerId: workers[place]!, limit: 2 });
        writers.push(...claimed.map((each) => write(place, toOwner(each))));
      }
      for (const id of ids) {
        await harness.store
          .forceTransition(id, { to: "paused", reason: "backoff", message: "", resumeInMs: 0 })
          .catch(ignoreIllegalTransition);
      }
    }
    await Promise.all(writers);
    expect(fenced).toBe(writers.length);
    expect(fenced).toBeGreaterThan(20);
    for (const id of ids) {
      await expectDense(id);
      const seqs = new Set(await harness.readSeqs(id));
      expect([...acknowledged.get(id)!].filter((seq) => !seqs.has(seq))).toEqual([]);
      foldEvents(await harness.store.readEvents(id, { limit: 5_000 }));
    }
  });
});

describe("when the outcome of a write is unknown", () => {
  it("each event is written once, whether the request or the answer was lost", async () => {
    const proxy = await AnswerProxy.start(harness.database.url);
    const store = await harness.connectAnother({ url: proxy.url });
    let calls = 0;
    proxy.interfere(
      () => (["drop-answer", "pass", "drop-request"] as const)[calls++ % 3] ?? "pass",
    );
    const owners = await Promise.all(range(4).map(() => harness.startSession()));
    const texts = range(25).map(String);
    await Promise.all(
      owners.map(async (owner) => {
        for (const text of texts) {
          const result = await harness.commit(owner, { events: [output(text)] }, store);
          expect(result).toMatchObject({ status: "ok" });
        }
      }),
    );
    expect(proxy.cuts).toBeGreaterThan(10);
    for (const owner of owners) {
      expect(await readOutputs(owner.sessionId)).toEqual(texts);
      await expectDense(owner.sessionId);
    }
    await proxy.close();
  });

  it("commits with a part, with and without events, take effect once", async () => {
    const proxy = await AnswerProxy.start(harness.database.url);
    const store = await harness.connectAnother({ url: proxy.url });
    let calls = 0;
    proxy.interfere(() => (calls++ % 2 === 0 ? "drop-answer" : "pass"));
    const owner = await harness.startSession();
    const message = { id: randomUUID(), sessionId: owner.sessionId, userId: null, text: "hi" };
    await harness.store.sendMessage(message);
    const callId = randomUUID();
    const intent = {
      iteration: 1,
      ordinal: 0,
      modelCallId: "call",
      tool: "bash",
      input: {},
      timeoutMs: 1_000,
    };
    const usage = { inputTokens: 7, outputTokens: 1 };
    const thinking: NewEvent = { type: "thinking", data: { iteration: 1, toolsUsed: [], usage } };
    const outcome = { callId, status: "finished", result: "ok", isError: false } as const;
    const commits: OwnerCommit[] = [
      { inboxConsumed: [message.id] },
      { events: [thinking, modelCall({ usage })] },
      { openCall: { ...intent, callId } },
      { closeCall: outcome },
      { events: [output("last")], rawMessages: [{ raw: 1 }] },
      { transition: { to: "paused", reason: "user" } as const },
    ];
    for (const commit of commits) {
      expect(await harness.commit(owner, commit, store)).toMatchObject({ status: "ok" });
    }
    expect(proxy.cuts).toBe(6);
    expect(await harness.store.getSession(owner.sessionId)).toMatchObject({
      status: "paused",
      epoch: owner.epoch + 1,
      stats: { iterations: 1, inputTokens: 7 },
    });
    expect((await harness.store.readCheckpoint(owner.sessionId)).calls).toMatchObject([
      { callId, status: "finished", result: "ok" },
    ]);
    const raw = await harness.sql("select message from stint.raw_messages where session_id = $1", [
      owner.sessionId,
    ]);
    expect(raw).toEqual([{ message: { raw: 1 } }]);
    await expectDense(owner.sessionId);
    await proxy.close();
  });

  it("is told to the owner that lost its session meanwhile", async () => {
    const proxy = await AnswerProxy.start(harness.database.url);
    const store = await harness.connectAnother({ url: proxy.url });
    const owner = await harness.startSession();
    let calls = 0;
    proxy.interfere(() => (calls++ === 0 ? "drop-request" : "pass"));
    const pending = harness.commit(owner, { events: [output("never")] }, store);
    await harness.store.forceTransition(owner.sessionId, {
      to: "paused",
      reason: "worker_lost",
      message: "",
    });
    expect(await pending).toMatchObject({ status: "fenced", epoch: owner.epoch + 1 });
    expect(await readOutputs(owner.sessionId)).toEqual([]);
    await proxy.close();
  });
});

describe("an event that only the database refuses", () => {
  it.each([
    ["a NUL in the text", '{"output":"\\u0000"}'],
    ["half a surrogate pair", '{"output":"\\ud800"}'],
    ["broken JSON", "{"],
    ["nesting beyond its stack", `${"[".repeat(200_000)}${"]".repeat(200_000)}`],
    ["a number out of range", `{"n":1e${"9".repeat(10)}}`],
  ])("%s: is replaced, and all others are written", async (_, poison) => {
    const owners = await Promise.all(range(5).map(() => harness.startSession()));
    await withGroup(harness.database.url, { lanes: 1 }, async (group) => {
      const results = await Promise.all(
        owners.flatMap((owner, place) => [
          group.append(owner, owner.lastSeq, eventsOnly(good("a"))),
          group.append(
            owner,
            owner.lastSeq,
            place === 2
              ? eventsOnly(good("b"), prepared(poison), good("c"))
              : eventsOnly(good("b")),
          ),
        ]),
      );
      expect(results.every(({ status }) => status === "ok")).toBe(true);
    });
    for (const [place, owner] of owners.entries()) {
      expect(await readOutputs(owner.sessionId)).toEqual(
        place === 2 ? ["a", "b", "c"] : ["a", "b"],
      );
      await expectDense(owner.sessionId);
    }
    const events = await harness.store.readEvents(owners[2]!.sessionId, {});
    expect(events.map(({ type }) => type).slice(2)).toEqual([
      "terminal",
      "terminal",
      "error",
      "terminal",
    ]);
    expect(events[4]?.data["code"]).toBe("event_rejected");
  });

  it("in a commit with a part, leaves the part in force", async () => {
    const owner = await harness.startSession();
    await withGroup(harness.database.url, {}, async (group) => {
      const result = await group.append(owner, owner.lastSeq, {
        events: [prepared('{"output":"\\u0000"}')],
        fields: { workspacePath: "/somewhere" },
        hasTransition: false,
      });
      expect(result).toMatchObject({ status: "ok" });
    });
    const session = await harness.store.getSession(owner.sessionId);
    expect(session?.workspace.path).toBe("/somewhere");
  });

  it("a part that the database refuses is told to its owner alone", async () => {
    const [bad, good] = await Promise.all([harness.startSession(), harness.startSession()]);
    await withGroup(harness.database.url, { lanes: 1 }, async (group) => {
      const results = await Promise.all([
        group.append(bad!, bad!.lastSeq, {
          events: [],
          fields: { workspacePath: "\u0000" },
          hasTransition: false,
        }),
        group.append(good!, good!.lastSeq, eventsOnly(prepared('{"output":"a"}'))),
      ]);
      expect(results).toMatchObject([
        { status: "rejected", code: "event_rejected" },
        { status: "ok" },
      ]);
    });
  });
});

describe("what agents and models say", () => {
  it("comes back as it was, whatever it holds", async () => {
    const owner = await harness.startSession();
    let deep: unknown = "deep";
    for (let level = 0; level < 500; level++) deep = [deep];
    const response = { text: "NUL \u0000, half \ud800", jsonBase64: "x", deep } as never;
    const inputs = ["prompt with \u0000"];
    await harness.commit(owner, {
      beginStep: { iteration: 1, inputs, inboxDelivered: [], timeoutMs: 1_000 },
    });
    const usage = {
      inputTokens: 1,
      outputTokens: 1,
      cacheReadTokens: 0,
      cacheWriteTokens: 0,
      reasoningTokens: 0,
    };
    await harness.commit(owner, { finishStep: { iteration: 1, response, usage } });
    const callId = randomUUID();
    const input = { jsonBase64: "looks like ours" };
    await harness.commit(owner, {
      openCall: {
        callId,
        iteration: 1,
        ordinal: 0,
        modelCallId: "\u0000",
        tool: "\ud800",
        input,
        timeoutMs: 1_500,
      },
      rawMessages: [{ line: "\u0000" }, "\udfff"],
    });
    await harness.commit(owner, {
      closeCall: { callId, status: "finished", result: "\u0000", isError: false },
    });
    expect(await harness.store.readCheckpoint(owner.sessionId)).toEqual({
      agentSessionId: null,
      snapshotId: null,
      steps: [{ iteration: 1, inputs, response, usage }],
      calls: [
        {
          callId,
          iteration: 1,
          ordinal: 0,
          modelCallId: "\u2400",
          tool: "\ufffd",
          input,
          timeoutMs: 1_500,
          hasEffect: true,
          snapshotId: null,
          epoch: owner.epoch,
          status: "finished",
          result: "\u0000",
          isError: false,
        },
      ],
      undelivered: [],
      permissions: [],
    });
  });
});

describe("in a new database without statistics", () => {
  it("sessions are found by their key, not by scanning all that run", async () => {
    const fresh = await StoreHarness.create();
    const workerId = await fresh.registerWorker();
    await Promise.all(range(150).map(() => fresh.createSession()));
    const owners = (await fresh.store.claimSessions({ workerId, limit: 150 })).map(toOwner);
    const store = await fresh.connectAnother({ limits: { lanes: 1 } });
    for (const text of ["a", "b"]) {
      await Promise.all(
        owners.map((owner) => fresh.commit(owner, { events: [output(text)] }, store)),
      );
    }
    await store.close();
    const readTuples = async () => {
      const [row] = await fresh.sql<{ tuples: number }>(
        `select (select sum(idx_tup_read) from pg_stat_user_indexes where relname = 'coding_sessions')
           ::bigint + seq_tup_read as tuples
         from pg_stat_user_tables where relname = 'coding_sessions'`,
      );
      return row?.tuples ?? 0;
    };
    // Whoever scans reads 150 rows for each of 300 commits.
    expect(await readTuples()).toBeLessThan(15_000);
    expect(await readTuples()).toBeGreaterThan(300);
    await fresh.close();
  });
});

describe("what waits to be written", () => {
  it("is bounded per process and per session; callers beyond wait in order", async () => {
    const proxy = await AnswerProxy.start(harness.database.url);
    const owner = await harness.startSession();
    const other = await harness.startSession();
    let isStuck = true;
    proxy.interfere(() => (isStuck ? "drop-request" : "pass"));
    const limits = {
      lanes: 1,
      queuedBytesMax: 20_000,
      queuedBytesPerSessionMax: 10_000,
      waitersMax: 40,
    };
    await withGroup(proxy.url, limits, async (group) => {
      const append = (to: Owner, text: string) =>
        group.append(
          to,
          to.lastSeq,
          eventsOnly(prepared(JSON.stringify({ output: text, pad: "x".repeat(1_000) }))),
        );
      const texts = range(30).map(String);
      const pending = texts.map((text) => append(owner, text));
      expect(group.queuedBytes).toBeGreaterThan(5_000);
      expect(group.queuedBytes).toBeLessThanOrEqual(10_000);
      const others = range(30).map((number) => append(other, String(number)));
      const outcomes = Promise.allSettled(others);
      expect(group.queuedBytes).toBeLessThanOrEqual(20_000);
      isStuck = false;
      expect((await Promise.all(pending)).every(({ status }) => status === "ok")).toBe(true);
      const refused = (await outcomes).filter(({ status }) => status === "rejected");
      expect(refused.length).toBeGreaterThan(0);
      expect(refused).toMatchObject(refused.map(() => ({ reason: { code: "overloaded" } })));
      expect(group.queuedBytes).toBe(0);
      expect(await readOutputs(owner.sessionId)).toEqual(texts);
    });
    await proxy.close();
  });

  it("is written before the store is closed", async () => {
    const store = await harness.connectAnother();
    const owner = await harness.startSession();
    const pending = range(50).map((number) =>
      store.commit(owner, owner.lastSeq, { events: [output(String(number))] }),
    );
    await store.close();
    expect((await Promise.all(pending)).every(({ status }) => status === "ok")).toBe(true);
    await expect(store.commit(owner, 0, { events: [output("x")] })).rejects.toMatchObject({
      code: "database_unavailable",
    });
  });
});
