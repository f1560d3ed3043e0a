/** The server on real sockets. */
import { once } from "node:events";
import { get, type ClientRequest, type IncomingMessage } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { startHarness, TOKEN, until, type Harness } from "./harness.testsuite.ts";
import { STALL_MS } from "./event-stream.ts";
import type { ListeningServer } from "./listen.ts";

const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});

async function listen(harness: Harness, options: object = {}): Promise<ListeningServer> {
  const server = await harness.listen({ host: "127.0.0.1", port: 0, ...options });
  closers.push(() => server.close());
  return server;
}

function ask(
  url: string,
  headers: object = {},
): Promise<{ request: ClientRequest; answer: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const options = { headers: { authorization: `Bearer ${TOKEN}`, ...headers }, agent: false };
    const request = get(url, options, (answer) => resolve({ request, answer }));
    request.on("error", reject);
  });
}

async function occupyPort(): Promise<number> {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

describe("choosing a port", () => {
  test("0 takes any free one and the address says which", async () => {
    const { url, port } = await listen(startHarness());
    expect(url).toBe(`http://127.0.0.1:${port}`);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  test("a taken port leads to the next free one, unless it was asked for", async () => {
    const taken = await occupyPort();
    const { port } = await listen(startHarness(), { port: taken });
    expect(port).toBeGreaterThan(taken);
    await expect(
      listen(startHarness(), { port: taken, portIsExplicit: true }),
    ).rejects.toMatchObject({
      code: "port_taken",
      fields: { port: taken },
    });
  });

  test("an address of another machine is refused", async () => {
    const elsewhere = listen(startHarness(), { host: "203.0.113.7" });
    await expect(elsewhere).rejects.toMatchObject({ code: "config_invalid" });
  });
});

describe("a request from elsewhere", () => {
  test("is refused by its Host on loopback, and what is no request by a problem document", async () => {
    const { url, port } = await listen(startHarness());
    const { answer } = await ask(`${url}/v1/sessions`, { host: "rebound.example" });
    expect(answer.statusCode).toBe(403);
    answer.destroy();
    const text = await exchange(
      port,
      "GET /healthz HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
    );
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain("application/problem+json");
  });

  test("is welcome under any name where the server listens on all addresses", async () => {
    const { port } = await listen(startHarness(), { host: "0.0.0.0" });
    const { answer } = await ask(`http://127.0.0.1:${port}/healthz`, { host: "stint.example" });
    expect(answer.statusCode).toBe(200);
    answer.destroy();
  });
});

/** A client that keeps its cursor, as EventSource does: it only counts messages that came whole. */
class CuttingClient {
  readonly seqs: number[] = [];
  connections = 0;
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Reads until `bytes` have come, then breaks the connection; true when there was nothing more. */
  async readAndCut(bytes: number): Promise<boolean> {
    this.connections += 1;
    const cursor = this.seqs.at(-1);
    const headers = cursor === undefined ? {} : { "last-event-id": String(cursor) };
    const { request, answer } = await ask(this.#url, headers);
    if (answer.statusCode === 204) return true;
    expect(answer.statusCode).toBe(200);
    let received = Buffer.alloc(0);
    request.on("error", () => undefined);
    answer.on("error", () => undefined);
    await new Promise<void>((resolve) => {
      answer.on("data", (piece: Buffer) => {
        received = Buffer.concat([received, piece]);
        if (received.length >= bytes) resolve();
      });
      answer.on("close", resolve);
    });
    request.destroy();
    this.#take(received.subarray(0, bytes).toString("latin1"));
    return false;
  }

  #take(text: string): void {
    const whole = text.slice(0, text.lastIndexOf("\n\n") + 2);
    for (const [, seq] of whole.matchAll(/^id: (\d+)\ndata: .*$/gm)) this.seqs.push(Number(seq));
  }
}

describe("an event stream over sockets", () => {
  test("cut at random bytes over 100 times while the log grows, a reader has the whole log", async () => {
    const harness = startHarness();
    const { store } = harness;
    const id = await harness.create();
    store.transition(id, "active");
    const { url } = await listen(harness);
    const client = new CuttingClient(`${url}/v1/sessions/${id}/stream`);
    const random = randomFrom(42);
    const grow = (): void => {
      for (let i = Math.floor(random() * 12); i > 0; i--) {
        store.append(id, "terminal", { output: "é\n".repeat(Math.floor(random() * 300)) });
      }
    };
    let isGrowing = true;
    const growing = (async () => {
      while (isGrowing) {
        grow();
        await until(() => store.reads === 0);
        await new Promise((resolve) => setImmediate(resolve));
        if (client.connections >= 110) isGrowing = false;
        if ((store.entries.get(id)?.session.lastSeq ?? 0) > client.connections * 5 + 20) {
          const seen = client.connections;
          await until(() => client.connections > seen);
        }
      }
      store.transition(id, "completed");
    })();
    while (!(await client.readAndCut(1 + Math.floor(random() * 6_000))));
    await growing;
    const lastSeq = store.entries.get(id)?.session.lastSeq ?? 0;
    expect(client.connections).toBeGreaterThan(100);
    expect(lastSeq).toBeGreaterThan(100);
    expect(client.seqs).toEqual(Array.from({ length: lastSeq }, (_, index) => index + 1));
    await until(() => store.watchers(id) === 0);
  });

  test("a reader that stops reading costs little, and is cut off", async () => {
    const harness = startHarness();
    const { store, clock } = harness;
    const id = await harness.create();
    for (let i = 0; i < 400; i++) store.append(id, "terminal", { output: "x".repeat(200_000) });
    let charsRead = 0;
    const read = store.readEventRows.bind(store);
    store.readEventRows = async (session, query, viewer) => {
      const rows = await read(session, query, viewer);
      charsRead += rows.reduce((sum, row) => sum + row.dataJson.length, 0);
      return rows;
    };
    const { port } = await listen(harness);
    const socket = await openRaw(port, `/v1/sessions/${id}/stream`);
    // Nothing is read from this socket: the kernel's buffers fill, then the server has to wait.
    let before = -1;
    while (before !== charsRead) {
      before = charsRead;
      for (let i = 0; i < 1_000; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(charsRead).toBeLessThan(40_000_000);
    expect(store.watchers(id)).toBe(1);
    clock.advance(STALL_MS);
    expect(store.watchers(id)).toBe(0);
    socket.resume();
    await once(socket, "close");
    const metrics = await (await harness.call("GET", "/metrics")).text();
    expect(metrics).toContain('stint_stream_disconnects_total{reason="stalled"} 1');
  });

  test("a client that breaks the connection frees everything", async () => {
    const harness = startHarness();
    const id = await harness.create();
    const { url } = await listen(harness);
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => ask(`${url}/v1/sessions/${id}/stream`)),
    );
    expect(harness.store.watchers(id)).toBe(20);
    for (const { request, answer } of clients) {
      answer.on("error", () => undefined);
      request.destroy();
    }
    await until(() => harness.store.watchers(id) === 0);
  });
});

describe("closing", () => {
  test("ends the streams cleanly, and a reader goes on by its cursor at the next server", async () => {
    const harness = startHarness();
    const { store } = harness;
    const id = await harness.create();
    const server = await listen(harness);
    const { answer } = await ask(`${server.url}/v1/sessions/${id}/stream`);
    let text = "";
    answer.on("data", (piece: Buffer) => (text += piece.toString()));
    await until(() => text.includes("id: 1\n"));
    const ended = once(answer, "end");
    await server.close();
    await ended;
    expect(answer.complete).toBe(true);
    expect(store.watchers(id)).toBe(0);
    await expect(fetch(`${server.url}/healthz`)).rejects.toThrow();
    store.append(id, "terminal", {});
    const next = startHarness({ store: store.asStore() });
    const second = await listen(next);
    const { answer: rest } = await ask(`${second.url}/v1/sessions/${id}/stream`, {
      "last-event-id": "1",
    });
    const [piece] = (await once(
      rest.on("data", () => undefined),
      "data",
    )) as [Buffer];
    expect(piece.toString()).not.toContain("id: 1\n");
    rest.on("error", () => undefined);
    rest.destroy();
  });

  test("waits for no connection that is kept alive", async () => {
    const harness = startHarness();
    const id = await harness.create();
    const { url, close } = await listen(harness);
    const headers = { authorization: `Bearer ${TOKEN}` };
    const idle = await fetch(`${url}/healthz`);
    await idle.text();
    const stream = await fetch(`${url}/v1/sessions/${id}/stream`, { headers });
    const startedAt = performance.now();
    const [text] = await Promise.all([stream.text(), close()]);
    expect(text).toContain("id: 1\n");
    // Left alone, the client keeps an idle connection for 3 s, and Node for 5.
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test("is bounded although a client holds on, and the same for everybody who asks", async () => {
    const harness = startHarness();
    const id = await harness.create();
    const { store, clock } = harness;
    for (let i = 0; i < 400; i++) store.append(id, "terminal", { output: "x".repeat(200_000) });
    const server = await listen(harness);
    const socket = await openRaw(server.port, `/v1/sessions/${id}/stream`);
    await until(() => store.watchers(id) === 1 && store.reads === 0);
    const closing = server.close();
    expect(server.close()).toBe(closing);
    const refused = await harness.call("GET", "/readyz");
    expect(refused.status).toBe(503);
    const stream = await harness.call("GET", `/v1/sessions/${id}/stream`);
    expect(stream.status).toBe(503);
    clock.advance(harness.options.config.shutdownGraceMs);
    await closing;
    socket.destroy();
    expect(clock.timerCount).toBe(0);
  });
});

async function openRaw(port: number, path: string): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  await once(socket, "connect");
  socket.pause();
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`,
  );
  return socket;
}

async function exchange(port: number, text: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let answer = "";
  socket.on("data", (piece) => (answer += piece.toString()));
  socket.write(text);
  await once(socket, "close");
  return answer;
}

/** Numbers in [0, 1) that are the same in every run. */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
