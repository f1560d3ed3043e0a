import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Client as PgClient } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../src/cli/command-table.ts";
import { parseCommandLine } from "../src/cli/program.ts";
import type { Session, StintClient } from "../src/client.ts";
import { loadConfig, resolveLimits } from "../src/core/config.ts";
import { EVENT_SCHEMAS, isSessionEventType, SESSION_EVENT_TYPES } from "../src/core/event.ts";
import { silentLogger } from "../src/core/log.ts";
import { METRICS } from "../src/core/metrics.ts";
import { parseScript } from "../src/core/script.ts";
import { LOCAL_USER_ID, type SessionLimits } from "../src/core/session.ts";
import {
  isReasonFor,
  REASON_CODES,
  VALID_TRANSITIONS,
  type Reason,
  type SessionState,
} from "../src/core/state.ts";
import {
  eventSchema,
  problemSchema,
  sessionListSchema,
  sessionSchema,
} from "../src/server/schema.ts";
import { connectStore } from "../src/store/postgres-store.ts";
import { MONITORING_QUERIES } from "../src/store/stats.ts";
import { SessionLifecycleManager } from "../src/worker/session-lifecycle-manager.ts";
import { makeFolder, poll, StintProcess } from "./e2e/stint-process.ts";
import { FetchEventSource, parseStream } from "./doc-event-source.ts";
import {
  listBlocks,
  listCodes,
  listTableRows,
  readDocument,
  readSection,
  ROOT,
  splitShellWords,
  type Block,
} from "./doc-blocks.ts";
import { importNames, joinParts, ProgramRun, UserProject } from "./doc-programs.ts";
import { createTestDatabase, type TestDatabase } from "./postgres.ts";
import { systemClock } from "./system-clock.ts";
import { requireTool } from "./tools.ts";

const GUIDE = "docs/backend/SESSION-LIFECYCLE.md";
const guide = readDocument(GUIDE);
const blocks = listBlocks(guide);
const readme = readDocument("README.md");
const readmeBlocks = listBlocks(readme);

// -- programs --------------------------------------------------------------------------------------

/** What the README's program needs to run without a key: it names its own model and folder. */
const README_SCRIPT = `[{ bash: "echo linted" }, { text: "Done." }]`;

function prepareReadmeProgram(source: string): string {
  const model = 'model: "anthropic:NAME"';
  const folder = '"/srv/checkouts/shop"';
  expect(source).toContain(model);
  expect(source).toContain(folder);
  return source
    .replace(model, `model: "scripted", script: ${README_SCRIPT}`)
    .replace(folder, `process.env.SHOP ?? ""`);
}

const LIBRARY = readSection(guide, "11. The library");
const entryPoints = listTableRows(LIBRARY)
  .map(([entry = "", names = ""]) => ({
    entry: listCodes(entry)[0] ?? "",
    names: listCodes(names),
  }))
  .filter(({ entry }) => /^stint(\/\w+)?$/.test(entry));

const readmeProgram = readmeBlocks.find(({ language }) => language === "ts")?.text ?? "";
const programs = [
  ...blocks
    .filter(({ language, how }) => language === "ts" && how === "run")
    .map(({ attributes, text }) => ({ name: attributes["example"] ?? "", source: text })),
  ...joinParts(blocks.filter(({ language, how }) => language === "ts" && how === "part")),
  ...entryPoints.map(({ entry, names }, index) => importNames(`names-${index}`, entry, names)),
  { name: "readme-as-written", source: readmeProgram },
  { name: "readme", source: prepareReadmeProgram(readmeProgram) },
];

// -- the world the examples run in ------------------------------------------------------------------

const folder = makeFolder("stint docs ");
const closers: (() => unknown)[] = [() => folder.dispose()];
let database: TestDatabase;
let sql: PgClient;
let dev: StintProcess;
let client: StintClient;
let project: UserProject;
let compilerOutput: string;
let env: Record<string, string>;

