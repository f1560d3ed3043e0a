/**
 * What goes wrong must say so: a stable code, the right status and exit code, a remedy, no stack
 * trace, and no session that was only half made.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { createClient } from "../../src/client/client.ts";
import { ERRORS, type ErrorCode } from "../../src/core/error.ts";
import { attachEmbeddedPostgres } from "../../src/store/embedded/attach.ts";
import { makeDataFolder } from "../data-template.ts";
import { stopPostgres } from "../postgres.ts";
import { makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

interface Problem {
  readonly code: string;
  readonly detail: string;
  readonly remedy: string;
  readonly status: number;
}

const PENDING = "aaaaaaaa-0000-4000-8000-000000000001";
const UNKNOWN = "bbbbbbbb-0000-4000-8000-000000000000";
const STACK = /\n\s+at |\.ts:\d|\.js:\d|node_modules/;

const base = makeFolder();
const elsewhere = makeFolder();
const dataDir = join(base.path, "data");
const work = join(base.path, "work");

let service: StintProcess;
let server: { url: string; token: string };
let client: ReturnType<typeof createClient>;
let databaseUrl: string;
/** One session in each state that a test needs. */
let active: string;
let completed: string;

beforeAll(async () => {
  mkdirSync(work);
  await makeDataFolder(dataDir);
  service = new StintProcess(["dev", "--json"], dataDir, { STINT_ALLOWED_ROOTS: base.path });
  server = await service.ready();
  client = await service.connect();
  const status = await runStint(["db", "status", "--json"], { dataDir });
  databaseUrl = String((JSON.parse(status.stdout) as { url: unknown }).url);
  // No worker here runs such agents, so these two stay pending.
  await query(
    databaseUrl,
    `insert into public.coding_sessions (id, agent, prompt)
     values ('${PENDING}', 'nobody', 'one'), ('${PENDING.replace(/1$/, "2")}', 'nobody', 'two')`,
  );
  ({ id: completed } = await client.sessions.create({ prompt: "a", script: [{ text: "done" }] }));
  ({ id: active } = await client.sessions.create({
    prompt: "b",
    script: [{ bash: "sleep 300" }],
    workspace: { mode: "in-place", source: work },
  }));
  await poll(async () => ((await stateOf(completed)) === "completed" ? true : null));
  await poll(async () => ((await stateOf(active)) === "active" ? true : null));
}, 120_000);

afterAll(async () => {
  await service.stop();
  for (const folder of [base, elsewhere]) await folder.dispose();
}, 60_000);

async function stateOf(id: string): Promise<string> {
  return (await client.sessions.get(id)).status;
}

async function query(url: string, sql: string): Promise<void> {
  const connection = new Client({ connectionString: url });
  await connection.connect();
  try {
    await connection.query(sql);
  } finally {
    await connection.end();
  }
}

