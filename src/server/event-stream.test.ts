import { describe, expect, test } from "vitest";
import { KEEP_ALIVE_MS, STALL_MS } from "./event-stream.ts";
import { startHarness, TOKEN, until, type Harness } from "./harness.testsuite.ts";

/** Reads a stream piece by piece; a piece holds whole messages. */
function readerOf(response: Response) {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const pieces: string[] = [];
  const seqs: number[] = [];
  const next = async (): Promise<boolean> => {
    const { done, value } = await reader.read();
    if (done) return false;
    const piece = Buffer.from(value).toString();
    pieces.push(piece);
    for (const [, seq] of piece.matchAll(/^id: (\d+)$/gm)) seqs.push(Number(seq));
    return true;
  };
  return {
    next,
    seqs: () => seqs,
    text: () => pieces.join(""),
    cancel: () => reader.cancel(),
    async untilSeq(seq: number): Promise<void> {
      while (seqs.at(-1) !== seq && (await next()));
    },
    async untilEnd(): Promise<void> {
      while (await next());
    },
  };
}

async function open(harness: Harness, id: string, query = "", headers: object = {}) {
  const response = await harness.call(
    "GET",
    `/v1/sessions/${id}/stream${query}`,
    undefined,
    headers,
  );
  return { response, status: response.status };
}

function upTo(last: number, first = 1): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => index + first);
}

