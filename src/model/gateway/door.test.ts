import { once } from "node:events";
import { stat } from "node:fs/promises";
import { createServer as createHttpServer, request as sendRequest } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { openDoor, type OpenDoor, SOCKET_PATH_BYTES_MAX } from "./door.ts";
import { Egress, TUNNELS_MAX } from "./egress.ts";
import { EgressList } from "./egress-list.ts";
import { LineLog } from "./harness.testsuite.ts";

const log = new LineLog();
const closers: (() => Promise<void> | void)[] = [];
const names = new Map<string, string[]>();
let open: OpenDoor;
let handle: (request: Request) => Promise<Response>;

const resolve = (host: string): Promise<string[]> => Promise.resolve(names.get(host) ?? []);

const logins: string[] = [];
const onLogin = ({ code }: { code: string }): void => void logins.push(code);

async function reopen(allow: readonly string[] = []): Promise<void> {
  await open?.close();
  open = await openDoor({
    handle: (request) => handle(request),
    egress: new Egress({ list: new EgressList(allow), log, resolve, onLogin }),
    bridgePath: "/bridge.js",
    ...{ log, onLogin },
  });
}

beforeEach(async () => {
  log.lines.length = 0;
  logins.length = 0;
  names.clear();
  handle = async (request) =>
    new Response(`${request.method} ${new URL(request.url).pathname} ${await request.text()}`);
  await reopen();
});

afterEach(async () => {
  await open.close();
  for (const close of closers.splice(0)) await close();
});

/** A request by the socket, as a bridge passes it on. */
function askSocket(headers: Record<string, string>): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const { socketPath } = open.door;
    const path = "/anthropic/v1/messages";
    const request = sendRequest({ socketPath, path, method: "POST", headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on("error", reject);
    request.end("body");
  });
}

it("opens on a socket that only its owner can use, with a path that fits everywhere", async () => {
  const { socketPath } = open.door;
  expect(Buffer.byteLength(socketPath)).toBeLessThanOrEqual(SOCKET_PATH_BYTES_MAX);
  expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
  expect((await stat(dirname(socketPath))).mode & 0o777).toBe(0o700);
  await open.close();
  await expect(stat(socketPath)).rejects.toMatchObject({ code: "ENOENT" });
});

it("takes the token in the place where each agent puts its key, on both ways in", async () => {
  const { token, tcpUrl } = open.door;
  const told = "POST /anthropic/v1/messages body";
  const places = [{ authorization: `Bearer ${token}` }, { "x-api-key": token }];
  for (const headers of [...places, { "x-goog-api-key": token }, { "api-key": token }]) {
    expect(await askSocket(headers as Record<string, string>)).toEqual({ status: 200, text: told });
  }
  const byQuery = await fetch(`${tcpUrl}/gemini/v1beta/models?key=${token}`);
  expect(byQuery.status).toBe(200);
});

it("turns away the login of an account, and tells of it where only the agent can knock", async () => {
  handle = vi.fn();
  const headers = { authorization: "Bearer sk-ant-oat01-canary" };
  const { tcpUrl, token } = open.door;
  const onPort = await fetch(`${tcpUrl}/anthropic/v1/messages`, { method: "POST", headers });
  expect(onPort.status).toBe(403);
  expect(logins).toEqual([]);
  const { status, text } = await askSocket(headers);
  expect({ status, text }).toMatchObject({ status: 403, text: expect.stringContaining("metered") });
  expect(text).not.toContain("canary");
  expect(logins).toEqual(["model_login_unsupported"]);
  expect(handle).not.toHaveBeenCalled();
  // The token is the only credential: what is said beside it says nothing.
  handle = () => Promise.resolve(new Response("told"));
  const beside = { authorization: `Bearer ${token}`, "anthropic-beta": "oauth-2025-04-20" };
  expect((await askSocket(beside)).status).toBe(200);
});

it("turns away who has no token, and an agent of another attempt", async () => {
  const first = open.door.token;
  handle = vi.fn();
  expect(await askSocket({})).toMatchObject({ status: 401 });
  expect(await askSocket({ "x-api-key": "stint-guess" })).toMatchObject({ status: 401 });
  await reopen();
  expect(await askSocket({ "x-api-key": first })).toMatchObject({ status: 401 });
  expect(handle).not.toHaveBeenCalled();
});