beforeAll(async () => {
  database = await createTestDatabase();
  closers.unshift(() => database.drop());
  const dataDir = join(folder.path, "data");
  mkdirSync(dataDir);
  // Enough slots that no example waits for another's session.
  const settings = { DATABASE_URL: database.url, STINT_WORKER_SLOTS: "32" };
  dev = new StintProcess(["dev", "--json"], dataDir, settings);
  closers.unshift(() => dev.stop());
  project = new UserProject(join(folder.path, "project"), programs);
  compilerOutput = project.compile();
  const { url, token } = await dev.ready();
  client = await dev.connect();
  env = { STINT_URL: url, STINT_TOKEN: token, PATH: writeCommand(join(folder.path, "bin")) };
  sql = new PgClient({ connectionString: database.url });
  await sql.connect();
  closers.unshift(() => sql.end());
  writeFileSync(join(folder.path, "hello.json"), '[{ "text": "Done." }]');
}, 120_000);

afterAll(async () => {
  for (const close of closers) await close();
});

/** Puts `stint` on a path, as an installation would. */
function writeCommand(bin: string): string {
  mkdirSync(bin);
  const path = join(bin, "stint");
  writeFileSync(path, `#!/bin/sh\nexec "${process.execPath}" "${ROOT}dist/bin.js" "$@"\n`);
  chmodSync(path, 0o755);
  return `${bin}:${process.env["PATH"] ?? ""}`;
}

type Fixture = "active" | "paused" | "waiting" | "completed";

/** A session in the state that an example begins with. */
async function makeSession(fixture: Fixture): Promise<string> {
  const isLong = fixture === "active" || fixture === "paused";
  const { id } = await client.sessions.create({
    prompt: "work",
    model: "scripted",
    script: isLong
      ? [{ bash: "sleep 300" }, { text: "slept" }]
      : [{ bash: "echo hello > hello.txt; cat hello.txt" }, { text: "one" }, { text: "two" }],
    keepOpen: fixture === "waiting",
  });
  if (isLong) await untilCommandRuns(id);
  if (fixture === "paused") await client.sessions.pause(id);
  if (fixture === "active") return id;
  await untilSession(id, ({ status }) => status === (fixture === "completed" ? fixture : "paused"));
  return id;
}

function untilSession(id: string, holds: (session: Session) => boolean): Promise<Session> {
  return poll(async () => {
    const session = await client.sessions.get(id);
    return holds(session) ? session : null;
  });
}

function untilCommandRuns(id: string): Promise<unknown> {
  return poll(async () => {
    const { rowCount } = await sql.query(
      "select from stint.tool_calls where session_id = $1 and status = 'open'",
      [id],
    );
    return rowCount === 1 ? true : null;
  });
}

// -- one way to run each kind of block --------------------------------------------------------------

type Handler = (block: Block) => unknown;

const HANDLERS: Readonly<Record<string, Handler>> = {
  "text diagram": ({ text }) => {
    const source = readFileSync(join(ROOT, "src/core/state.ts"), "utf8");
    expect(source.replaceAll(/^ \* ?/gm, "")).toContain(text);
  },
  "text sse": checkStream,
  "json event": checkEvent,
  "json log": checkLogLine,
  "json script": ({ text }) => parseScript(JSON.parse(text)),
  "json config": ({ text }) => loadConfig({ file: JSON.parse(text) }),
  "json session": ({ text }) => sessionSchema.parse(JSON.parse(text)),
  "json problem": ({ text }) => problemSchema.parse(JSON.parse(text)),
  "sql figure": checkFigure,
  "sql run": runQuery,
  "sql user": runQueryAsUser,
  "sql refused": runRefusedQuery,
  "sh run": runShell,
  "sh service": checkServiceCommands,
  "ts run": runProgram,
  "ts part": runPart,
};

const kindOf = ({ language, how }: Block): string => `${language} ${how}`;

async function checkStream({ text }: Block): Promise<void> {
  const messages = parseStream(text).filter(({ data }) => data !== null);
  expect(messages.length).toBeGreaterThan(0);
  for (const { id, data } of messages) {
    const event = eventSchema.parse(JSON.parse(data ?? ""));
    expect(String(event.seq)).toBe(id);
  }
  const id = await makeSession("completed");
  const url = `${env["STINT_URL"]}/v1/sessions/${id}/stream?access_token=${env["STINT_TOKEN"]}`;
  const real = await (await fetch(url)).text();
  const beginning = text.slice(0, text.indexOf("id: "));
  expect(beginning).not.toBe("");
  expect(real.startsWith(beginning)).toBe(true);
  expect(Object.keys(JSON.parse(parseStream(real)[1]?.data ?? "{}"))).toEqual(
    Object.keys(JSON.parse(messages[0]?.data ?? "{}")),
  );
}

