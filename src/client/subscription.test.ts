import v8 from "node:v8";
import vm from "node:vm";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Clock } from "../core/clock.ts";
import { createClient, type SessionEvent, type SubscriptionStatus } from "../client.ts";
import {
  FAKE_TOKEN,
  makeEvent,
  sse,
  startFakeServer,
  type FakeServer,
  type StreamBehaviour,
} from "./fake-server.testsuite.ts";
import { webClock } from "./web-clock.ts";

let server: FakeServer;
beforeEach(async () => (server = await startFakeServer()));
afterEach(() => server.close());

/** Waits of reconnects take no time; the watch over silence never fires. */
const hastyClock: Clock = {
  ...webClock,
  setTimer: (callback, delayMs) =>
    delayMs >= 45_000 ? { cancel: () => undefined } : webClock.setTimer(callback, 0),
};

const connect = (clock: Clock = hastyClock) =>
  createClient({ url: server.url, token: FAKE_TOKEN, clock });

/** A session of `count` events, of which the last ends it. */
function addEnded(count: number): string {
  const { id } = server.addSession({ status: "active" });
  for (let seq = 1; seq < count; seq++) server.append(id, "thinking", { iteration: seq });
  server.append(id, "state_changed", { from: "active", to: "completed", reason: "end_turn" });
  return id;
}

async function collect(events: AsyncIterable<SessionEvent>): Promise<number[]> {
  const seqs: number[] = [];
  for await (const event of events) seqs.push(event.seq);
  return seqs;
}

const seqs = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** Sends these events and then does what `end` says. */
function send(
  pick: (log: readonly SessionEvent[], after: number) => readonly SessionEvent[],
  end: "close" | "cut" | "cut inside a message",
): StreamBehaviour {
  return ({ session, after, response, server }) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const text = pick(server.log(session.id), after).map(sse).join("");
    const tail = end === "cut inside a message" ? 'data: {"seq":99,"ty' : "";
    if (end === "close") response.end(text);
    else response.write(text + tail, () => response.destroy());
  };
}

const nonsense: StreamBehaviour = ({ response }) =>
  response.writeHead(200, { "content-type": "text/event-stream" }).end("data: nonsense\n\n");

const next = (count: number) => (log: readonly SessionEvent[], after: number) =>
  log.slice(after, after + count);

