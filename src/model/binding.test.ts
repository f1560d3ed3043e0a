import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { inspect } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { bindModel } from "./binding.ts";

const KEY = "sk-very-secret";
const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

/** A server that keeps what it is sent. */
async function startServer(
  status = 200,
  headers: Record<string, string> = {},
): Promise<{ url: string; received: IncomingMessage[] }> {
  const received: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    received.push(request);
    response.writeHead(status, headers).end("{}");
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

const bind = (model: string, env: Record<string, string | undefined>, scriptedBaseUrl?: string) =>
  bindModel({
    model,
    env,
    sessionId: "s 1",
    ...(scriptedBaseUrl === undefined ? {} : { scriptedBaseUrl }),
  });

describe("bindModel", () => {
  it("binds the vendors' own APIs by default", () => {
    expect(bind("anthropic:claude-x", { ANTHROPIC_API_KEY: KEY })).toMatchObject({
      wire: "anthropic",
      modelName: "claude-x",
      baseUrl: "https://api.anthropic.com/v1",
    });
    expect(bind("openai:gpt-x", { OPENAI_API_KEY: KEY })).toMatchObject({
      wire: "openai",
      modelName: "gpt-x",
      baseUrl: "https://api.openai.com/v1",
    });
  });

  it.each([
    ["http://localhost:1", "http://localhost:1/v1"],
    ["http://localhost:1/", "http://localhost:1/v1"],
    ["https://proxy.example/anthropic", "https://proxy.example/anthropic/v1"],
    ["https://proxy.example/anthropic/v1/", "https://proxy.example/anthropic/v1"],
  ])("reads ANTHROPIC_BASE_URL=%s as %s", (given, baseUrl) => {
    const env = { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: given };
    expect(bind("anthropic:m", env).baseUrl).toBe(baseUrl);
  });

  it("takes OPENAI_BASE_URL as it is", () => {
    const env = { OPENAI_BASE_URL: "http://localhost:11434/api/" };
    expect(bind("openai:m", env).baseUrl).toBe("http://localhost:11434/api");
  });

  it.each([
    ["anthropic:m", {}, "ANTHROPIC_API_KEY"],
    ["anthropic:m", { ANTHROPIC_API_KEY: " " }, "ANTHROPIC_API_KEY"],
    ["anthropic:m", { ANTHROPIC_BASE_URL: "http://localhost:1" }, "ANTHROPIC_API_KEY"],
    ["openai:m", { ANTHROPIC_API_KEY: KEY, OPENAI_BASE_URL: "" }, "OPENAI_API_KEY"],
  ])("refuses %s with %j and names %s", (model, env, variable) => {
    expect(() => bind(model, env)).toThrow(
      expect.objectContaining({
        code: "model_key_missing",
        message: expect.stringContaining(variable),
      }),
    );
  });

  it.each(["localhost:1", "file:///etc/passwd", "http://a:b@host/", "http://host/?key=1", "x"])(
    "refuses OPENAI_BASE_URL=%s and names the variable",
    (given) => {
      expect(() => bind("openai:m", { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: given })).toThrow(
        expect.objectContaining({
          code: "config_invalid",
          message: expect.stringContaining("OPENAI_BASE_URL"),
        }),
      );
    },
  );

  it("refuses a broken key without showing it", () => {
    expect(() => bind("openai:m", { OPENAI_API_KEY: `${KEY}\nx` })).toThrow(
      expect.objectContaining({
        code: "config_invalid",
        message: expect.not.stringContaining(KEY),
      }),
    );
  });

  it("refuses unknown models, and the scripted one where none runs", () => {
    expect(() => bind("gpt", {})).toThrow(expect.objectContaining({ code: "model_unknown" }));
    expect(() => bind("scripted", {})).toThrow(expect.objectContaining({ code: "model_unknown" }));
  });

  it("binds the scripted model to its session, on either wire, and sends it no key", async () => {
    const { url, received } = await startServer();
    const env = { ANTHROPIC_API_KEY: KEY };
    const binding = bind("scripted", env, `${url}/`);
    expect(binding).toMatchObject({ wire: "anthropic", modelName: "scripted" });
    expect(binding.baseUrl).toBe(`${url}/sessions/s%201/anthropic/v1`);
    await binding.fetch(`${binding.baseUrl}/messages`, { headers: { "x-api-key": "unused" } });
    expect(received[0]?.headers["x-api-key"]).toBeUndefined();
    const other = bindModel({
      model: "scripted",
      env,
      sessionId: "s",
      scriptedBaseUrl: url,
      scriptedWire: "openai",
    });
    expect(other).toMatchObject({ wire: "openai", baseUrl: `${url}/sessions/s/openai/v1` });
  });

  it("holds the key in no field", () => {
    const binding = bind("anthropic:m", { ANTHROPIC_API_KEY: KEY });
    const shown = inspect(binding, { depth: 10, showHidden: true });
    expect(shown + JSON.stringify(binding) + String(binding.fetch)).not.toContain(KEY);
  });
});

describe("the fetch of a binding", () => {
  it("replaces what a client sends as key", async () => {
    const { url, received } = await startServer();
    const headers = { authorization: "Bearer fake", "x-api-key": "fake", "x-other": "kept" };
    const anthropic = bind("anthropic:m", { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: url });
    await anthropic.fetch(`${anthropic.baseUrl}/messages`, { method: "POST", headers });
    expect(received[0]?.headers).toMatchObject({ "x-api-key": KEY, "x-other": "kept" });
    expect(received[0]?.headers.authorization).toBeUndefined();

    const openai = bind("openai:m", { OPENAI_API_KEY: ` ${KEY}\n`, OPENAI_BASE_URL: url });
    await openai.fetch(new Request(`${openai.baseUrl}/chat/completions`, { headers }));
    expect(received[1]?.headers).toMatchObject({
      authorization: `Bearer ${KEY}`,
      "x-other": "kept",
    });
    expect(received[1]?.headers["x-api-key"]).toBeUndefined();

    const keyless = bind("openai:m", { OPENAI_BASE_URL: url });
    await keyless.fetch(new URL(`${keyless.baseUrl}/models`), { headers });
    expect(received[2]?.headers.authorization).toBeUndefined();
  });

  it("sends nothing to an address outside the base URL", async () => {
    const other = await startServer();
    const { url, received } = await startServer();
    const { fetch } = bind("anthropic:m", { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: url });
    for (const address of [`${other.url}/v1/messages`, `${url}/admin`, `${url}/v1/../admin`]) {
      await expect(fetch(address)).rejects.toMatchObject({ code: "model_error" });
    }
    expect([...received, ...other.received]).toEqual([]);
  });

  it.each([301, 302, 307, 308])(
    "carries no key along a redirect with status %i",
    async (status) => {
      const thief = await startServer();
      const { url } = await startServer(status, { location: `${thief.url}/v1/messages` });
      const env = { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: url };
      const { fetch, baseUrl } = bind("anthropic:m", env);
      await expect(fetch(`${baseUrl}/messages`, { method: "POST", body: "{}" })).rejects.toThrow(
        expect.objectContaining({
          code: "model_error",
          message: expect.stringContaining(`redirects to ${thief.url}`),
        }),
      );
      expect(thief.received).toEqual([]);
    },
  );
});
