/** What holds for every route, generated from the routes that the application really has. */
import { beforeAll, describe, expect, test } from "vitest";
import type { Access } from "./route.ts";
import { problemSchema } from "./schema.ts";
import { startHarness, STRANGER_TOKEN, TOKEN } from "./harness.testsuite.ts";

/** Who may call each route, as a person decided it. A route that is not in here fails the test. */
const ACCESS: Readonly<Record<string, Access>> = {
  "POST /v1/sessions": "viewer",
  "GET /v1/sessions": "viewer",
  "GET /v1/sessions/{id}": "viewer",
  "DELETE /v1/sessions/{id}": "viewer",
  "POST /v1/sessions/{id}/pause": "viewer",
  "POST /v1/sessions/{id}/resume": "viewer",
  "POST /v1/sessions/{id}/cancel": "viewer",
  "POST /v1/sessions/{id}/messages": "viewer",
  "GET /v1/sessions/{id}/events": "viewer",
  "GET /v1/sessions/{id}/stream": "viewer-by-query",
  "GET /v1/sessions/{id}/diff": "viewer",
  "GET /v1/workers": "operator",
  "GET /v1/stats": "viewer",
  "GET /metrics": "operator",
  "GET /healthz": "public",
  "GET /readyz": "public",
  "GET /openapi.json": "public",
};

const ROUTES = Object.entries(ACCESS).map(([route, access]) => ({ route, access }));
const harness = startHarness();
let id = "";

beforeAll(async () => {
  id = await harness.create();
});

/** Sends a request that would succeed for the owner, or fail for another reason than its caller. */
async function send(route: string, query: string, headers: Record<string, string>) {
  const [method, path] = route.split(" ") as [string, string];
  const response = await harness.app.request(path.replace("{id}", id) + query, { method, headers });
  if (response.headers.get("content-type") === "text/event-stream") await response.body?.cancel();
  return response;
}

async function codeOf(response: Response): Promise<string | null> {
  if (response.status < 400) return null;
  return problemSchema.parse(await response.json()).code;
}

test("the matrix holds exactly the routes of the application", () => {
  const routes = harness.app.routes
    .filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
  expect(routes.toSorted()).toEqual(Object.keys(ACCESS).toSorted());
});

describe.each(ROUTES)("$route is for: $access", ({ route, access }) => {
  const isPublic = access === "public";

  test.each([
    ["no token", {}],
    ["an empty token", { authorization: "Bearer " }],
    ["a wrong token", { authorization: `Bearer ${TOKEN.slice(0, -1)}x` }],
    ["another scheme", { authorization: `Basic ${TOKEN}` }],
    ["a cookie", { cookie: `access_token=${TOKEN}` }],
  ])("with %s", async (_, headers) => {
    const response = await send(route, "", headers as Record<string, string>);
    const code = await codeOf(response);
    if (isPublic) expect(code).toBeNull();
    else expect(code).toBe("unauthorized");
    expect(response.headers.has("www-authenticate")).toBe(!isPublic);
  });

  test("with the token in the query", async () => {
    const code = await codeOf(await send(route, `?access_token=${TOKEN}`, {}));
    if (isPublic || access === "viewer-by-query") expect(code).toBeNull();
    else expect(code).toBe("unauthorized");
  });

  test("with the token of a user who owns nothing", async () => {
    const headers = { authorization: `Bearer ${STRANGER_TOKEN}` };
    const code = await codeOf(await send(route, "", headers));
    if (access === "operator") expect(code).toBe("forbidden");
    else if (route.includes("{id}")) expect(code).toBe("session_not_found");
    else expect(["unauthorized", "forbidden"]).not.toContain(code);
  });

  test("with the token of the owner", async () => {
    const headers = { authorization: `Bearer ${TOKEN}` };
    if (route.startsWith("DELETE"))
      return expect(await codeOf(await send(route, "", headers))).toBe("session_not_terminal");
    const code = await codeOf(await send(route, "", headers));
    expect(["unauthorized", "forbidden", "session_not_found", "internal"]).not.toContain(code);
  });

  test("with a foreign Host, whatever the token", async () => {
    const headers = { authorization: `Bearer ${TOKEN}`, host: "rebound.example" };
    expect(await codeOf(await send(route, "", headers))).toBe("forbidden_origin");
  });
});

describe("the description of the API", () => {
  interface Operation {
    operationId: string;
    summary: string;
    security: object[];
    responses: Record<string, { description: string; content?: Record<string, object> }>;
  }
  interface Document {
    openapi: string;
    paths: Record<string, Record<string, Operation>>;
    components: { schemas: Record<string, object>; securitySchemes: object };
  }
  const read = async (): Promise<Document> =>
    (await (await harness.app.request("/openapi.json")).json()) as Document;

  test("lists every route with its callers and its errors", async () => {
    const { openapi, paths } = await read();
    expect(openapi).toBe("3.1.0");
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        route: `${method.toUpperCase()} ${path}`,
        operation,
      })),
    );
    expect(operations.map(({ route }) => route).toSorted()).toEqual(Object.keys(ACCESS).toSorted());
    for (const { route, operation } of operations) {
      const { security, responses, summary } = operation;
      expect(security.length === 0).toBe(ACCESS[route] === "public");
      expect("401" in responses).toBe(ACCESS[route] !== "public");
      expect(summary).toMatch(/\.$/);
      for (const [status, answer] of Object.entries(responses)) {
        expect(answer.description).not.toBe("");
        if (Number(status) < 400) continue;
        expect(Object.keys(answer.content ?? {})).toEqual(["application/problem+json"]);
      }
    }
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("holds the schemas of sessions, every event and problems, and no dangling reference", async () => {
    const document = await read();
    const names = Object.keys(document.components.schemas);
    expect(names).toEqual(
      expect.arrayContaining([
        "Session",
        "SessionRequest",
        "Event",
        "StateChangedEvent",
        "ThinkingEvent",
        "TerminalEvent",
        "FileChangeEvent",
        "CompletionEvent",
        "ErrorEvent",
        "UserMessageEvent",
        "PermissionEvent",
        "ToolEvent",
        "Problem",
        "Worker",
        "Stats",
        "Diff",
      ]),
    );
    const text = JSON.stringify(document);
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      expect(names).toContain(name);
    }
    for (const { path } of Object.keys(document.paths).map((path) => ({ path }))) {
      const wanted = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      for (const operation of Object.values(document.paths[path] ?? {})) {
        const { parameters = [] } = operation as { parameters?: { name: string; in: string }[] };
        const given = parameters.filter((parameter) => parameter.in === "path");
        expect(given.map(({ name }) => name)).toEqual(wanted);
      }
    }
  });
});
