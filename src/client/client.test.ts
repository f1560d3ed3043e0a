import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createClient, StintApiError } from "../client.ts";
import { FAKE_TOKEN, startFakeServer, type FakeServer } from "./fake-server.testsuite.ts";

let server: FakeServer;
beforeEach(async () => (server = await startFakeServer()));
afterEach(() => server.close());

const connect = (token = FAKE_TOKEN) => createClient({ url: server.url, token });

describe("createClient", () => {
  it("creates a session and sends the idempotency key", async () => {
    const session = await connect().sessions.create(
      { prompt: "Do it", keepOpen: true },
      { idempotencyKey: "k1" },
    );
    expect(session.prompt).toBe("Do it");
    expect(server.seen[0]?.headers["idempotency-key"]).toBe("k1");
    expect(server.seen[0]?.body).toEqual({ prompt: "Do it", keepOpen: true });
  });

  it("lists with filters, reads by prefix, and commands", async () => {
    const { id } = server.addSession({ status: "active" });
    server.addSession({ status: "failed" });
    const { sessions } = connect();
    const page = await sessions.list({ status: ["active", "paused"], limit: 5 });
    expect(page.sessions.map((session) => session.id)).toEqual([id]);
    expect((await sessions.get(id.slice(0, 8))).id).toBe(id);
    expect((await sessions.pause(id)).status).toBe("paused");
    expect((await sessions.resume(id)).status).toBe("paused");
    expect((await sessions.sendMessage(id, "Also this")).lastSeq).toBe(1);
    expect((await sessions.cancel(id)).status).toBe("failed");
    expect((await sessions.events(id, { type: ["user_message"] })).events).toHaveLength(1);
    expect((await sessions.diff(id)).files).toEqual([]);
    await expect(sessions.delete(id)).resolves.toBeUndefined();
    expect(await connect().workers.list()).toHaveLength(1);
    expect((await connect().stats()).workers).toBe(1);
  });

  it("keeps the slash of an id inside its segment", async () => {
    await expect(connect().sessions.get("../workers")).rejects.toMatchObject({
      code: "session_not_found",
    });
    expect(server.seen[0]?.path).toBe("/v1/sessions/..%2Fworkers");
  });

  it("throws the server's problem with code, status, remedy and fields", async () => {
    const body = { code: "inbox_full", detail: "1000 messages wait", limit: 1000, remedy: "Wait." };
    server.nextAnswer = {
      status: 429,
      body: JSON.stringify(body),
      headers: { "content-type": "application/problem+json", "retry-after": "3" },
    };
    const error = await connect()
      .stats()
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(StintApiError);
    expect(error).toMatchObject({
      code: "inbox_full",
      status: 429,
      message: "1000 messages wait",
      remedy: "Wait.",
      retryable: true,
      retryAfterMs: 3_000,
      fields: { limit: 1000 },
    });
  });

  it("keeps a code that it does not know", async () => {
    server.nextAnswer = { status: 409, body: JSON.stringify({ code: "moon_full", detail: "x" }) };
    await expect(connect().stats()).rejects.toMatchObject({ code: "moon_full", retryable: false });
  });

  it.each([
    [401, "<html>", "unauthorized"],
    [502, "Bad gateway", "server_unreachable"],
    [500, "", "internal"],
    [200, "<html>", "server_unreachable"],
  ])("names a %i answer of something else (%j) %s", async (status, body, code) => {
    server.nextAnswer = { status, body };
    await expect(connect().stats()).rejects.toMatchObject({ code });
  });

  it("says server_unreachable and why when nothing answers", async () => {
    await server.close();
    await expect(connect().stats()).rejects.toMatchObject({
      code: "server_unreachable",
      status: 0,
      retryable: true,
      message: expect.stringContaining("connection refused") as string,
    });
    server = await startFakeServer();
  });

  it("follows no redirect, which would carry the token elsewhere", async () => {
    server.nextAnswer = { status: 302, body: "", headers: { location: "http://127.0.0.1:1/" } };
    await expect(connect().stats()).rejects.toMatchObject({ code: "server_unreachable" });
    expect(server.seen).toHaveLength(1);
  });

  it("rejects with the caller's own reason when its signal aborts", async () => {
    const reason = new Error("enough");
    await expect(connect().stats({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("refuses a URL that is none", () => {
    expect(() => createClient({ url: "ftp://x" })).toThrow(TypeError);
  });
});