describe("subscribe", () => {
  it("gives out the log and ends after the terminal event", async () => {
    const subscription = connect().subscribe(addEnded(5));
    expect(await collect(subscription)).toEqual(seqs(1, 5));
    expect(subscription.lastSeq).toBe(5);
    await subscription.done;
  });

  it("goes on from a cursor, and ends at once where there is no more", async () => {
    const id = addEnded(5);
    expect(await collect(connect().subscribe(id, { after: 3 }))).toEqual([4, 5]);
    expect(await collect(connect().subscribe(id, { after: 5 }))).toEqual([]);
  });

  it("gives out events as they come", async () => {
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1 });
    const got: number[] = [];
    const subscription = connect().subscribe(id, {
      onEvent: (event) => {
        got.push(event.seq);
        if (event.seq === 4) return;
        const to = event.seq === 3 ? "failed" : "paused";
        server.append(id, "state_changed", { from: "active", to });
      },
    });
    await subscription.done;
    expect(got).toEqual([1, 2, 3, 4]);
  });

  it("gives each event once and in order across every kind of cut", async () => {
    const id = addEnded(12);
    server.behaviours.push(
      send(next(2), "cut"),
      send(next(0), "close"),
      send(next(3), "cut inside a message"),
      send((log) => log.slice(0, 7), "close"), // from the start again: doubles
      ({ response }) => response.destroy(),
      ({ response }) => response.writeHead(503, { "retry-after": "0" }).end("busy"),
      send(next(2), "close"),
    );
    const states: SubscriptionStatus["state"][] = [];
    const subscription = connect().subscribe(id, { onStatus: ({ state }) => states.push(state) });
    expect(await collect(subscription)).toEqual(seqs(1, 12));
    expect(states.filter((state) => state === "reconnecting")).toHaveLength(7);
    expect(states.at(0)).toBe("connecting");
    expect(states.at(-1)).toBe("closed");
  });

  it("reads a gap from the log before it goes on", async () => {
    const id = addEnded(9);
    server.behaviours.push(
      send((log) => [log[0], log[5], log[6]].filter((event) => event !== undefined), "close"),
    );
    expect(await collect(connect().subscribe(id))).toEqual(seqs(1, 9));
    const pages = server.seen.filter((request) => request.path.endsWith("/events"));
    expect(pages.map((request) => request.query.get("after"))).toEqual(["1"]);
  });

  it("gives up on a log that has a hole, and never skips it", async () => {
    const { id } = server.addSession({ status: "active" });
    const hole = send(() => [makeEvent(id, 3, "thinking", {})], "close");
    server.behaviours.push(hole, hole, hole, hole, hole, hole);
    const subscription = connect().subscribe(id);
    await expect(collect(subscription)).rejects.toMatchObject({ code: "internal" });
    await expect(subscription.done).rejects.toThrow("nothing at seq 1");
    expect(subscription.lastSeq).toBe(0);
  });

  it("does not believe a stream of anything else for ever", async () => {
    const { id } = server.addSession({ status: "active" });
    for (let index = 0; index < 6; index++) server.behaviours.push(nonsense);
    await expect(collect(connect().subscribe(id))).rejects.toMatchObject({ code: "internal" });
    expect(server.behaviours).toHaveLength(1);
  });

  it("throws what no retry can mend", async () => {
    await expect(collect(connect().subscribe("nothing"))).rejects.toMatchObject({
      code: "session_not_found",
    });
    const { id } = server.addSession();
    server.behaviours.push(({ response }) =>
      response.writeHead(410).end(JSON.stringify({ code: "resync_required", detail: "gone" })),
    );
    await expect(collect(connect().subscribe(id))).rejects.toMatchObject({
      code: "resync_required",
    });
  });

  it("gives up after the time it was given, counted from the loss", async () => {
    const { id } = server.addSession({ status: "active" });
    await server.close();
    let nowMs = 0;
    const clock: Clock = { ...hastyClock, monotonic: () => (nowMs += 400) };
    const subscription = connect(clock).subscribe(id, { giveUpAfterMs: 2_000 });
    await expect(collect(subscription)).rejects.toMatchObject({ code: "server_unreachable" });
    server = await startFakeServer();
  });

  it("breaks a connection that falls silent and goes on", async () => {
    const id = addEnded(3);
    server.behaviours.push(({ session, response, server }) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(server.log(session.id).slice(0, 1).map(sse).join(""));
    });
    // The watch over silence fires soon, the wait of the reconnect too.
    const clock: Clock = {
      ...webClock,
      setTimer: (callback, delayMs) => webClock.setTimer(callback, delayMs >= 45_000 ? 200 : 0),
    };
    const errors: unknown[] = [];
    const subscription = connect(clock).subscribe(id, {
      onStatus: (status) => status.state === "reconnecting" && errors.push(status.error),
    });
    expect(await collect(subscription)).toEqual([1, 2, 3]);
    expect(errors).toEqual([expect.objectContaining({ code: "server_unreachable" })]);
  });

  it("ends quietly and closes its connection when aborted, closed or left", async () => {
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1 });
    const closed: Promise<void>[] = [];
    const watched: StreamBehaviour = ({ session, response, server }) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(server.log(session.id).map(sse).join(""));
      closed.push(new Promise((resolve) => response.on("close", () => resolve())));
    };
    server.behaviours.push(watched, watched, watched);

    const abort = new AbortController();
    const onEvent = () => abort.abort();
    await connect().subscribe(id, { signal: abort.signal, onEvent }).done;

    const subscription = connect().subscribe(id, { onEvent: () => subscription.close() });
    await subscription.done;

    for await (const event of connect().subscribe(id)) {
      expect(event.seq).toBe(1);
      break;
    }
    expect(closed).toHaveLength(3);
    await Promise.all(closed);
  });

  it("can be ended after the garbage of an idle connection was collected", async () => {
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1 });
    const abort = new AbortController();
    let done = Promise.resolve();
    await new Promise<void>((resolve) => {
      const onEvent = () => resolve();
      done = connect().subscribe(id, { signal: abort.signal, onEvent }).done;
    });
    v8.setFlagsFromString("--expose-gc");
    const collectGarbage = vm.runInNewContext("gc") as () => void;
    for (let round = 0; round < 5; round++) {
      collectGarbage();
      await new Promise((resolve) => setImmediate(resolve));
    }
    abort.abort();
    await done;
  });

  it("ends with the error of a callback that throws", async () => {
    const subscription = connect().subscribe(addEnded(3), {
      onEvent: () => {
        throw new Error("full disk");
      },
    });
    await expect(subscription.done).rejects.toThrow("full disk");
    expect(subscription.lastSeq).toBe(1);
  });

  it("takes no more from the connection than a slow reader asks for", async () => {
    const { id } = server.addSession({ status: "active" });
    const piece = "x".repeat(512 * 1_024);
    let written = 0;
    server.behaviours.push(({ response }) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const write = (): void => {
        while (written < 200) {
          written += 1;
          if (!response.write(sse(makeEvent(id, written, "thinking", { text: piece })))) break;
        }
      };
      response.on("drain", write);
      write();
    });
    const events = connect().subscribe(id)[Symbol.asyncIterator]();
    await events.next();
    // The server has stopped writing when nothing changes between two turns of a far longer wait
    // than a write takes.
    let before = -1;
    while (before !== written) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(written).toBeLessThan(100);
    await events.return?.();
  });
});
