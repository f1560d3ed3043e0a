import { describe, expect, test } from "vitest";
import { StintError, type ErrorCode } from "../core/error.ts";
import { PROMPT_BYTES_MAX } from "../core/session.ts";
import { createServer } from "./app.ts";
import { STRANGER_TOKEN, startHarness, TOKEN, type Harness } from "./harness.testsuite.ts";
import { problemSchema, sessionListSchema, sessionSchema } from "./schema.ts";
import { eventListSchema, statsSchema, workerListSchema } from "./schema.ts";

const NOBODY = "00000000-0000-4000-8000-00000000dead";

async function expectProblem(
  response: Response,
  code: ErrorCode,
  detail = /./,
): Promise<Record<string, unknown>> {
  const text = await response.text();
  expect(text).toContain(`"code":"${code}"`);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = problemSchema.parse(JSON.parse(text));
  expect(problem.status).toBe(response.status);
  expect(problem.detail).toMatch(detail);
  expect(text).not.toMatch(/node_modules|\.ts:\d|\bat \w+ \(/);
  return problem as unknown as Record<string, unknown>;
}

describe("creating a session", () => {
  test("answers the pending session with its place", async () => {
    const { call } = startHarness();
    const response = await call("POST", "/v1/sessions", { prompt: "fix it" });
    expect(response.status).toBe(201);
    const session = sessionSchema.parse(await response.json());
    expect(session).toMatchObject({ status: "pending", prompt: "fix it", agent: "builtin" });
    expect(session.workspace).toEqual({
      ...{ mode: "copy", source: null, ref: null, path: null },
      ...{ host: null, snapshotId: null, snapshotStore: null },
    });
    expect(response.headers.get("location")).toBe(`/v1/sessions/${session.id}`);
  });

  test("keeps everything that was asked for", async () => {
    const { call } = startHarness();
    const response = await call("POST", "/v1/sessions", {
      prompt: "go",
      agent: "acp",
      model: "anthropic:claude",
      workspace: { mode: "in-place", source: "/srv/app" },
      recovery: "adopt",
      limits: { idleTimeoutMs: 5_000, deadlineMs: null },
      keepOpen: true,
      metadata: { team: "web", nested: { n: 1 } },
    });
    const session = sessionSchema.parse(await response.json());
    expect(session).toMatchObject({
      agent: "acp",
      model: "anthropic:claude",
      workspace: { mode: "in-place", source: "/srv/app" },
      recovery: "adopt",
      keepOpen: true,
      metadata: { team: "web", nested: { n: 1 } },
    });
    expect(session.limits).toMatchObject({ idleTimeoutMs: 5_000, maxIterations: 100 });
  });

  test("a script chooses the scripted model", async () => {
    const { call } = startHarness();
    const body = { prompt: "go", script: [{ text: "Done." }] };
    const session = await (await call("POST", "/v1/sessions", body)).json();
    expect(session).toMatchObject({ model: "scripted" });
  });

  const refusals: [string, unknown, ErrorCode, RegExp][] = [
    ["no prompt", {}, "invalid_request", /^prompt: is required/],
    ["a prompt of another type", { prompt: 7 }, "invalid_request", /^prompt: expected string/],
    ["an empty prompt", { prompt: " \n" }, "prompt_empty", /prompt/],
    [
      "a long prompt",
      { prompt: "é".repeat(PROMPT_BYTES_MAX / 2 + 1) },
      "prompt_too_large",
      /262144/,
    ],
    ["a prompt with NUL", { prompt: "a\0b" }, "invalid_request", /^prompt: must not hold a NUL/],
    ["half a pair", { prompt: "a\ud800" }, "invalid_request", /surrogate/],
    ["a slip in a key", { prompt: "x", agnet: "acp" }, "invalid_request", /did you mean agent\?/],
    ["a far key", { prompt: "x", zzzzzzzz: 1 }, "invalid_request", /known are prompt, agent/],
    ["a key __proto__", '{"prompt":"x","__proto__":{}}', "invalid_request", /__proto__/],
    [
      "a slip inside limits",
      { prompt: "x", limits: { idleTimeoutMS: 1 } },
      "invalid_request",
      /limits\.idleTimeoutMS: is unknown; did you mean idleTimeoutMs\?/,
    ],
    [
      "a limit of 0",
      { prompt: "x", limits: { maxIterations: 0 } },
      "invalid_request",
      /^limits\.maxIterations: must be at least 1$/,
    ],
    [
      "a slip in workspace",
      { prompt: "x", workspace: { sorce: "/" } },
      "invalid_request",
      /source/,
    ],
    [
      "in-place nowhere",
      { prompt: "x", workspace: { mode: "in-place" } },
      "invalid_request",
      /needs/,
    ],
    [
      "an unknown agent",
      { prompt: "x", agent: "acpp" },
      "agent_unknown",
      /mean acp\?.*builtin, acp/,
    ],
    ["an unknown model", { prompt: "x", model: "gpt" }, "model_unknown", /openai:NAME/],
    ["a wrong script", { prompt: "x", script: [{ bsh: "ls" }] }, "script_invalid", /Step 0/],
    ["a missing script", { prompt: "x", model: "scripted" }, "script_missing", /script/],
    [
      "a script for a real model",
      { prompt: "x", model: "openai:m", script: [{ text: "x" }] },
      "script_invalid",
      /scripted/,
    ],
    ["metadata of a list", { prompt: "x", metadata: [] }, "invalid_request", /^metadata: expected/],
    [
      "big metadata",
      { prompt: "x", metadata: { a: "x".repeat(17_000) } },
      "payload_too_large",
      /16384/,
    ],
    ["deep metadata", `{"prompt":"x","metadata":${nest(40)}}`, "invalid_request", /nested deeper/],
    ["a NUL in metadata", { prompt: "x", metadata: { "a\0": 1 } }, "invalid_request", /NUL/],
    ["no object", "[]", "invalid_request", /^body: expected object/],
    ["no JSON", "{prompt}", "invalid_request", /^the body is no JSON/],
    ["nothing", "", "invalid_request", /^the body is no JSON/],
  ];
  test.each(refusals)("refuses %s", async (_, body, code, detail) => {
    const { call, store } = startHarness();
    await expectProblem(await call("POST", "/v1/sessions", body), code, detail);
    expect(store.entries.size).toBe(0);
  });

  test("refuses a deep script and deep unknown values without running out of stack", async () => {
    const { call } = startHarness();
    const deep = nest(100_000);
    const script = await call("POST", "/v1/sessions", `{"prompt":"x","script":[${deep}]}`);
    await expectProblem(script, "script_invalid");
    const metadata = await call("POST", "/v1/sessions", `{"prompt":"x","metadata":${deep}}`);
    await expectProblem(metadata, "invalid_request");
  });

  test("refuses a body that is no UTF-8 and one of another type", async () => {
    const { app, call } = startHarness();
    const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
    const body = new Uint8Array([0x22, 0xff, 0x22]);
    const bytes = await app.request("/v1/sessions", { method: "POST", headers, body });
    await expectProblem(bytes, "invalid_request", /UTF-8/);
    const type = { "content-type": "text/plain" };
    const text = await call("POST", "/v1/sessions", { prompt: "x" }, type);
    await expectProblem(text, "invalid_request", /application\/json/);
  });

  test("refuses a body over the bound before it is read whole", async () => {
    const { app } = startHarness();
    let pulled = 0;
    const body = new ReadableStream({
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new Uint8Array(1_048_576).fill(0x20));
      },
    });
    const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
    const init = { method: "POST", headers, body, duplex: "half" };
    const response = await app.request("/v1/sessions", init as RequestInit);
    await expectProblem(response, "payload_too_large");
    expect(pulled).toBeLessThan(10);
    const declared = { ...headers, "content-length": "99999999" };
    const second = await app.request("/v1/sessions", {
      method: "POST",
      headers: declared,
      body: "{}",
    });
    await expectProblem(second, "payload_too_large");
  });

  test("the injected check decides about model and workspace, and may refuse", async () => {
    const { call, store } = startHarness({
      checkSession: (draft) => {
        if (draft.model === "openai:none")
          throw new StintError("model_key_missing", "OPENAI_API_KEY");
        return Promise.resolve({
          model: "anthropic:default",
          workspace: { mode: "in-place", source: "/real" },
          inPlacePath: "/real",
        });
      },
    });
    const session = await (await call("POST", "/v1/sessions", { prompt: "x" })).json();
    expect(session).toMatchObject({ model: "anthropic:default", workspace: { source: "/real" } });
    const refused = await call("POST", "/v1/sessions", { prompt: "x", model: "openai:none" });
    await expectProblem(refused, "model_key_missing");
    expect(store.entries.size).toBe(1);
  });

  test("a repeated key answers the first session, with another body it is refused", async () => {
    const { call, store } = startHarness();
    const key = { "idempotency-key": "k-1" };
    const first = await call(
      "POST",
      "/v1/sessions",
      { prompt: "a", metadata: { x: 1, y: 2 } },
      key,
    );
    expect(first.headers.has("idempotency-replayed")).toBe(false);
    const again = await call(
      "POST",
      "/v1/sessions",
      { metadata: { y: 2, x: 1 }, prompt: "a" },
      key,
    );
    expect(again.status).toBe(201);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await again.json()).toMatchObject({ id: ((await first.json()) as { id: string }).id });
    const other = await call("POST", "/v1/sessions", { prompt: "b" }, key);
    await expectProblem(other, "idempotency_key_reused");
    expect(other.status).toBe(422);
    expect(store.entries.size).toBe(1);
    const bad = await call("POST", "/v1/sessions", { prompt: "a" }, { "idempotency-key": "ü" });
    await expectProblem(bad, "invalid_request", /Idempotency-Key/);
  });
});

