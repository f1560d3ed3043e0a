/**
 * An agent of the Agent Client Protocol for tests: it does the acts of FAKE_ACTS, one after the
 * other, and forgets none of them when it is killed; FAKE_FLAGS switches its bad habits on.
 * What it was told and asked stands in `fake.log` in its home.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const acts = JSON.parse(process.env.FAKE_ACTS ?? "[]");
const flags = JSON.parse(process.env.FAKE_FLAGS ?? "{}");
const home = process.env.HOME ?? ".";
const waiting = new Map();
let nextId = 1;
let session = null;
let isCancelled = false;
let running = null;

const note = (entry) => appendFileSync(join(home, "fake.log"), `${JSON.stringify(entry)}\n`);
const print = (line) => process.stdout.write(`${line}\n`);
const send = (message) => print(JSON.stringify({ jsonrpc: "2.0", ...message }));
const update = (fields) =>
  send({ method: "session/update", params: { sessionId: session.id, update: fields } });
const say = (kind, text) => update({ sessionUpdate: kind, content: { type: "text", text } });
const ask = (method, params) =>
  new Promise((resolve) => {
    const id = `fake-${nextId++}`;
    waiting.set(id, resolve);
    send({ id, method, params });
  });

const pathOf = (id) => join(home, `fake-session-${id}.json`);
const save = () => writeFileSync(pathOf(session.id), JSON.stringify(session));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function run(command, onOutput) {
  return new Promise((resolve) => {
    running = spawn("sh", ["-c", command], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [running.stdout, running.stderr]) {
      stream.on("data", (bytes) => onOutput((output += bytes), String(bytes)));
    }
    running.on("close", (code) => resolve({ code, output }));
  });
}

async function callTool(act, index) {
  const toolCallId = act.id ?? `call-${index}`;
  const isRun = act.run !== undefined;
  const rawInput = isRun ? { command: act.run } : { file_path: act.write.path };
  const call = { toolCallId, title: act.run ?? `Write ${act.write.path}`, rawInput };
  const kind = act.kind ?? (isRun ? "execute" : "edit");
  const announced = { ...call, ...(kind !== "untold" && { kind }), status: "pending" };
  if (!act.unannounced) update({ sessionUpdate: "tool_call", ...announced });
  if (act.ask) {
    const often = act.always ? "always" : "once";
    const options = [
      { optionId: "yes", name: "Allow", kind: `allow_${often}` },
      { optionId: "no", name: "Reject", kind: `reject_${often}` },
    ];
    const params = { sessionId: session.id, toolCall: announced, options };
    const { result } = await ask("session/request_permission", params);
    note({ permission: result?.outcome });
    if (result?.outcome?.outcome === "cancelled") return;
    if (result?.outcome?.optionId !== "yes") {
      update({ sessionUpdate: "tool_call_update", toolCallId, status: "failed" });
      return;
    }
  }
  if (!isRun) {
    writeFileSync(act.write.path, act.write.content);
    update({ sessionUpdate: "tool_call_update", toolCallId, status: "completed" });
    return;
  }
  const { shape = "delta" } = act;
  const { code, output } = await run(act.run, (whole, piece) => {
    const more = { sessionUpdate: "tool_call_update", toolCallId, status: "in_progress" };
    const data = { terminal_id: toolCallId, data: piece };
    if (shape === "delta") update({ ...more, _meta: { terminal_output: data } });
    const content = [{ type: "content", content: { type: "text", text: whole } }];
    if (shape === "cumulative") update({ ...more, content });
  });
  const final = act.final ?? output;
  const rawOutput = shape === "none" ? undefined : { output: final, metadata: { exit: code } };
  update({ sessionUpdate: "tool_call_update", toolCallId, status: "completed", rawOutput });
}

async function askModel(text) {
  const { ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: key } = process.env;
  const body = { model: "scripted", max_tokens: 9, messages: [{ role: "user", content: text }] };
  const headers = { "x-api-key": key, "content-type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(`${url}/v1/messages`, init);
  note({ model: answer.status, says: await answer.text() });
}

async function perform(act, index) {
  if (act.say !== undefined) say("agent_message_chunk", act.say);
  else if (act.think !== undefined) say("agent_thought_chunk", act.think);
  else if (act.run !== undefined || act.write !== undefined) await callTool(act, index);
  else if (act.askModel !== undefined) await askModel(act.askModel);
  else if (act.request !== undefined)
    note({ answer: await ask(act.request.method, act.request.params) });
  else if (act.print !== undefined) for (let n = act.times ?? 1; n > 0; n--) print(act.print);
  else if (act.longLine !== undefined) say("agent_message_chunk", "x".repeat(act.longLine));
  else if (act.flood !== undefined)
    for (let n = 0; n < act.flood; n++) say("agent_message_chunk", `${n} `);
  else if (act.update !== undefined) update(act.update);
  else if (act.stderr !== undefined) process.stderr.write(act.stderr);
  else if (act.exit !== undefined) process.exit(act.exit);
  else if (act.crashOnce !== undefined && !existsSync(join(home, "crashed"))) {
    writeFileSync(join(home, "crashed"), "");
    process.exit(act.crashOnce);
  } else if (act.hang) await new Promise(() => undefined);
}

async function prompt(params) {
  isCancelled = false;
  session.prompts.push(params.prompt.map(({ text }) => text).join(""));
  note({ prompt: session.prompts.at(-1) });
  save();
  for (; session.next < acts.length && !isCancelled;) {
    const index = session.next++;
    if (acts[index].stop !== undefined) return (save(), { stopReason: acts[index].stop });
    save();
    await perform(acts[index], index);
    if (acts[index].turn) break;
  }
  const usage = { inputTokens: 100, outputTokens: 10, totalTokens: 110 };
  return isCancelled ? { stopReason: "cancelled" } : { stopReason: "end_turn", usage };
}

async function replay() {
  for (const text of session.prompts) say("user_message_chunk", text);
  for (let index = 0; index < session.next; index++) {
    const act = acts[index];
    if (act.say !== undefined) say("agent_message_chunk", act.say);
    const toolCallId = act.id ?? `call-${index}`;
    const call = {
      toolCallId,
      title: "replayed",
      status: "pending",
      rawInput: { command: "replayed" },
    };
    if (act.run !== undefined) update({ sessionUpdate: "tool_call", ...call });
  }
}

function load({ sessionId }) {
  if (flags.crashOnLoad) process.exit(9);
  if (flags.loadFails || !existsSync(pathOf(sessionId))) throw new Error("no such session");
  session = JSON.parse(readFileSync(pathOf(sessionId), "utf8"));
}

const methods = {
  initialize: () => ({
    protocolVersion: flags.version ?? 1,
    agentCapabilities: {
      loadSession: !flags.noLoad,
      sessionCapabilities: flags.resume || flags.resumeMissing ? { resume: {} } : {},
    },
    authMethods: [{ id: "login", name: "Log in with a browser" }],
  }),
  "session/new": ({ cwd }) => {
    if (flags.wantsLogin)
      throw Object.assign(new Error("Authentication required"), { code: -32000 });
    process.chdir(cwd);
    session = { id: randomUUID(), next: 0, prompts: [] };
    save();
    return { sessionId: session.id };
  },
  "session/resume": (params) => {
    if (flags.resumeMissing) throw Object.assign(new Error("Method not found"), { code: -32601 });
    process.chdir(params.cwd);
    return (load(params), {});
  },
  "session/load": async (params) => {
    process.chdir(params.cwd);
    load(params);
    await replay();
    if (flags.replayLate) setTimeout(() => void replay(), 50);
    return {};
  },
  "session/prompt": prompt,
};

mkdirSync(home, { recursive: true });
if (flags.orphan) spawn("sleep", ["61"], { detached: true, stdio: "ignore" }).unref();
if (flags.deaf) process.on("SIGTERM", () => undefined);
if (flags.stderr) process.stderr.write(flags.stderr);
if (flags.exitAtStart !== undefined) process.exit(flags.exitAtStart);
if (flags.greets) print("Welcome to the fake agent!\n{not json");
note({ started: process.argv.slice(2) });

createInterface({ input: process.stdin }).on("line", async (line) => {
  if (flags.mute) return;
  const { id, method, params, ...answer } = JSON.parse(line);
  note({ heard: method ?? "answer" });
  if (method === undefined) return waiting.get(id)?.(answer);
  if (method === "session/cancel") {
    if (flags.ignoresCancel) return;
    isCancelled = true;
    running?.kill("SIGKILL");
    return;
  }
  await pause(0);
  try {
    if (methods[method] === undefined)
      throw Object.assign(new Error("Method not found"), { code: -32601 });
    send({ id, result: await methods[method](params) });
  } catch (error) {
    send({ id, error: { code: error.code ?? -32603, message: error.message } });
  }
});
if (!flags.outlivesStdin) process.stdin.on("end", () => process.exit(0));