it("tells the handler that a client has gone", async () => {
  const gone = vi.fn();
  handle = async (request) => {
    request.signal.addEventListener("abort", gone);
    return new Response(new ReadableStream({ start: (c) => c.enqueue(new Uint8Array(9)) }));
  };
  const client = new AbortController();
  const headers = { "x-api-key": open.door.token };
  const response = await fetch(`${open.door.tcpUrl}/a`, { headers, signal: client.signal });
  await response.body!.getReader().read();
  client.abort();
  await expect.poll(() => gone).toHaveBeenCalled();
});

it("cuts an answer that breaks off, so that no client takes it for whole", async () => {
  handle = async () =>
    new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode("data: 1\n\n"));
          setTimeout(() => controller.error(new Error("broken")), 20);
        },
      }),
    );
  const headers = { "x-api-key": open.door.token };
  const response = await fetch(`${open.door.tcpUrl}/a`, { headers });
  await expect(response.text()).rejects.toThrow();
});

/** A host of the outside world, on loopback. */
async function startHost(): Promise<number> {
  const server = createHttpServer((request, response) => {
    response.end(`${request.method} ${request.url} ${request.headers["proxy-authorization"]}`);
  });
  closers.push(
    () => void server.closeAllConnections(),
    () => void server.close(),
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

/** Asks the proxy for a tunnel; resolves with the first line of its answer. */
async function tunnelTo(authority: string, token = open.door.token): Promise<string> {
  const socket = connect(Number(new URL(open.door.tcpUrl).port), "127.0.0.1");
  closers.push(() => void socket.destroy());
  const basic = Buffer.from(`stint:${token}`).toString("base64");
  socket.write(
    `CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\nproxy-authorization: Basic ${basic}\r\n\r\n`,
  );
  const [answer] = (await once(socket, "data")) as [Buffer];
  const first = answer.toString().split("\r\n")[0] ?? "";
  if (!first.includes("200")) return answer.toString();
  socket.write("GET /inside HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  const [inside] = (await once(socket, "data")) as [Buffer];
  return `${first} | ${inside.toString().split("\r\n\r\n")[1] ?? ""}`;
}

it("lets nobody reach a place of logins, and tells of it where the list has it", async () => {
  expect(await tunnelTo("chatgpt.com:443")).toContain("not on the list");
  expect(logins).toEqual([]);
  await reopen(["chatgpt.com", "*.googleapis.com"]);
  for (const host of ["chatgpt.com", "cloudcode-pa.googleapis.com"]) {
    expect(await tunnelTo(`${host}:443`)).toContain("model_login_unsupported");
  }
  expect(logins).toEqual(["model_login_unsupported", "model_login_unsupported"]);
});

it("lets agents reach a listed host, by tunnel and by plain HTTP", async () => {
  const port = await startHost();
  names.set("registry.example", ["127.0.0.1"]);
  await reopen([`registry.example:${port}`, `127.0.0.1:${port}`]);
  expect(await tunnelTo(`registry.example:${port}`)).toContain("200");
  const basic = `Basic ${Buffer.from(`stint:${open.door.token}`).toString("base64")}`;
  const text = await new Promise<string>((resolve, reject) => {
    const { port: proxyPort } = new URL(open.door.tcpUrl);
    const request = sendRequest(
      {
        ...{ host: "127.0.0.1", port: proxyPort, path: `http://registry.example:${port}/a?b=1` },
        headers: { "proxy-authorization": basic, host: `registry.example:${port}` },
      },
      (response) => {
        let body = "";
        response.on("data", (chunk: Buffer) => (body += chunk.toString()));
        response.on("end", () => resolve(body));
      },
    );
    request.on("error", reject);
    request.end();
  });
  expect(text).toBe("GET /a?b=1 undefined");
});

/** A proxied request of plain HTTP; resolves with the status and the body. */
function forwardTo(url: string, headers: Record<string, string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const { port } = new URL(open.door.tcpUrl);
    const request = sendRequest({ host: "127.0.0.1", port, path: url, headers }, (response) => {
      let body = "";
      response.on("data", (chunk: Buffer) => (body += chunk.toString()));
      response.on("end", () => resolve(`${response.statusCode} ${body}`));
    });
    closers.push(() => void request.destroy());
    request.on("error", reject);
    request.end();
  });
}

const authorize = (token: string): string =>
  `Basic ${Buffer.from(`stint:${token}`).toString("base64")}`;

it("tells programs the proxy and what needs none, with a password that opens no model", async () => {
  await reopen(["registry.example"]);
  const env = open.door.proxyEnvironmentAt("http://127.0.0.1:4010");
  const password = new URL(env["HTTP_PROXY"] ?? "").password;
  const proxy = `http://stint:${password}@127.0.0.1:4010`;
  const direct = "127.0.0.1,localhost,127.0.0.1:4010";
  expect(env).toEqual({
    ...{ HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NO_PROXY: direct },
    ...{ http_proxy: proxy, https_proxy: proxy, no_proxy: direct },
  });
  expect(await askSocket({ "x-api-key": password })).toMatchObject({ status: 401 });
  expect(await askSocket({ "x-api-key": open.door.token })).toMatchObject({ status: 200 });
  const port = await startHost();
  await reopen([`127.0.0.1:${port}`]);
  const listed = open.door.proxyEnvironmentAt("http://127.0.0.1:4010");
  expect(listed["no_proxy"]).toBe("localhost,127.0.0.1:4010");
  const ours = new URL(listed["http_proxy"] ?? "").password;
  expect(await tunnelTo(`127.0.0.1:${port}`, ours)).toContain("200");
});

it("answers for models also where a program asks its proxy for them", async () => {
  await reopen(["127.0.0.1:1"]);
  const url = "http://127.0.0.1:4010/anthropic/v1/models";
  expect(await forwardTo(url, { "x-api-key": open.door.token })).toBe(
    "200 GET /anthropic/v1/models ",
  );
  expect(await forwardTo(url, {})).toContain("401");
});

it("lets in only so many at a time, requests of plain HTTP among them", async () => {
  const mute = createServer((socket: Socket) => void socket.on("error", () => undefined));
  let connections = 0;
  mute.on("connection", () => connections++);
  closers.push(() => void mute.close());
  await once(mute.listen(0, "127.0.0.1"), "listening");
  const { port } = mute.address() as AddressInfo;
  await reopen([`127.0.0.1:${port}`]);
  const headers = { "proxy-authorization": authorize(open.door.token) };
  for (let count = 0; count < TUNNELS_MAX; count++) {
    forwardTo(`http://127.0.0.1:${port}/`, headers).catch(() => undefined);
  }
  await expect.poll(() => connections).toBe(TUNNELS_MAX);
  expect(await forwardTo(`http://127.0.0.1:${port}/`, headers)).toContain("too many connections");
  expect(await tunnelTo(`127.0.0.1:${port}`)).toContain("too many connections");
});

it.each([
  ["is not listed", "other.example:443", "not on the list"],
  ["is listed with another port", "registry.example:22", "not on the list"],
  ["is only like a listed one", "evil-registry.example:443", "not on the list"],
  ["leads into a private network", "inside.example:443", "private network"],
  ["is this host, written otherwise", "0x7f000001:443", "not on the list"],
  ["is this host in IPv6 clothes", "[::ffff:127.0.0.1]:443", "not on the list"],
  ["has no address", "registry.example:443", "no address"],
  ["is no host", "a b:443", "names no host"],
])("refuses a host that %s, and says so", async (_, authority, said) => {
  names.set("inside.example", ["169.254.169.254"]);
  await reopen(["registry.example", "*.example.org", "inside.example"]);
  expect(await tunnelTo(authority)).toMatch(new RegExp(`403 Forbidden[^]*${said}|400 Bad`));
  // What is no request at all is turned away before it comes so far.
  expect(authority.includes(" ") || log.lines.join().includes(said)).toBe(true);
});

it("reaches nothing without a list, and lets no one in without the token", async () => {
  const port = await startHost();
  expect(open.door.proxyEnvironmentAt("http://x")).toEqual({});
  expect(await tunnelTo(`127.0.0.1:${port}`)).toContain("403 Forbidden");
  await reopen([`127.0.0.1:${port}`]);
  expect(await tunnelTo(`127.0.0.1:${port}`, "wrong")).toContain("407");
  expect(await tunnelTo(`127.0.0.1:${port}`)).toContain("200");
});

it("closes tunnels with the door", async () => {
  const host = createServer((socket: Socket) => socket.write("hello"));
  closers.push(() => void host.close());
  await once(host.listen(0, "127.0.0.1"), "listening");
  const { port } = host.address() as AddressInfo;
  await reopen([`127.0.0.1:${port}`]);
  const socket = connect(Number(new URL(open.door.tcpUrl).port), "127.0.0.1");
  const basic = Buffer.from(`x:${open.door.token}`).toString("base64");
  socket.write(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nproxy-authorization: Basic ${basic}\r\n\r\n`);
  await once(socket, "data");
  const closed = once(socket, "close");
  await open.close();
  await closed;
});
