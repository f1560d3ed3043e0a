/**
 * An agent that does not work ends its session in a truthful state: a reason, a code, what the agent
 * said last in the log, and for people what to do about it.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Session, SessionEvent, StintClient } from "../../src/client.ts";
import type { ErrorCode } from "../../src/core/error.ts";
import { makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

type Act = Readonly<Record<string, unknown>>;

interface BadAgent {
  readonly acts?: readonly Act[];
  readonly flags?: Act;
  readonly reason: Session["reason"];
  readonly code: ErrorCode;
  /** Its last words, and how it ended. */
  readonly says: RegExp;
  /** What people are told to do. */
  readonly remedy: RegExp;
}

const FAKE = fileURLToPath(new URL("../conformance/agent/fake-acp-agent.mjs", import.meta.url));
const KEY = "sk-refused-by-the-provider";
const LOGS = /next: .*stint logs/;

const AGENTS: Readonly<Record<string, BadAgent>> = {
  "crashes-at-start": {
    flags: { exitAtStart: 7, stderr: "no license for this host\n" },
    ...{ reason: "agent_error", code: "agent_error", remedy: LOGS },
    says: /exit code 7.*stderr: no license for this host/,
  },
  "does-nothing": {
    flags: { exitAtStart: 0 },
    ...{ reason: "agent_error", code: "agent_error", remedy: LOGS },
    says: /exit code 0/,
  },
  "ends-without-a-word": {
    ...{ reason: "agent_error", code: "agent_error", remedy: LOGS },
    says: /without having said or done anything/,
  },
  "wants-a-login": {
    flags: { wantsLogin: true, stderr: "no account\n" },
    ...{ reason: "agent_error", code: "agent_not_logged_in" },
    says: /Log in with a browser/,
    remedy: /next: Give it a model, or log in where the worker runs/,
  },
  "speaks-another-version": {
    flags: { version: 2 },
    ...{ reason: "agent_error", code: "agent_version" },
    says: /version 2.*version 1/,
    remedy: /next: Install the version that `stint agents` names/,
  },
  "prints-garbage": {
    acts: [{ stderr: "terminal mode\n" }, { print: "garbage", times: 3_000 }, { hang: true }],
    ...{ reason: "agent_error", code: "agent_protocol_error", remedy: LOGS },
    says: /no message.*printed: garbage[^]*stderr: terminal mode/,
  },
};

const folder = makeFolder();
const provider = createServer((request, response) => {
  request.resume();
  const isKnown = request.url?.includes("messages") === true;
  const error = isKnown ? { message: "invalid x-api-key" } : { message: "no such model" };
  response.writeHead(isKnown ? 401 : 404, { "content-type": "application/json" });
  response.end(JSON.stringify({ type: "error", error }));
});
let settings: Record<string, string>;
let service: StintProcess;
let client: StintClient;