/** Schemas keep unknown fields, so a misspelt one must be found by its name. */
function checkEvent({ text }: Block): void {
  const event = JSON.parse(text) as { id?: string; type: string; data: Record<string, unknown> };
  if (!isSessionEventType(event.type)) throw new Error(`${event.type} is no type of event`);
  if (event.id !== undefined) eventSchema.parse(event);
  const schema = EVENT_SCHEMAS[event.type];
  schema.parse(event.data);
  expect(Object.keys(schema.shape)).toEqual(expect.arrayContaining(Object.keys(event.data)));
}

/** What a log line consists of: its fields, each with the type of its value. */
function describeShape(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, describeShape(item)]));
}

async function checkLogLine({ text }: Block): Promise<void> {
  const example = JSON.parse(text) as { msg: string; level: string };
  await makeSession("completed");
  await client.sessions.cancel(await makeSession("active"));
  const printed = await dev.waitForLine(({ msg }) => msg === example.msg);
  expect(describeShape(printed)).toEqual(describeShape(example));
  expect(printed["level"]).toBe(example.level);
}

async function checkFigure({ text, attributes }: Block): Promise<void> {
  const name = attributes["figure"] as keyof typeof MONITORING_QUERIES;
  expect(text.trimEnd()).toBe(MONITORING_QUERIES[name]);
  await makeSession("completed");
  const { rows } = await sql.query<Record<string, unknown>>(text);
  expect(rows.length).toBeGreaterThan(0);
  expect(Object.values(rows[0] ?? {})).not.toContain(null);
}

const QUERY_RESULTS: Readonly<Record<string, (rows: readonly object[]) => void>> = {
  policies: (rows) => expect(rows).toHaveLength(6),
  rights: (rows) => expect(rows).toEqual([{ may_append: true }]),
};

async function runQuery({ text, attributes }: Block): Promise<void> {
  const { rows } = await sql.query<object>(text);
  QUERY_RESULTS[attributes["example"] ?? ""]?.(rows);
}

async function runQueryAsUser({ text }: Block): Promise<void> {
  const id = await makeSession("completed");
  const read = async (userId: string): Promise<number | null> => {
    const claims = JSON.stringify({ sub: userId, role: "authenticated" });
    await sql.query("begin");
    try {
      await sql.query("set local role authenticated");
      await sql.query("select set_config('request.jwt.claims', $1, true)", [claims]);
      return (await sql.query(text.replaceAll("$ID", id))).rowCount;
    } finally {
      await sql.query("rollback");
    }
  };
  expect(await read(LOCAL_USER_ID)).toBeGreaterThan(0);
  expect(await read(systemClock.newId())).toBe(0);
}

async function runRefusedQuery({ text, attributes }: Block): Promise<void> {
  await makeSession("completed");
  const message = /^-- ERROR: +(.*)$/m.exec(text)?.[1];
  const code = attributes["refused"];
  await expect(sql.query(text)).rejects.toMatchObject({ code, message });
}