describe("finding sessions", () => {
  test("an id, its upper case and a unique beginning name the same session", async () => {
    const { call, create } = startHarness();
    const id = await create();
    for (const name of [id, id.toUpperCase(), id.slice(0, 8), id.slice(0, 13), id.slice(0, 4)]) {
      const response = await call("GET", `/v1/sessions/${name}`);
      expect(sessionSchema.parse(await response.json()).id).toBe(id);
    }
  });

  test("refuses an unknown id, one too short and one that several sessions share", async () => {
    const { call, create, store } = startHarness();
    const id = await create();
    const twin = `${id.slice(0, 9)}ffff${id.slice(13)}`;
    const entry = store.entries.get(id) as NonNullable<ReturnType<typeof store.entries.get>>;
    store.entries.set(twin, { ...entry, session: { ...entry.session, id: twin } });
    await expectProblem(await call("GET", `/v1/sessions/${id.slice(0, 8)}`), "id_ambiguous");
    await expectProblem(await call("GET", `/v1/sessions/${NOBODY}`), "session_not_found");
    for (const name of [id.slice(0, 3), "---a", "zzzz", "%00%00%00%00", "a".repeat(300)]) {
      await expectProblem(await call("GET", `/v1/sessions/${name}`), "session_not_found");
    }
  });

  test("lists pages by state and agent", async () => {
    const { call, create, store } = startHarness();
    const ids = [await create(), await create(), await create({ agent: "acp" })];
    store.transition(ids[0] as string, "active");
    const list = async (query: string) =>
      sessionListSchema.parse(await (await call("GET", `/v1/sessions${query}`)).json());
    expect((await list("")).sessions.map(({ id }) => id)).toEqual(ids.toReversed());
    expect((await list("?status=active,paused")).sessions.map(({ id }) => id)).toEqual([ids[0]]);
    expect((await list("?agent=acp")).sessions.map(({ id }) => id)).toEqual([ids[2]]);
    const page = await list("?limit=2");
    const rest = await list(`?limit=2&cursor=${page.nextCursor}`);
    expect([...page.sessions, ...rest.sessions]).toHaveLength(3);
    expect(rest.nextCursor).toBeNull();
  });

  test.each([
    ["?status=activ", /status: "activ" is unknown; did you mean active\?/],
    ["?limit=0", /^limit: /],
    ["?limit=x", /^limit: /],
    ["?limit=501", /^limit: /],
    ["?stauts=active", /did you mean status\?/],
  ])("refuses the query %s", async (query, detail) => {
    const { call } = startHarness();
    await expectProblem(await call("GET", `/v1/sessions${query}`), "invalid_request", detail);
  });
});