beforeAll(async () => {
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/v1`;
  const agents = Object.entries(AGENTS).map(([name, { acts = [], flags = {} }]) => {
    const env = { FAKE_ACTS: JSON.stringify(acts), FAKE_FLAGS: JSON.stringify(flags) };
    return [name, { command: process.execPath, args: [FAKE], env }];
  });
  settings = {
    STINT_AGENTS: JSON.stringify({
      ...(Object.fromEntries(agents) as object),
      "is-missing": { command: "no-such-agent" },
      floods: configure([{ flood: 50_000 }, { say: "end" }]),
      "leaves-its-workspace": configure([
        { write: { path: "/etc/passwd", content: "x" }, ask: true },
        { say: "So be it." },
      ]),
    }),
    ...{ ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: KEY },
    ...{ OPENAI_BASE_URL: url, OPENAI_API_KEY: KEY },
  };
  service = new StintProcess(["dev", "--json"], folder.path, settings);
  client = await service.connect();
}, 180_000);

afterAll(async () => {
  await service.stop("SIGKILL");
  provider.close();
  await folder.dispose();
}, 30_000);

function configure(acts: readonly Act[]): object {
  const env = { FAKE_ACTS: JSON.stringify(acts) };
  return { command: process.execPath, args: [FAKE], env };
}

const run = (...args: string[]) =>
  runStint(["run", "--wait", ...args, "Work."], { dataDir: folder.path, env: settings });

async function end(id: string): Promise<{ session: Session; events: readonly SessionEvent[] }> {
  const session = await poll(async () => {
    const found = await client.sessions.get(id);
    return ["completed", "failed", "expired"].includes(found.status) ? found : null;
  }, 180_000);
  const { events } = await client.sessions.events(id, { limit: 1_000 });
  return { session, events };
}

const newest = async (): Promise<string> => (await client.sessions.list()).sessions[0]?.id ?? "";

test.each(Object.entries(AGENTS))(
  "%s: the session fails with its reason, its code, the agent's last words and a remedy",
  async (name, { reason, code, says, remedy }) => {
    const told = await run("--agent", name);
    const { session, events } = await end(await newest());
    expect(session).toMatchObject({ agent: name, status: "failed", reason, error: { code } });
    expect(session.error?.message).toMatch(says);
    // Who reads the log alone learns the same.
    const last = events.findLast(({ type }) => type === "state_changed" || type === "error");
    expect(last?.data).toMatchObject({ to: "failed", reason });
    const log = events.map(({ data }) => JSON.stringify(data)).join("\n");
    expect(log).toContain(code);
    expect(log).toMatch(says);
    expect(told.code).toBe(1);
    expect(told.stdout).toContain(`${code}: `);
    expect(told.stdout + told.stderr).toMatch(remedy);
    const shown = await runStint(["show", session.id], { dataDir: folder.path });
    expect(shown.stdout).toMatch(/remedy /);
  },
  180_000,
);

test("an agent that is missing is refused at once, with where it was looked for", async () => {
  const told = await run("--agent", "is-missing");
  expect(told.code).toBe(2);
  expect(told.stderr).toMatch(/no-such-agent.*\(agent_missing\)/);
  expect(told.stderr).toMatch(/next: Install it/);
});

test.each([
  ["a key that is refused", "anthropic:some", /HTTP 401/],
  ["a model that is unknown", "openai:none", /HTTP 404/],
])("%s fails the session, with what the provider said and no key", async (_name, model, says) => {
  const told = await run("--model", model);
  const { session, events } = await end(await newest());
  expect(session).toMatchObject({ status: "failed", reason: "model_error" });
  expect(session.error).toMatchObject({ code: "model_error" });
  expect(session.error?.message).toMatch(says);
  expect(told.stdout + told.stderr).toMatch(/next: Check the model's name, the key/);
  expect(JSON.stringify([session, events]) + told.stdout + told.stderr).not.toContain(KEY);
});

test("a budget of nothing is refused", async () => {
  const told = await run("--model", "anthropic:some", "--max-tokens", "0");
  expect(told.code).toBe(2);
  expect(told.stderr).toMatch(/limits\.tokensMax: must be at least 1 \(invalid_request\)/);
});

test("an agent that floods is taken for what it says, in few events", async () => {
  const { id } = await client.sessions.create({ prompt: "Work.", agent: "floods" });
  const { session, events } = await end(id);
  expect(session).toMatchObject({ status: "completed" });
  expect(events.length).toBeLessThan(100);
}, 180_000);

test("an agent that asks to write outside is denied, and the log says why", async () => {
  const { id } = await client.sessions.create({ prompt: "Work.", agent: "leaves-its-workspace" });
  const { session, events } = await end(id);
  expect(session).toMatchObject({ status: "completed" });
  const answers = events.filter(({ type }) => type === "permission").map(({ data }) => data);
  expect(answers).toMatchObject([{ status: "denied", by: "policy", paths: ["/etc/passwd"] }]);
  expect(answers[0]?.["note"]).toContain("leads out of the workspace");
}, 180_000);