describe("an event stream", () => {
  test("sends unnamed events with their seq as id and the event as data", async () => {
    const harness = startHarness();
    const id = await harness.create();
    harness.store.append(id, "terminal", { output: "a\r\nb\u2028c", final: false });
    harness.store.transition(id, "active");
    harness.store.transition(id, "completed");
    const { response } = await open(harness, id);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = readerOf(response);
    await reader.untilEnd();
    const messages = reader.text().split("\n\n").slice(1, -1);
    expect(
      messages.map((message) => message.split("\n").map((line) => line.split(":")[0])),
    ).toEqual(messages.map(() => ["id", "data"]));
    const events = messages.map((message) => JSON.parse(message.split("\ndata: ")[1] as string));
    expect(events[1]).toEqual({
      id: expect.any(String),
      sessionId: id,
      seq: 2,
      type: "terminal",
      data: { output: "a\r\nb\u2028c", final: false },
      createdAt: new Date(2).toISOString(),
    });
    expect(reader.seqs()).toEqual([1, 2, 3, 4]);
  });

  test("ends after the terminal event, and a reconnect gets 204", async () => {
    const harness = startHarness();
    const id = await harness.create();
    harness.store.transition(id, "active");
    const { response } = await open(harness, id);
    const reader = readerOf(response);
    await reader.untilSeq(2);
    harness.store.append(id, "completion", { stats: {} });
    harness.store.transition(id, "completed");
    await reader.untilEnd();
    expect(reader.seqs()).toEqual([1, 2, 3, 4]);
    expect((await open(harness, id, "", { "last-event-id": "4" })).status).toBe(204);
    expect((await open(harness, id, "?after=4")).status).toBe(204);
    expect((await open(harness, id, "?after=5")).status).toBe(400);
    expect(harness.store.watchers(id)).toBe(0);
    expect(harness.clock.timerCount).toBe(0);
  });

  test("goes on after the cursor, and Last-Event-ID goes before it", async () => {
    const harness = startHarness();
    const id = await harness.create();
    for (let i = 0; i < 8; i++) harness.store.append(id, "terminal", {});
    harness.store.transition(id, "expired");
    const seqs = async (query: string, headers: object = {}) => {
      const reader = readerOf((await open(harness, id, query, headers)).response);
      await reader.untilEnd();
      return reader.seqs();
    };
    expect(await seqs("?after=3")).toEqual(upTo(10, 4));
    expect(await seqs("?after=3", { "last-event-id": "7" })).toEqual([8, 9, 10]);
    expect(await seqs("?after=3", { "last-event-id": "" })).toEqual(upTo(10, 4));
    expect((await open(harness, id, "", { "last-event-id": "x" })).status).toBe(400);
  });

  test("misses nothing that is appended while a read is on its way", async () => {
    const harness = startHarness();
    const { store } = harness;
    const id = await harness.create();
    let appends = 0;
    // The worst moment: the read has looked, its answer has not come, no further hint will.
    store.beforeAnswer = () => {
      if (appends++ < 30) store.append(id, "terminal", {});
      return Promise.resolve();
    };
    const reader = readerOf((await open(harness, id)).response);
    await reader.untilSeq(31);
    expect(reader.seqs()).toEqual(upTo(31));
    await reader.cancel();
  });

  test("has at most one read on its way, however many hints come", async () => {
    const harness = startHarness();
    const { store } = harness;
    const id = await harness.create();
    const reader = readerOf((await open(harness, id)).response);
    await reader.untilSeq(1);
    store.beforeAnswer = () => new Promise((resolve) => setImmediate(resolve));
    store.readsMax = 0;
    const reading = reader.untilSeq(500);
    while (store.entries.get(id)?.session.lastSeq !== 500) {
      for (let i = 0; i < 7 && store.entries.get(id)?.session.lastSeq !== 500; i++) {
        store.append(id, "terminal", {});
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await reading;
    expect(store.readsMax).toBe(1);
    expect(reader.seqs()).toEqual(upTo(500));
    await reader.cancel();
  });

  test("reads nothing more before the reader has taken what was read", async () => {
    const harness = startHarness();
    const { store } = harness;
    const id = await harness.create();
    for (let i = 0; i < 2_000; i++) store.append(id, "terminal", { output: "x".repeat(10_000) });
    let reads = 0;
    store.beforeAnswer = () => {
      reads += 1;
      return Promise.resolve();
    };
    const reader = readerOf((await open(harness, id)).response);
    await reader.next();
    await reader.next();
    for (let i = 0; i < 50; i++) {
      store.hint(id);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(reads).toBe(1);
    await reader.cancel();
  });

  test("events of every size come once and in order", async () => {
    const harness = startHarness();
    const id = await harness.create();
    const sizes = [0, 30_000, 70_000, 3_000, 600_000, 10];
    for (let i = 0; i < 120; i++) {
      harness.store.append(id, "terminal", { output: "x".repeat(sizes[i % sizes.length] ?? 0) });
    }
    const reader = readerOf((await open(harness, id)).response);
    await reader.untilSeq(121);
    expect(reader.seqs()).toEqual(upTo(121));
    await reader.cancel();
  });

  test("takes few large events at a time", async () => {
    const harness = startHarness();
    const { store } = harness;
    const id = await harness.create();
    for (let i = 0; i < 50; i++) store.append(id, "terminal", { output: "x".repeat(500_000) });
    const limits: number[] = [];
    const read = store.readEventRows.bind(store);
    store.readEventRows = (session, query, viewer) => {
      limits.push(query.limit ?? 0);
      return read(session, query, viewer);
    };
    const reader = readerOf((await open(harness, id)).response);
    await reader.untilSeq(51);
    expect(Math.max(...limits.slice(1))).toBeLessThanOrEqual(2);
    expect(limits.length).toBeLessThan(60);
    expect(reader.seqs()).toEqual(upTo(51));
    await reader.cancel();
  });

  test("sends a comment every 15 s, and looks again although no hint came", async () => {
    const harness = startHarness();
    const { store, clock } = harness;
    const id = await harness.create();
    const reader = readerOf((await open(harness, id)).response);
    await reader.untilSeq(1);
    for (let i = 1; i <= 3; i++) {
      const next = reader.next();
      await until(() => clock.isSet(KEEP_ALIVE_MS));
      clock.advance(KEEP_ALIVE_MS);
      await next;
      expect(reader.text().match(/^: keep-alive$/gm)).toHaveLength(i);
    }
    const reading = reader.untilSeq(2);
    await until(() => clock.isSet(KEEP_ALIVE_MS));
    store.listeners.get(id)?.clear();
    store.append(id, "terminal", {});
    clock.advance(KEEP_ALIVE_MS);
    await reading;
    expect(reader.seqs()).toEqual([1, 2]);
    await reader.cancel();
  });

  test("ends when its session is deleted or hidden", async () => {
    const harness = startHarness();
    const { store, clock } = harness;
    const id = await harness.create();
    const reader = readerOf((await open(harness, id)).response);
    await reader.untilSeq(1);
    store.entries.delete(id);
    const end = reader.untilEnd();
    await until(() => clock.isSet(KEEP_ALIVE_MS));
    clock.advance(KEEP_ALIVE_MS);
    await end;
    expect(store.watchers(id)).toBe(0);
  });

  test("ends quietly when the database fails, and resumes by cursor", async () => {
    const harness = startHarness();
    const { store } = harness;
    const id = await harness.create();
    const reader = readerOf((await open(harness, id)).response);
    await reader.untilSeq(1);
    store.failure = new Error("connection lost");
    store.hint(id);
    await reader.untilEnd();
    store.failure = null;
    store.append(id, "terminal", {});
    const again = readerOf((await open(harness, id, "?after=1")).response);
    await again.untilSeq(2);
    expect([...reader.seqs(), ...again.seqs()]).toEqual([1, 2]);
    expect(harness.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
    await again.cancel();
  });

  test("a reader that takes nothing for a minute is cut off, an idle one is not", async () => {
    const harness = startHarness();
    const { store, clock } = harness;
    const id = await harness.create();
    const idle = readerOf((await open(harness, id)).response);
    await idle.untilSeq(1);
    const stalled = readerOf((await open(harness, id)).response);
    await stalled.untilSeq(1);
    const waiting = idle.next();
    await until(() => clock.isSet(KEEP_ALIVE_MS));
    clock.advance(STALL_MS - 1);
    await waiting;
    expect(store.watchers(id)).toBe(2);
    clock.advance(1);
    expect(store.watchers(id)).toBe(1);
    expect(await stalled.next()).toBe(false);
    await idle.cancel();
    expect(clock.timerCount).toBe(0);
  });

  test("a client that goes away leaves nothing behind", async () => {
    const harness = startHarness();
    const { store, clock } = harness;
    const id = await harness.create();
    for (let i = 0; i < 20; i++) {
      const reader = readerOf((await open(harness, id)).response);
      if (i % 3 > 0) await reader.untilSeq(1);
      const waiting = i % 3 === 2 ? reader.next() : null;
      expect(store.watchers(id)).toBe(1);
      await reader.cancel();
      await waiting;
      expect(store.watchers(id)).toBe(0);
      expect(clock.timerCount).toBe(0);
    }
    const metrics = await (await harness.call("GET", "/metrics")).text();
    expect(metrics).toContain("stint_stream_subscribers 0");
    expect(metrics).toContain('stint_stream_disconnects_total{reason="client"} 20');
  });

  test("there are only so many at a time", async () => {
    const harness = startHarness({ subscribersMax: 2 });
    const id = await harness.create();
    const first = await open(harness, id);
    const second = await open(harness, id);
    const third = await open(harness, id);
    expect([first.status, second.status, third.status]).toEqual([200, 200, 503]);
    expect(await third.response.json()).toMatchObject({ code: "overloaded", retryable: true });
    await first.response.body?.cancel();
    expect((await open(harness, id)).status).toBe(200);
  });

  test("takes its token from the query, as EventSource has to send it", async () => {
    const harness = startHarness();
    const id = await harness.create();
    const response = await harness.app.request(`/v1/sessions/${id}/stream?access_token=${TOKEN}`);
    expect(response.status).toBe(200);
    await response.body?.cancel();
  });
});