/** What must be true after an example; `id` is the session that it began with. */
const SHELL_RESULTS: Readonly<Record<string, (id: string, stdout: string) => unknown>> = {
  create: async (_, stdout) => {
    const { id, metadata } = sessionSchema.parse(JSON.parse(stdout));
    expect(metadata).toEqual({ source: "nightly" });
    await untilSession(id, ({ status }) => status === "completed");
  },
  read: (id, stdout) => {
    const [session, list, ...rest] = stdout.split(/(?<=\})(?=\{)/);
    expect(sessionSchema.parse(JSON.parse(session ?? "")).id).toBe(id);
    sessionListSchema.parse(JSON.parse(list ?? ""));
    expect(rest.join("")).toContain("hello.txt");
  },
  delete: (id) =>
    expect(client.sessions.get(id)).rejects.toMatchObject({ code: "session_not_found" }),
  limits: async () => {
    const { sessions } = await client.sessions.list({ limit: 1 });
    expect(sessions[0]?.limits).toMatchObject({
      idleTimeoutMs: 7_200_000,
      commandTimeoutMs: 1_200_000,
    });
  },
  workers: (_, stdout) => expect(stdout).toContain('"isLive":true'),
  pause: (id) => untilSession(id, ({ reason }) => reason === "user"),
  resume: (id) => untilSession(id, ({ status }) => status === "completed"),
  cancel: (id) =>
    untilSession(id, ({ status, reason }) => status === "failed" && reason === "cancelled"),
  message: (id) => untilLogged(id, "Leave the tests alone."),
  steer: (id) => untilSession(id, ({ status }) => status === "failed"),
  stream: (_, stdout) => {
    const messages = parseStream(stdout).filter(({ data }) => data !== null);
    expect(messages[0]?.id).toBe("2");
    expect(messages.map(({ id }) => Number(id))).toEqual(messages.map((_, index) => index + 2));
    expect(messages.at(-1)?.data).toMatch(/"to": ?"completed"/);
  },
  "run-script": (_, stdout) => expect(stdout).toContain("COMPLETED"),
  figures: (_, stdout) => {
    expect(stdout).toContain("expirationRatePercent");
    expect(stdout).toContain("stint_session_transitions_total");
  },
};

function untilLogged(id: string, text: string): Promise<unknown> {
  return poll(async () => {
    const { events } = await client.sessions.events(id, { type: "user_message" });
    return events.find(({ data }) => data["text"] === text);
  });
}

async function runShell({ text, attributes }: Block): Promise<void> {
  const { session, example = "" } = attributes;
  const id = session === undefined ? "" : await makeSession(session as Fixture);
  const args = ["-euo", "pipefail", "-c", text];
  const stdout = await new ProgramRun("bash", args, folder.path, { ...env, ID: id }).succeed();
  const check = SHELL_RESULTS[example];
  if (check === undefined) throw new Error(`nothing says what "${example}" must lead to`);
  await check(id, stdout);
}

/** A service runs until it is stopped: its command line and settings are read, not started. */
async function checkServiceCommands({ text }: Block): Promise<void> {
  for (const line of text.trim().split("\n")) {
    const words = splitShellWords(line);
    const start = words.indexOf("stint");
    const pairs = words.slice(0, start).map((word) => word.split("=") as [string, string]);
    const invocation = await parseCommandLine(words.slice(start + 1), COMMANDS, () => "");
    if (invocation.kind !== "command") throw new Error(`${line}: no command`);
    loadConfig({ flags: invocation.options, env: Object.fromEntries(pairs) });
  }
}

const PROGRAM_RUNS: Readonly<Record<string, () => Promise<void>>> = {
  subscribe: async () => {
    const id = await makeSession("completed");
    const stdout = await project.start("subscribe", { ...env, ID: id }).succeed();
    expect(stdout).toContain("2 is active\n");
    expect(stdout).toContain("printed hello\n");
    expect(stdout.trimEnd()).toMatch(/is completed$/);
  },
  lifecycle: async () => {
    const run = project.start("lifecycle", { DATABASE_URL: database.url });
    const result = JSON.parse(await run.succeed()) as unknown;
    expect(result).toEqual({ state: "completed", iterations: 1, changes: 2 });
  },
  worker: runWorker,
};

/** A session for an agent that the server of these tests does not have. */
async function createFor(agent: string, prompt: string): Promise<string> {
  const ports = { clock: systemClock, logger: silentLogger };
  const store = await connectStore({ ...ports, url: database.url });
  try {
    const { session } = await store.createSession({
      id: systemClock.newId(),
      userId: LOCAL_USER_ID,
      agent,
      model: null,
      prompt,
      script: null,
      workspace: { mode: "copy" },
      inPlacePath: null,
      recovery: "restore",
      limits: resolveLimits(loadConfig()),
      keepOpen: false,
      metadata: {},
      parentId: null,
    });
    return session.id;
  } finally {
    await store.close();
  }
}