/** Calls the server; the body as it is if it is text. */
async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${server.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${server.token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
}

function checkProblem(problem: Problem, code: ErrorCode, what: RegExp): void {
  expect(problem).toMatchObject({ code, status: ERRORS[code].status });
  expect(problem.detail).toMatch(what);
  expect(problem.remedy).not.toBe("");
  expect(JSON.stringify(problem)).not.toMatch(STACK);
}

async function expectAnswer(response: Response, code: ErrorCode, what: RegExp): Promise<void> {
  const text = await response.text();
  expect(text).toMatch(/^\{/);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(response.status).toBe(ERRORS[code].status);
  checkProblem(JSON.parse(text) as Problem, code, what);
}

/** Calls the command line, whose last words must be this problem. */
async function expectExit(
  args: readonly string[],
  code: ErrorCode,
  what: RegExp,
  options: { dataDir?: string; cwd?: string; env?: Record<string, string> } = {},
): Promise<Problem> {
  const ended = await runStint([...args, "--json"], { dataDir, cwd: elsewhere.path, ...options });
  const last = ended.stderr.trimEnd().split("\n").at(-1) ?? "";
  expect(last).toMatch(/^\{/);
  const problem = JSON.parse(last) as Problem;
  checkProblem(problem, code, what);
  expect(ended.code).toBe(ERRORS[code].exitCode);
  expect(ended.stderr).not.toMatch(STACK);
  return problem;
}

describe("a session that cannot be", () => {
  const scripted = { prompt: "a", script: [{ text: "done" }] };
  const cases: readonly [string, ErrorCode, RegExp, unknown][] = [
    ["no prompt", "invalid_request", /prompt: is required/, {}],
    ["an empty prompt", "prompt_empty", /prompt/, { ...scripted, prompt: " \n" }],
    ["a prompt of 1.5 MB", "prompt_too_large", /limit/, { prompt: "x".repeat(1_500_000) }],
    ["a prompt of 10 MB", "payload_too_large", /larger than/, { prompt: "x".repeat(10_000_000) }],
    [
      "an unknown agent",
      "agent_unknown",
      /did you mean builtin/,
      { ...scripted, agent: "buildin" },
    ],
    ["an unknown model", "model_unknown", /gpt-9/, { prompt: "a", model: "gpt-9" }],
    ["no model", "model_unknown", /names no model/, { prompt: "a" }],
    ["no key", "model_key_missing", /ANTHROPIC_API_KEY/, { prompt: "a", model: "anthropic:x" }],
    ["no other key", "model_key_missing", /OPENAI_API_KEY/, { prompt: "a", model: "openai:x" }],
    ["no script", "script_missing", /script/, { prompt: "a", model: "scripted" }],
    ["a wrong step", "script_invalid", /frob/, { prompt: "a", script: [{ frob: 1 }] }],
    ["a script that is none", "script_invalid", /script/, { prompt: "a", script: 5 }],
    ["a wrong type", "invalid_request", /prompt: expected string/, { prompt: 5 }],
    ["an unknown key", "invalid_request", /did you mean prompt/, { ...scripted, promt: "a" }],
    [
      "a wrong limit",
      "invalid_request",
      /maxIterations/,
      { ...scripted, limits: { maxIterations: 0 } },
    ],
    ["no JSON", "invalid_request", /no JSON/, "{"],
    ["a list", "invalid_request", /expected object/, []],
  ];
  test.each(cases)("%s", async (_, code, what, body) => {
    await expectAnswer(await call("POST", "/v1/sessions", body), code, what);
  });

  test.each([
    [
      "that is missing",
      "workspace_missing",
      /none-here/,
      () => ({ source: join(work, "none-here") }),
    ],
    ["outside the roots", "workspace_outside_roots", /root/, () => ({ source: elsewhere.path })],
    [
      "around the data",
      "workspace_invalid",
      /overlap/,
      () => ({ source: base.path, mode: "in-place" }),
    ],
    [
      "inside the data",
      "workspace_invalid",
      /overlap/,
      () => ({ source: dataDir, mode: "in-place" }),
    ],
    [
      "in use",
      "workspace_busy",
      /another live session/,
      () => ({ source: work, mode: "in-place" }),
    ],
    ["of a relative path", "workspace_invalid", /absolute/, () => ({ source: "work" })],
  ] as const)("a workspace %s", async (_, code, what, workspace) => {
    const body = { ...scripted, workspace: workspace() };
    await expectAnswer(await call("POST", "/v1/sessions", body), code, what);
  });

  test("leaves nothing behind", async () => {
    const { sessions } = await client.sessions.list();
    expect(sessions.map(({ prompt }) => prompt).sort()).toEqual(["a", "b", "one", "two"]);
  });
});

describe("a request that cannot be met", () => {
  test.each<[string, string, () => string, ErrorCode, RegExp, unknown?]>([
    ["an unknown id", "GET", () => UNKNOWN, "session_not_found", /bbbbbbbb/],
    ["no id", "GET", () => "nonsense", "session_not_found", /nonsense/],
    ["too few characters", "GET", () => "aa", "session_not_found", /at least 4 characters/],
    ["an ambiguous id", "GET", () => "aaaa", "id_ambiguous", /aaaa/],
    ["pausing a pending one", "POST", () => `${PENDING}/pause`, "illegal_transition", /pending/],
    ["resuming a pending one", "POST", () => `${PENDING}/resume`, "illegal_transition", /pending/],
    ["pausing an ended one", "POST", () => `${completed}/pause`, "illegal_transition", /completed/],
    ["resuming an active one", "POST", () => `${active}/resume`, "illegal_transition", /active/],
    [
      "cancelling an ended one",
      "POST",
      () => `${completed}/cancel`,
      "session_terminal",
      /completed/,
    ],
    [
      "a message to an ended one",
      "POST",
      () => `${completed}/messages`,
      "session_terminal",
      /completed/,
      { text: "hello" },
    ],
    ["an empty message", "POST", () => `${active}/messages`, "prompt_empty", /text/, { text: "" }],
    [
      "a wrong message",
      "POST",
      () => `${active}/messages`,
      "invalid_request",
      /text/,
      { txt: "a" },
    ],
    ["deleting an active one", "DELETE", () => active, "session_not_terminal", /active/],
    ["a wrong status", "GET", () => "?status=actve", "invalid_request", /did you mean active/],
    ["a wrong limit", "GET", () => "?limit=0", "invalid_request", /limit/],
    [
      "an unknown parameter",
      "GET",
      () => "?statu=active",
      "invalid_request",
      /did you mean status/,
    ],
    ["a wrong cursor", "GET", () => "?cursor=x", "cursor_invalid", /cursor/],
    ["another method", "PUT", () => PENDING, "method_not_allowed", /GET/],
    ["an unknown route", "GET", () => `${PENDING}/frob`, "not_found", /frob/],
  ])("%s", async (_, method, path, code, what, body) => {
    const tail = path();
    const url = tail.startsWith("?") ? `/v1/sessions${tail}` : `/v1/sessions/${tail}`;
    await expectAnswer(await call(method, url, body), code, what);
  });

  test("changes nothing", async () => {
    expect(await stateOf(active)).toBe("active");
    expect(await stateOf(PENDING)).toBe("pending");
    const { events } = await client.sessions.events(active);
    expect(events.filter(({ type }) => type === "user_message")).toHaveLength(1);
  });

  test("a wrong token, none, and one of another scheme", async () => {
    for (const authorization of ["Bearer wrong", "", `Basic ${server.token}`]) {
      const answer = await call("GET", "/v1/sessions", undefined, { authorization });
      await expectAnswer(answer, "unauthorized", /token/);
    }
  });

  test("a foreign host and a foreign origin", async () => {
    const headers = { host: "evil.example", authorization: `Bearer ${server.token}` };
    const status = await new Promise((resolve, reject) => {
      const asked = request(`${server.url}/v1/sessions`, { headers }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      asked.on("error", reject).end();
    });
    expect(status).toBe(403);
    const answer = await call("GET", "/v1/sessions", undefined, { origin: "https://evil.example" });
    await expectAnswer(answer, "forbidden_origin", /origin/);
  });
});

describe("a repeated request", () => {
  test("answers the first session though its workspace has vanished", async () => {
    const source = join(work, "vanishing");
    mkdirSync(source);
    const body = { prompt: "c", script: [{ text: "done" }], workspace: { source } };
    const key = { "idempotency-key": "once" };
    const first = await call("POST", "/v1/sessions", body, key);
    const { id } = (await first.json()) as { id: string };
    await poll(async () => ((await stateOf(id)) === "completed" ? true : null));
    rmSync(source, { recursive: true });
    const again = await call("POST", "/v1/sessions", body, key);
    expect(again.status).toBe(201);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await again.json()).toMatchObject({ id, status: "completed" });
    const other = await call("POST", "/v1/sessions", { ...body, prompt: "d" }, key);
    await expectAnswer(other, "idempotency_key_reused", /another request/);
  });

  test("sends its message once, also after the session has ended", async () => {
    const { id } = await client.sessions.create({
      prompt: "wait",
      keepOpen: true,
      script: [{ text: "first" }],
    });
    const waits = async () =>
      (await client.sessions.get(id)).waitingFor === "input" ? true : null;
    await poll(waits);
    const send = (text: string) =>
      client.sessions.sendMessage(id, text, { idempotencyKey: "message-1" });
    await Promise.all([send("go on"), send("go on")]);
    await poll(async () =>
      (await client.sessions.events(id)).events.some(
        ({ data }) => data["text"] === "The script has ended.",
      )
        ? true
        : null,
    );
    await poll(waits);
    await send("go on");
    await expect(send("another")).rejects.toMatchObject({ code: "idempotency_key_reused" });
    await client.sessions.cancel(id);
    expect((await send("go on")).status).toBe("failed");
    const { events } = await client.sessions.events(id);
    const messages = events.filter(({ type }) => type === "user_message");
    expect(messages.map(({ data }) => data["text"])).toEqual(["wait", "go on"]);
  });
});

describe("a command line that cannot be", () => {
  test.each<[string, readonly string[], ErrorCode, RegExp, Record<string, string>?]>([
    ["an unknown command", ["shwo", UNKNOWN], "usage_invalid", /Did you mean show/],
    ["an unknown flag", ["ls", "--statu", "active"], "usage_invalid", /Did you mean --status/],
    ["a missing argument", ["show"], "usage_invalid", /session/],
    ["an argument too many", ["ls", "active"], "usage_invalid", /too many arguments/],
    ["a wrong status", ["ls", "--status", "actve"], "usage_invalid", /Did you mean active/],
    ["a wrong number", ["ls", "--limit", "many"], "usage_invalid", /whole number/],
    ["a wrong limit", ["run", "a", "--deadline", "soon"], "usage_invalid", /no duration/],
    [
      "an unknown variable",
      ["ls"],
      "config_invalid",
      /did you mean STINT_PORT/,
      { STINT_PROT: "1" },
    ],
    ["a wrong variable", ["dev"], "config_invalid", /STINT_PORT/, { STINT_PORT: "many" }],
    ["a wrong setting", ["dev", "--port", "99999"], "config_invalid", /--port/],
    ["a wrong URL", ["ls"], "config_invalid", /no URL/, { STINT_URL: "nonsense" }],
    [
      "a server that is not there",
      ["ls"],
      "server_unreachable",
      /:1 /,
      { STINT_URL: "http://127.0.0.1:1" },
    ],
    [
      "a wrong token",
      ["ls"],
      "unauthorized",
      /not valid/,
      { STINT_TOKEN: "wrong-wrong-wrong-wrong" },
    ],
    ["an empty prompt", ["run", ""], "prompt_empty", /empty/],
    ["no model", ["run", "a"], "model_unknown", /names no model/],
    ["no key", ["run", "a", "--model", "anthropic:x"], "model_key_missing", /ANTHROPIC_API_KEY/],
    ["no such script", ["run", "a", "--script", "none.json"], "script_invalid", /none\.json/],
    ["in place of nothing", ["run", "a", "--in-place"], "usage_invalid", /--in-place needs/],
    ["an unknown id", ["logs", UNKNOWN], "session_not_found", /bbbbbbbb/],
    ["an ambiguous id", ["show", "aaaa"], "id_ambiguous", /aaaa/],
    ["resuming an ended one", ["resume", "@completed"], "illegal_transition", /completed/],
    ["cancelling an ended one", ["cancel", "@completed"], "session_terminal", /completed/],
    ["steering an ended one", ["steer", "@completed", "hi"], "session_terminal", /completed/],
    [
      "no database",
      ["db", "status"],
      "database_unavailable",
      /127\.0\.0\.1:1/,
      { DATABASE_URL: "postgres://u:secret@127.0.0.1:1/x" },
    ],
    [
      "no URL of a database",
      ["db", "status"],
      "config_invalid",
      /DATABASE_URL/,
      { DATABASE_URL: "nonsense" },
    ],
  ])("%s", async (_, args, code, what, env = {}) => {
    const named = args.map((arg) => (arg === "@completed" ? completed : arg));
    const problem = await expectExit(named, code, what, { env });
    expect(JSON.stringify(problem)).not.toContain("secret");
  });
});

describe("a configuration file that cannot be", () => {
  test.each<[string, string, RegExp]>([
    ["an unknown key", '{ "workerSlot": 3 }', /did you mean workerSlots/],
    ["a wrong value", '{ "workerSlots": "many" }', /workerSlots: must be a whole number/],
    ["no JSON", "{", /stint\.config\.json is no JSON/],
  ])("%s", async (_, text, what) => {
    const folder = makeFolder();
    try {
      writeFileSync(join(folder.path, "stint.config.json"), text);
      await expectExit(["ls"], "config_invalid", what, { cwd: folder.path });
    } finally {
      await folder.dispose();
    }
  });
});

test("a script that is no JSON and one with a wrong step are told apart", async () => {
  writeFileSync(join(elsewhere.path, "text.json"), "no");
  writeFileSync(join(elsewhere.path, "step.json"), '[{ "frob": 1 }]');
  const run = ["run", "a", "--workspace", "none", "--script"];
  await expectExit([...run, "text.json"], "script_invalid", /text\.json.*JSON/);
  await expectExit([...run, "step.json"], "script_invalid", /frob/);
});

test("an error for people has what, why, its code and what to do, and no stack", async () => {
  const { code, stdout, stderr } = await runStint(["show", UNKNOWN], { dataDir });
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toBe(
    `✕ there is no session "${UNKNOWN}" (session_not_found)\n` +
      "  next: List the sessions with `stint ls`.\n",
  );
});

test("without a server the error says where it looked and how to start one", async () => {
  const problem = await expectExit(["ls"], "server_unreachable", /server\.json/, {
    dataDir: elsewhere.path,
  });
  expect(problem.remedy).toContain("stint dev");
});

test.skipIf(process.getuid?.() !== 0)(
  "a disk too small for a database says so",
  async (context) => {
    const mount = join(elsewhere.path, "small");
    mkdirSync(mount);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", mount]);
    if (mounted.status !== 0) context.skip("This host does not let us mount a small disk");
    try {
      const env = { STINT_DATA: join(mount, "data") };
      await expectExit(["dev"], "disk_full", /no space left/, { env });
    } finally {
      spawnSync("umount", ["--lazy", mount]);
    }
  },
);

describe("a port in use", () => {
  test("is an error where it was asked for, and is passed over where none was", async () => {
    const env = { DATABASE_URL: databaseUrl };
    const port = new URL(server.url).port;
    const mine = { dataDir: elsewhere.path, env };
    await expectExit(["server", "--port", port], "port_taken", new RegExp(`port ${port}`), mine);

    const holder = createServer();
    await new Promise<void>((resolve) => {
      // Somebody else may hold it: as good.
      holder.once("error", () => resolve()).listen(4_700, "127.0.0.1", resolve);
    });
    const other = new StintProcess(["server", "--json"], elsewhere.path, {
      ...env,
      STINT_PORT: "",
    });
    try {
      expect(Number(new URL((await other.ready()).url).port)).toBeGreaterThan(4_700);
    } finally {
      await other.stop();
      holder.close();
    }
  });
});

describe("a data folder that cannot be", () => {
  test.each([
    ["a file", () => join(elsewhere.path, "file"), /file/],
    ["below a file", () => join(elsewhere.path, "file", "data"), /file/],
    ["where no folder can be made", () => "/proc/none/data", /none/],
  ])("%s", async (_, path, what) => {
    writeFileSync(join(elsewhere.path, "file"), "");
    await expectExit(["dev"], "data_dir_unusable", what, {
      env: { STINT_DATA: path() },
    });
  });
});

/** A database of the service's Postgres, for a role. */
function urlFor(user: string, password: string, name: string): string {
  const url = new URL(databaseUrl);
  Object.assign(url, { username: user, password, pathname: `/${name}` });
  return url.href;
}

describe("a database that cannot be", () => {
  test("a wrong password", async () => {
    const env = { DATABASE_URL: urlFor("stint", "wrong", "stint") };
    const problem = await expectExit(["dev"], "database_auth_failed", /password/, { env });
    expect(JSON.stringify(problem)).not.toContain("wrong@");
  });

  test("a role that may not create roles is told the SQL, which works", async () => {
    const folder = makeFolder();
    const postgres = await attachEmbeddedPostgres({
      dataDir: join(folder.path, "data"),
      stopDelayMs: 0,
    });
    try {
      await query(postgres.url, "create role app login password 'app'");
      await query(postgres.url, "create database app owner app");
      const forApp = new URL(postgres.url);
      forApp.pathname = "/app";
      const admin = forApp.href;
      Object.assign(forApp, { username: "app", password: "app" });
      const mine = { dataDir: elsewhere.path, env: { DATABASE_URL: forApp.href } };
      const migrate = ["db", "migrate"];
      const problem = await expectExit(migrate, "database_roles_missing", /with:\n\n/, mine);
      await query(admin, problem.detail.slice(problem.detail.indexOf("with:\n\n") + 7));
      const migrated = await runStint(migrate, mine);
      expect(migrated).toMatchObject({ code: 0, stderr: "" });
    } finally {
      await postgres.release();
      await stopPostgres(join(folder.path, "data"));
      await folder.dispose();
    }
  });

  test("a schema of a newer version", async () => {
    const newer = "insert into public.stint_migrations values (999999, 'future', 'x')";
    await query(databaseUrl, "create database newer_db");
    const env = { DATABASE_URL: urlFor("stint", new URL(databaseUrl).password, "newer_db") };
    const migrated = await runStint(["db", "migrate"], { dataDir: elsewhere.path, env });
    expect(migrated).toMatchObject({ code: 0, stderr: "" });
    await query(env.DATABASE_URL, newer);
    for (const command of ["dev", "worker", "db migrate"]) {
      await expectExit(command.split(" "), "database_newer", /999999/, { env });
    }
  });
});