describe("commanding sessions", () => {
  test("pauses, resumes, cancels, steers and deletes", async () => {
    const { call, create, store } = startHarness();
    const id = await create();
    await expectProblem(await call("POST", `/v1/sessions/${id}/pause`), "illegal_transition");
    store.transition(id, "active");
    expect((await call("POST", `/v1/sessions/${id}/pause`)).status).toBe(202);
    store.transition(id, "paused");
    expect((await call("POST", `/v1/sessions/${id}/resume`)).status).toBe(200);
    const raised = { limits: { tokensMax: 9_000, costUsdMax: null } };
    const answer = await call("POST", `/v1/sessions/${id}/resume`, raised);
    expect(await answer.json()).toMatchObject({ status: "paused", limits: raised.limits });
    for (const limits of [{ tokensMax: 0 }, { costUsdMax: -1 }, { maxIterations: 5 }]) {
      const refused = await call("POST", `/v1/sessions/${id}/resume`, { limits });
      await expectProblem(refused, "invalid_request");
    }
    const message = await call("POST", `/v1/sessions/${id}/messages`, { text: "and tests" });
    expect(message.status).toBe(202);
    expect(store.messages).toMatchObject([{ sessionId: id, text: "and tests" }]);
    await expectProblem(await call("DELETE", `/v1/sessions/${id}`), "session_not_terminal");
    const cancelled = await call("POST", `/v1/sessions/${id}/cancel`);
    expect(await cancelled.json()).toMatchObject({ status: "failed" });
    await expectProblem(await call("POST", `/v1/sessions/${id}/cancel`), "session_terminal");
    const late = await call("POST", `/v1/sessions/${id}/messages`, { text: "x" });
    await expectProblem(late, "session_terminal");
    expect((await call("DELETE", `/v1/sessions/${id}`)).status).toBe(204);
    await expectProblem(await call("GET", `/v1/sessions/${id}`), "session_not_found");
  });

  test("reports the transitions that it made itself, and no others", async () => {
    const { call, create, store, lines } = startHarness();
    const waiting = await create();
    await call("POST", `/v1/sessions/${waiting}/cancel`);
    const running = await create();
    store.transition(running, "active");
    // The agent of an active session is told; its worker makes the transition and reports it.
    await call("POST", `/v1/sessions/${running}/pause`);
    const reported = lines.filter(({ level }) => level === "info");
    expect(reported.map(({ message }) => message)).toEqual([
      "Session state transition",
      "Session expired",
    ]);
    expect(reported[0]?.fields).toMatchObject({
      sessionId: waiting,
      from: "pending",
      to: "expired",
      reason: "cancelled",
    });
    const metrics = await (await call("GET", "/metrics")).text();
    expect(metrics).toContain(
      'stint_session_transitions_total{from="pending",to="expired",reason="cancelled"} 1',
    );
    expect(metrics).toContain('stint_session_expiries_total{reason="cancelled"} 1');
    expect(metrics.match(/^stint_session_transitions_total\{/gm)).toHaveLength(1);
  });

  test.each([
    [{ text: "" }, "prompt_empty"],
    [{ text: "x".repeat(PROMPT_BYTES_MAX + 1) }, "prompt_too_large"],
    [{ text: 1 }, "invalid_request"],
    [{ txt: "x" }, "invalid_request"],
    [{ text: "\0" }, "invalid_request"],
  ] as const)("refuses a wrong message", async (body, code) => {
    const { call, create, store } = startHarness();
    const id = await create();
    await expectProblem(await call("POST", `/v1/sessions/${id}/messages`, body), code);
    expect(store.messages).toEqual([]);
  });

  test("another user's session does not exist, for reads and for commands", async () => {
    const { call, create, store } = startHarness();
    const id = await create();
    const before = JSON.stringify(store.entries.get(id));
    const asStranger = { authorization: `Bearer ${STRANGER_TOKEN}` };
    for (const [method, path, body] of [
      ["GET", ""],
      ["DELETE", ""],
      ["POST", "/pause"],
      ["POST", "/resume"],
      ["POST", "/cancel"],
      ["POST", "/messages", { text: "x" }],
      ["GET", "/events"],
      ["GET", "/stream"],
      ["GET", "/diff"],
    ] as const) {
      for (const name of [id, id.slice(0, 8)]) {
        const response = await call(method, `/v1/sessions/${name}${path}`, body, asStranger);
        await expectProblem(response, "session_not_found");
      }
    }
    expect(await (await call("GET", "/v1/sessions", undefined, asStranger)).json()).toEqual({
      sessions: [],
      nextCursor: null,
    });
    expect(JSON.stringify(store.entries.get(id))).toBe(before);
  });
});

describe("reading events", () => {
  test("pages through a log by cursor and type", async () => {
    const { call, create, store } = startHarness();
    const id = await create();
    for (let i = 1; i <= 300; i++) {
      store.append(id, i % 3 === 0 ? "terminal" : "thinking", { iteration: i, toolsUsed: [] });
    }
    const read = async (query: string) =>
      eventListSchema.parse(await (await call("GET", `/v1/sessions/${id}/events${query}`)).json());
    const all = await read("");
    expect(seqs(all.events)).toEqual(Array.from({ length: 301 }, (_, index) => index + 1));
    expect(all.nextCursor).toBeNull();
    const page = await read("?after=10&limit=20");
    expect(seqs(page.events)).toEqual(Array.from({ length: 20 }, (_, index) => index + 11));
    expect(page.nextCursor).toBe("30");
    expect((await read("?after=281&limit=20")).nextCursor).toBeNull();
    const typed = await read("?type=terminal,user_message&limit=3");
    expect(seqs(typed.events)).toEqual([1, 4, 7]);
    expect(typed.nextCursor).toBe("7");
  });

  test("a page of large events ends early and leads on", async () => {
    const { call, create, store } = startHarness();
    const id = await create();
    for (let i = 0; i < 40; i++) store.append(id, "terminal", { output: "x".repeat(900_000) });
    let cursor: string | null = "0";
    const seen: number[] = [];
    let pages = 0;
    while (cursor !== null) {
      const response = await call("GET", `/v1/sessions/${id}/events?after=${cursor}`);
      const text = await response.text();
      expect(text.length).toBeLessThan(40_000_000);
      const page = JSON.parse(text) as { events: { seq: number }[]; nextCursor: string | null };
      seen.push(...page.events.map(({ seq }) => seq));
      cursor = page.nextCursor;
      pages += 1;
    }
    expect(seen).toEqual(Array.from({ length: 41 }, (_, index) => index + 1));
    expect(pages).toBeGreaterThan(1);
  });

  test.each([
    ["?after=x", "cursor_invalid"],
    ["?after=-1", "cursor_invalid"],
    ["?after=2", "cursor_invalid"],
    ["?limit=5001", "invalid_request"],
    ["?type=termnal", "invalid_request"],
    ["?fater=1", "invalid_request"],
  ] as const)("refuses %s", async (query, code) => {
    const { call, create } = startHarness();
    const id = await create();
    await expectProblem(await call("GET", `/v1/sessions/${id}/events${query}`), code);
  });

  test("a cursor whose next event is gone is told the earliest one", async () => {
    const { call, create, store } = startHarness();
    const id = await create();
    for (let i = 0; i < 9; i++) store.append(id, "terminal", {});
    store.trim(id, 5);
    for (const path of ["events", "stream"]) {
      const response = await call("GET", `/v1/sessions/${id}/${path}?after=2`);
      const problem = await expectProblem(response, "resync_required");
      expect(problem["fields"]).toEqual({ earliestSeq: 5 });
    }
    expect(store.watchers(id)).toBe(0);
    const fromStart = await (await call("GET", `/v1/sessions/${id}/events`)).json();
    expect((fromStart as { events: { seq: number }[] }).events[0]?.seq).toBe(5);
  });
});

describe("operating", () => {
  test("answers workers, figures, health and readiness", async () => {
    const { call, create } = startHarness();
    await create();
    workerListSchema.parse(await (await call("GET", "/v1/workers")).json());
    const stats = statsSchema.parse(await (await call("GET", "/v1/stats")).json());
    expect(stats.sessions.pending).toBe(1);
    expect(await (await call("GET", "/healthz")).json()).toEqual({
      status: "ok",
      version: "0.0.0",
    });
    expect(await (await call("GET", "/readyz")).json()).toMatchObject({ status: "ready" });
  });

  test("without the database it lives, is not ready, and still shows metrics", async () => {
    const { call, store, clock } = startHarness();
    store.failure = new StintError("database_unavailable", "connection refused");
    expect((await call("GET", "/healthz")).status).toBe(200);
    await expectProblem(await call("GET", "/readyz"), "database_unavailable", /^the database does/);
    expect(await (await call("GET", "/metrics")).text()).toContain("stint_database_up 0");
    const response = await call("GET", "/v1/sessions");
    await expectProblem(response, "database_unavailable");
    expect(response.headers.get("retry-after")).toBe("2");
    store.failure = null;
    store.ping = () => new Promise(() => undefined);
    const pending = call("GET", "/readyz");
    clock.advance(2_000);
    await expectProblem(await pending, "database_unavailable", /does not answer/);
    expect(clock.timerCount).toBe(0);
  });

  test("metrics have fixed labels, whatever is asked for", async () => {
    const { call, create } = startHarness();
    const id = await create();
    for (let i = 0; i < 50; i++) await call("GET", `/v1/sessions/${NOBODY}?x=${i}`);
    for (let i = 0; i < 50; i++) await call("GET", `/made/up/${i}`);
    for (let i = 0; i < 5; i++) await call(`VERB${i}`, `/v1/sessions/${id}`);
    const text = await (await call("GET", "/metrics")).text();
    expect(text).toContain('stint_sessions{status="pending"} 1');
    expect(text).toContain("stint_database_up 1");
    expect(text).toContain(
      'stint_http_requests_total{method="GET",route="/v1/sessions/{id}",status="404"} 50',
    );
    expect(text).not.toContain(id);
    expect(text).not.toMatch(/VERB|up\/1/);
    expect(text.match(/^stint_http_requests_total\{/gm)?.length).toBeLessThan(10);
  });

  test("a diff comes from the injected reader, and is gone without one", async () => {
    const asked: unknown[] = [];
    const diff = { files: [], additions: 0, deletions: 0, patch: "", truncated: false };
    const { call, create } = startHarness({
      diffs: {
        diff: (session, from, to) => {
          asked.push([session.id, from, to]);
          return Promise.resolve(diff);
        },
      },
    });
    const id = await create();
    expect(await (await call("GET", `/v1/sessions/${id}/diff?from=abc`)).json()).toEqual(diff);
    expect(asked).toEqual([[id, "abc", undefined]]);
    const odd = await call("GET", `/v1/sessions/${id}/diff?from=--output=/etc/x`);
    await expectProblem(odd, "invalid_request", /^from: /);
    const other = startHarness();
    const otherId = await other.create();
    await expectProblem(await other.call("GET", `/v1/sessions/${otherId}/diff`), "workspace_gone");
  });
});

describe("the door", () => {
  test("hides what went wrong inside, and logs it under an id", async () => {
    const { call, store, lines } = startHarness();
    store.failure = new Error("password=hunter2 at /srv/secret.ts:3");
    const response = await call("GET", "/v1/sessions");
    const problem = await expectProblem(response, "internal");
    expect(JSON.stringify(problem)).not.toMatch(/hunter2|secret/);
    const { errorId } = problem["fields"] as { errorId: string };
    expect(lines.find(({ level }) => level === "error")?.fields).toMatchObject({ errorId });
  });

  test("refuses unknown paths, and known ones with another method", async () => {
    const { call, create } = startHarness();
    const id = await create();
    await expectProblem(await call("GET", "/v2"), "not_found");
    const response = await call("PUT", `/v1/sessions/${id}`);
    await expectProblem(response, "method_not_allowed");
    expect(response.headers.get("allow")).toBe("GET, HEAD, DELETE");
    expect((await call("HEAD", `/v1/sessions/${id}`)).status).toBe(200);
  });

  test("a bare HEAD of a stream leaves no subscriber behind", async () => {
    const { call, create, store } = startHarness();
    const id = await create();
    expect((await call("HEAD", `/v1/sessions/${id}/stream`)).status).toBe(200);
    expect(store.watchers(id)).toBe(0);
  });

  test("sets security headers on every answer and allows no other origin", async () => {
    const { call } = startHarness();
    for (const path of ["/healthz", "/v1/sessions", "/nothing", "/metrics", "/openapi.json"]) {
      const { headers } = await call("GET", path);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.has("access-control-allow-origin")).toBe(false);
    }
  });

  test.each([
    ["evil.example", undefined, false],
    ["127.0.0.1.evil.example", undefined, false],
    ["localhost.evil.example:4700", undefined, false],
    ["192.168.1.7:4700", undefined, false],
    ["127.0.0.1:4700", "http://evil.example", false],
    ["127.0.0.1:4700", "http://127.0.0.1:3000", false],
    ["127.0.0.1:4700", "null", false],
    ["127.0.0.1:4700", "http://127.0.0.1:4700", true],
    ["localhost:4700", undefined, true],
    ["LOCALHOST", undefined, true],
    ["[::1]:4700", "http://[::1]:4700", true],
    ["stint.localhost:4700", undefined, true],
  ])("on loopback, host %s with origin %s is accepted: %s", async (host, origin, isAccepted) => {
    const { call } = startHarness();
    const headers = { host, ...(origin === undefined ? {} : { origin }) };
    for (const path of ["/v1/sessions", "/healthz"]) {
      const response = await call("GET", path, undefined, headers);
      expect(response.status).toBe(isAccepted ? 200 : 403);
      expect((await response.text()).includes("forbidden_origin")).toBe(!isAccepted);
    }
  });

  test("the log never holds a token", async () => {
    const { app, create, lines } = startHarness();
    const id = await create();
    const response = await app.request(`/v1/sessions/${id}/stream?access_token=${TOKEN}`);
    await response.body?.cancel();
    expect(lines.some(({ message }) => message === "Request")).toBe(true);
    expect(JSON.stringify(lines)).not.toContain(TOKEN);
  });

  test("without an authenticator only the owner's token is valid", async () => {
    const harness = startHarness();
    const { app } = createServer({ ...baseOptions(harness), token: "the-owner-token-1234" });
    const ask = async (authorization: string) =>
      (await app.request("/v1/sessions", { headers: { authorization } })).status;
    expect(await ask("Bearer the-owner-token-1234")).toBe(200);
    expect(await ask("bearer the-owner-token-1234")).toBe(200);
    expect(await ask("Bearer the-owner-token-1235")).toBe(401);
    expect(await ask("Bearer the-owner-token-12345")).toBe(401);
    expect(await ask(`Bearer ${"x".repeat(9_000)}`)).toBe(401);
    expect(await ask("Basic the-owner-token-1234")).toBe(401);
  });
});

function baseOptions(harness: Harness): Parameters<typeof createServer>[0] {
  const { authenticator: _, ...options } = harness.options;
  return options;
}

function nest(depth: number): string {
  return `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
}

function seqs(events: readonly unknown[]): number[] {
  return events.map((event) => (event as { seq: number }).seq);
}