async function runWorker(): Promise<void> {
  const run = project.start("worker", { DATABASE_URL: database.url });
  try {
    await poll(async () => (run.stdout.includes("ready") ? true : endedEarly(run)));
    const id = await createFor("greeter", "Ann");
    await untilSession(id, ({ status }) => status === "completed");
    const { events } = await client.sessions.events(id);
    expect(events.map(({ type }) => type)).toEqual([
      ...["user_message", "state_changed", "terminal"],
      ...["file_change", "completion", "state_changed"],
    ]);
    expect(events[2]?.data).toMatchObject({ output: "Hello, Ann!\n", exitCode: 0 });
    run.child.kill("SIGTERM");
    await run.succeed();
    const names = (await client.workers.list()).map(({ name }) => name);
    expect(names).not.toContain("greeter");
  } finally {
    run.child.kill("SIGKILL");
  }
}

function endedEarly(run: ProgramRun): null {
  if (run.child.exitCode !== null) throw new Error(`it ended: ${run.stderr}`);
  return null;
}

async function runProgram({ attributes }: Block): Promise<void> {
  const run = PROGRAM_RUNS[attributes["example"] ?? ""];
  if (run === undefined) throw new Error(`nothing runs "${attributes["example"]}"`);
  await run();
}

/** Row by row, as Realtime would give them: JSON, so that instants are texts. */
async function readRows(sessionId: string): Promise<object[]> {
  const { rows } = await sql.query<object>(
    "select * from session_events where session_id = $1 order by seq",
    [sessionId],
  );
  return JSON.parse(JSON.stringify(rows)) as object[];
}

const PART_RUNS: Readonly<Record<string, (start: (...args: unknown[]) => void) => Promise<void>>> =
  {
    supabase: async (start) => {
      const id = await makeSession("completed");
      const calls: [string, unknown][] = [];
      const names = ["updateStatus", "showProgress", "appendOutput"];
      const others = ["refreshFileTree", "showSuccess", "showError"];
      const ui = Object.fromEntries(
        [...names, ...others].map((name) => [name, (value: unknown) => calls.push([name, value])]),
      );
      const supabase = new SupabaseStub();
      start(supabase, id, ui);
      expect(supabase.filter).toEqual({
        event: "INSERT",
        schema: "public",
        table: "session_events",
        filter: `session_id=eq.${id}`,
      });
      for (const row of await readRows(id)) supabase.insert(row);
      expect(calls).toContainEqual(["updateStatus", "active"]);
      expect(calls).toContainEqual(["showProgress", 1]);
      expect(calls).toContainEqual(["appendOutput", "hello\n"]);
      expect(calls.map(([name]) => name)).toContain("refreshFileTree");
      expect(calls.slice(-2)).toEqual([
        ["showSuccess", "one\n\ntwo"],
        ["updateStatus", "completed"],
      ]);
    },
    "event-source": async (start) => {
      const id = await makeSession("completed");
      const seen: { seq: number }[] = [];
      Object.assign(globalThis, { EventSource: FetchEventSource });
      start(id, env["STINT_URL"], env["STINT_TOKEN"], (event: { seq: number }) => seen.push(event));
      await FetchEventSource.allClosed();
      const { events } = await client.sessions.events(id);
      expect(seen).toEqual(events);
    },
  };

/** As much of the Supabase client as the subscription uses. It is handed the rows by the test. */
class SupabaseStub {
  filter: unknown = null;
  #callback: ((payload: { new: object }) => void) | null = null;
  #isSubscribed = false;

  channel(): this {
    return this;
  }

  on(kind: string, filter: unknown, callback: (payload: { new: object }) => void): this {
    expect(kind).toBe("postgres_changes");
    this.filter = filter;
    this.#callback = callback;
    return this;
  }

  subscribe(): this {
    this.#isSubscribed = true;
    return this;
  }

  insert(row: object): void {
    expect(this.#isSubscribed).toBe(true);
    this.#callback?.({ new: row });
  }
}

async function runPart({ attributes }: Block): Promise<void> {
  const part = attributes["part"] ?? "";
  const run = PART_RUNS[part];
  if (run === undefined) throw new Error(`nothing runs the part "${part}"`);
  const url = pathToFileURL(project.locate(part)).href;
  const { start } = (await import(/* @vite-ignore */ url)) as { start: () => void };
  await run(start);
}

// -- the tests -------------------------------------------------------------------------------------

describe("the guide to sessions", () => {
  it("has no block that nothing runs", () => {
    const strangers = blocks.filter((block) => !Object.hasOwn(HANDLERS, kindOf(block)));
    expect(strangers.map((block) => `${GUIDE}:${block.line}: ${kindOf(block)}`)).toEqual([]);
    expect(blocks.length).toBeGreaterThan(40);
  });

  it("has programs that compile against the published entry points, and names that they export", () => {
    expect(entryPoints.map(({ entry }) => entry)).toContain("stint/testing");
    expect(compilerOutput).toBe("");
  });

  it("shows every type of event", () => {
    const shown = blocks
      .filter((block) => kindOf(block) === "json event")
      .map(({ text }) => (JSON.parse(text) as { type: string }).type);
    expect(new Set(shown)).toEqual(new Set(SESSION_EVENT_TYPES));
  });

  it("names each transition with all its reasons", () => {
    const rows = listTableRows(readSection(guide, "1. States")).flatMap(
      ([first = "", reasons = ""]) => {
        const pair = /^`(\w+)` → `(\w+)`$/.exec(first);
        return pair ? [{ from: pair[1], to: pair[2], reasons: listCodes(reasons) }] : [];
      },
    );
    expect(rows.map(({ from, to }) => `${from} → ${to}`).sort()).toEqual(
      Object.entries(VALID_TRANSITIONS)
        .flatMap(([from, targets]) => targets.map((to) => `${from} → ${to}`))
        .sort(),
    );
    const named = rows.flatMap(({ to, reasons }) =>
      reasons.filter(isReason).map((reason) => ({ reason, to: to as SessionState })),
    );
    expect(named.filter(({ reason, to }) => !isReasonFor(reason, to))).toEqual([]);
    const all = new Set(named.map(({ reason }) => reason));
    const rest = REASON_CODES.filter((reason) => !all.has(reason));
    expect(rest).toEqual(["created", "external"]);
  });

  it("states the defaults of the configuration", () => {
    const config: Readonly<Record<string, unknown>> = loadConfig();
    const limits = resolveLimits(loadConfig());
    const rows = listTableRows(readSection(guide, "5. Timeouts")).filter(([first = ""]) => {
      return listCodes(first).some((name) => Object.hasOwn(limits, name));
    });
    expect(rows).toHaveLength(Object.keys(limits).length);
    for (const [limit = "", setting = "", shown = ""] of rows) {
      const expected = shown === "none" ? null : Number(shown.split(" ")[0]);
      expect(limits[listCodes(limit)[0] as keyof SessionLimits]).toBe(expected);
      expect(config[listCodes(setting)[0] ?? ""]).toBe(expected);
    }
    const seconds = { heartbeatIntervalMs: 3, leaseDurationMs: 15, shutdownGraceMs: 4 };
    for (const [name, value] of Object.entries(seconds)) {
      expect(guide).toMatch(new RegExp(`\`${name}\` \\(${value} s\\)`));
      expect(config[name]).toBe(value * 1_000);
    }
    expect(guide).toContain(`\`inboxItemsMax\` (${String(config["inboxItemsMax"])})`);
  });

  it("says what each command answers in each state", async () => {
    const table = listTableRows(readSection(guide, "7. Pause, resume, cancel, messages"));
    const [header = [], ...rows] = table;
    expect(rows.map(([verb]) => verb)).toEqual([
      ...["pause", "resume", "cancel"],
      "message",
      "delete",
    ]);
    const shown: string[] = [];
    const answered: string[] = [];
    for (const [verb = "", ...cells] of rows) {
      for (const [index, cell] of cells.entries()) {
        const state = listCodes(header[index + 1] ?? "")[0] ?? "completed";
        const id = await (state === "pending"
          ? createFor("nobody", "wait")
          : makeSession(state as Fixture));
        shown.push(`${verb} ${state} ${/^\d+/.exec(cell)?.[0]}`);
        answered.push(`${verb} ${state} ${await command(verb, id)}`);
      }
    }
    expect(answered).toEqual(shown);
  }, 180_000);

  it("names methods, metrics and log lines that exist", () => {
    const methods = [...LIBRARY.matchAll(/(?<=^\|[^|]*)`(\w+)\(/gm)].map((match) => match[1] ?? "");
    expect(methods.length).toBeGreaterThan(10);
    const existing = Object.getOwnPropertyNames(SessionLifecycleManager.prototype);
    expect(existing).toEqual(expect.arrayContaining(methods));
    const metrics = listCodes(guide).filter((code) => code.startsWith("stint_"));
    const known = Object.values(METRICS).map(({ name }) => name as string);
    expect(known).toEqual(expect.arrayContaining(metrics));
    const messages = listCodes(readSection(guide, "14. Alerts")).filter((code) =>
      /^[A-Z]\w+ \w+ /.test(code),
    );
    expect(messages.length).toBeGreaterThan(3);
    expect(messages.filter((message) => !isInSources(`"${message}"`))).toEqual([]);
  });

  it("links to what is there, as the README does", () => {
    expect(listBrokenLinks(GUIDE, guide)).toEqual([]);
    expect(listBrokenLinks("README.md", readme)).toEqual([]);
  });

  const runnable = blocks.filter((block) => Object.hasOwn(HANDLERS, kindOf(block)));
  it.each(runnable.map((block) => [titleOf(block), block] as const))(
    "%s",
    async (_, block) => {
      await HANDLERS[kindOf(block)]?.(block);
    },
    180_000,
  );
});

/** Sends a command; its status. */
async function command(verb: string, id: string): Promise<number> {
  const path = verb === "delete" ? "" : verb === "message" ? "/messages" : `/${verb}`;
  const response = await fetch(`${env["STINT_URL"]}/v1/sessions/${id}${path}`, {
    method: verb === "delete" ? "DELETE" : "POST",
    headers: {
      authorization: `Bearer ${env["STINT_TOKEN"]}`,
      ...(verb === "message" && { "content-type": "application/json" }),
    },
    ...(verb === "message" && { body: JSON.stringify({ text: "hello" }) }),
  });
  await response.text();
  return response.status;
}

function isReason(name: string): name is Reason {
  return (REASON_CODES as readonly string[]).includes(name);
}

function titleOf(block: Block): string {
  const example = block.attributes["example"];
  return `line ${block.line} holds: ${kindOf(block)}${example === undefined ? "" : ` ${example}`}`;
}

function toAnchor(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w\s-]/g, "")
    .replaceAll(" ", "-");
}

function listBrokenLinks(path: string, text: string): string[] {
  const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map((match) => toAnchor(match[1] ?? ""));
  const targets = [...text.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] ?? "");
  return targets.filter((target) => {
    const [file = "", anchor = ""] = target.split("#");
    if (file === "") return !anchors.includes(anchor);
    return !/^https?:/.test(file) && !existsSync(join(ROOT, dirname(path), file));
  });
}

function isInSources(text: string): boolean {
  const args = ["-rqF", "--include=*.ts", text, join(ROOT, "src")];
  return spawnSync("grep", args).status === 0;
}

describe("a session whose worker was killed", () => {
  const processes: StintProcess[] = [];
  const rooms: { drop(): unknown }[] = [];

  afterAll(async () => {
    for (const running of processes) await running.stop("SIGKILL");
    for (const room of rooms) await room.drop();
  });

  it("is paused, resumed by another worker and completed as the guide shows, without a command run twice", async () => {
    const own = await createTestDatabase();
    rooms.push(own);
    const dataDir = join(folder.path, "crash");
    mkdirSync(dataDir);
    const outside = join(dataDir, "outside");
    mkdirSync(outside, { recursive: true });
    const start = (command: string): StintProcess => {
      // A short lease, so that nobody has to wait for the default one.
      const lease = { STINT_LEASE_DURATION_MS: "2000", STINT_HEARTBEAT_INTERVAL_MS: "500" };
      const settings = { DATABASE_URL: own.url, STINT_SANDBOX_WRITE_PATHS: outside, ...lease };
      const running = new StintProcess([command, "--json"], dataDir, settings);
      processes.push(running);
      return running;
    };
    const server = await start("server").connect();
    const first = start("worker");
    const counter = join(outside, "counter");
    const { id } = await server.sessions.create({
      prompt: "work",
      model: "scripted",
      script: [
        { bash: `echo once | tee -a '${counter}' >> inside; echo begun; sleep 300` },
        { bash: "ls -A" },
        { text: "done" },
      ],
    });
    await poll(async () => {
      const { events } = await server.sessions.events(id, { type: "terminal" });
      return events.find(({ data }) => data["output"] === "begun\n");
    });
    await first.stop("SIGKILL");
    start("worker");
    await poll(async () => {
      const { status } = await server.sessions.get(id);
      return status === "completed" ? true : null;
    });

    const { events } = await server.sessions.events(id);
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    const shown = blocks
      .filter((block) => kindOf(block) === "json event")
      .map(({ text }) => (JSON.parse(text) as { data: Record<string, unknown> }).data)
      .filter(({ reason }) => reason === "worker_lost" || reason === "resumed");
    const changes = events.filter(({ type }) => type === "state_changed").map(({ data }) => data);
    expect(changes.slice(1, 3)).toEqual(
      shown.map((data) => ({ ...data, workerId: expect.any(String) as string })),
    );
    expect(changes[2]?.["workerId"]).not.toBe(changes[1]?.["workerId"]);
    const ends = events.filter(({ type, data }) => type === "terminal" && data["final"] === true);
    expect(ends.map(({ data }) => data["status"])).toEqual(["interrupted", undefined]);
    expect(readFileSync(counter, "utf8")).toBe("once\n");
    // The workspace went back to the state before the command that was cut off.
    expect(events.map(({ data }) => data["output"])).not.toContain("inside\n");
  }, 180_000);
});

describe("the README", () => {
  it("has no block that nothing runs", () => {
    expect(readmeBlocks.map(({ language }) => language)).toEqual(["", "sh", "sh", "sh", "ts"]);
  });

  it("names commands that exist, with the arguments that they take", async () => {
    const scripts = Object.keys(
      (JSON.parse(readDocument("package.json")) as { scripts: object }).scripts,
    );
    const lines = readmeBlocks
      .filter(({ language }) => language === "sh")
      .flatMap(({ text }) => text.split("\n").filter((line) => line.trim() !== ""));
    const commands = lines.flatMap((line) => line.split(" && ")).map(splitShellWords);
    const called = commands.filter(([program]) => program === "npm").map(([, name]) => name);
    expect(["ci", ...scripts]).toEqual(expect.arrayContaining(called));
    const others = commands.filter(([program]) => program !== "npm");
    expect(others.map((words) => words.slice(0, 2).join(" "))).toEqual(
      others.map(() => "npx stint"),
    );
    const inline = listCodes(readme).filter((text) => /^stint \w/.test(text));
    expect(inline.length).toBeGreaterThan(2);
    const calls = [...others.map((words) => words.slice(1)), ...inline.map(splitShellWords)];
    for (const [, ...args] of calls) {
      const { kind } = await parseCommandLine(args, COMMANDS, () => "");
      expect(kind).toBe("command");
    }
    const remarks = lines.join("\n").match(/#.*/g)?.join("\n") ?? "";
    const named = [...remarks.matchAll(/([a-z]+) ID/g)].map((match) => match[1]);
    expect(named.length).toBeGreaterThan(3);
    expect(COMMANDS.map(({ name }) => name)).toEqual(expect.arrayContaining(named));
  });

  it("has a program that works as it says", async (context) => {
    requireTool(context, "git");
    const shop = join(folder.path, "shop");
    mkdirSync(shop);
    writeFileSync(join(shop, "shop.js"), "export {};\n");
    const identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
    for (const args of [
      ["init", "--quiet", "--initial-branch=main"],
      ["add", "--all"],
      [...identity, "commit", "--quiet", "--message=first"],
    ]) {
      execFileSync("git", args, { cwd: shop, stdio: "pipe" });
    }
    const stdout = await project.start("readme", { ...env, SHOP: shop }).succeed();
    expect(stdout).toBe("linted\n");
  }, 180_000);
});
