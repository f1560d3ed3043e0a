// What a hostile session does to others: eight polite ones in the same worker process, each with an
// event every 50 ms, without a neighbour and with one of each kind. The time of an event runs from
// when it was due to when it is durable, so that a worker that is held up cannot hide it. Before and
// after each neighbour the same is measured without: the ratio is of the same minute.
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as stint from "../dist/index.js";
import { describeLoad, describeMachine, percentile } from "./machine.mjs";

const POLITE = 8;
const INTERVAL_MS = 50;
const MEASURE_MS = Number(process.env.BENCH_MS ?? 4_000);
const SETTLE_MS = 1_500;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 2);
const RATIO_MAX = 2;
const FILE_BYTES_MAX = 268_435_456;
const ONLY = process.env.BENCH_KIND ?? "";

/** An ACP agent that answers what it must, then tells what it says as fast as it is read. */
const TALKER = `
  const { writeSync } = require("node:fs");
  const send = (body) => JSON.stringify({ jsonrpc: "2.0", ...body }) + "\\n";
  const answers = {
    initialize: { protocolVersion: 1, agentCapabilities: {} },
    "session/new": { sessionId: "s" },
  };
  const content = { type: "text", text: "again " };
  const update = { sessionUpdate: "agent_message_chunk", content };
  const flood = send({ method: "session/update", params: { sessionId: "s", update } }).repeat(500);
  require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const { id, method } = JSON.parse(line);
    if (method in answers) writeSync(1, send({ id, result: answers[method] }));
    else if (method === "session/prompt") for (;;) writeAll(flood);
  });
  function writeAll(text) {
    for (let rest = Buffer.from(text); rest.length > 0;) {
      try { rest = rest.subarray(writeSync(1, rest)); } catch (error) { if (error.code !== "EAGAIN") throw error; }
    }
  }`;
const TOLD = JSON.stringify({ type: "thinking", text: "again and again" });

/** Each the agent that runs it and what it is told. */
const KINDS = {
  "fork bomb": ["shell", "mkfifo hold; b() { b | b & b; }; (b) 2> /dev/null & read -r l < hold"],
  "CPU burners": ["shell", "for i in $(seq 16); do while :; do :; done & done; wait"],
  "output flood": ["shell", `yes '${"flood ".repeat(10)}'`],
  "event flood": ["teller", `yes '${TOLD}'`],
  "message flood": ["talker", "talk"],
  "disk write": [
    "shell",
    "while :; do dd if=/dev/zero of=big bs=1M count=200 conv=fsync status=none; done",
  ],
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let latencies = [];

/** Says something at every tick, until it is told to stop. */
const politeAgent = {
  name: "polite",
  needsModel: false,
  probe: () => Promise.resolve({ available: true, detail: "" }),
  async run(context) {
    const event = {
      type: "thinking",
      data: { iteration: 1, toolsUsed: [], text: "one more line" },
    };
    let dueMs = performance.now();
    while (!context.signal.aborted) {
      await sleep(dueMs - performance.now());
      await context.emit(event);
      const durableMs = performance.now();
      latencies.push(durableMs - dueMs);
      // What was missed meanwhile is not made up for: a late event makes no other late.
      dueMs = Math.max(dueMs + INTERVAL_MS, durableMs);
    }
    throw context.signal.reason;
  },
};

function createShellAgent(name, tellsEvents) {
  const program = { command: "bash", args: ["-c", 'eval "$STINT_PROMPT"'] };
  const facts = { exposes: [], env: {}, hasTerminal: false, mayRunAgain: false };
  const definition = { ...facts, name, title: name, program, tellsEvents };
  return stint.createCommandAgent({ definition, path: process.env.PATH });
}

function createTalker() {
  const quirks = {
    ...{ exitCode: "true", usage: "none", replayQuietMs: 300, loadsNextMinuteOnly: false },
    ...{ actsUnasked: true, volatileInput: [] },
  };
  const program = { command: process.execPath, args: ["-e", TALKER] };
  const facts = { name: "talker", title: "talker", wire: null, environment: () => ({}), quirks };
  const places = { path: process.env.PATH, installed: [] };
  return stint.createAcpAgent({ definition: { ...facts, ...program }, places });
}

function newSession(agent, prompt) {
  return {
    id: randomUUID(),
    userId: "00000000-0000-4000-8000-000000000001",
    ...{ agent, model: null, prompt, script: null, workspace: { mode: "copy" } },
    ...{ inPlacePath: null, recovery: "restore", keepOpen: false, metadata: {}, parentId: null },
    limits: {
      ...{ idleTimeoutMs: 1e9, pausedTimeoutMs: 1e9, queueTimeoutMs: 1e9, deadlineMs: null },
      ...{ commandTimeoutMs: 6e5, modelCallTimeoutMs: 6e5, outputBytesMax: 1e6 },
      maxIterations: 1_000,
    },
  };
}

/** A worker with its store, as `stint worker` puts it together. */
async function startWorker(dataDir, databaseUrl) {
  const { systemClock: clock, silentLogger: logger } = stint;
  const config = stint.loadConfig({
    file: { dataDir, workerSlots: POLITE + 1, processesMax: 200, fileBytesMax: FILE_BYTES_MAX },
  });
  const source = { resolveUrl: () => Promise.resolve(databaseUrl), clock, logger };
  await stint.migrateDatabase(source);
  const metrics = stint.createPrometheusMetrics();
  const store = await stint.connectStore({ ...source, metrics });
  const lifecycle = new stint.SessionLifecycleManager({ store, clock, logger, metrics });
  const workspaces = await stint.createLocalWorkspaces({
    ...{ config, logger, clock, env: process.env },
  });
  const shells = [createShellAgent("shell", false), createShellAgent("teller", true)];
  const agents = [politeAgent, ...shells, createTalker()];
  const registry = stint.createAgentRegistry(agents);
  const worker = stint.createWorker({
    ...{ store, lifecycle, config, agents, clock, logger, version: "0", env: process.env },
    getAgent: (name) => registry.get(name),
    openWorkspace: workspaces.open,
    identity: await stint.readHostIdentity(),
  });
  await worker.start();
  console.log(workspaces.description);
  const stop = async () => {
    await worker.stop();
    await workspaces.close();
    await store.close();
  };
  return { store, stop };
}

async function waitFor(store, id, isReached) {
  for (;;) {
    const session = await store.getSession(id);
    if (isReached(session)) return;
    if (session.status === "failed") throw new Error(JSON.stringify(session));
    await sleep(20);
  }
}

async function measure() {
  latencies = [];
  await sleep(MEASURE_MS);
  const measured = latencies;
  latencies = [];
  return measured;
}

/** Runs a neighbour of this kind beside the polite ones. */
async function measureBeside(store, [agent, prompt]) {
  const session = newSession(agent, prompt);
  await store.createSession(session);
  await waitFor(store, session.id, ({ status }) => status === "active");
  await sleep(SETTLE_MS);
  const measured = await measure();
  const before = await store.getSession(session.id);
  if (before.status !== "active") throw new Error(`${agent} ended: ${JSON.stringify(before)}`);
  await store.cancelSession(session.id);
  await waitFor(store, session.id, ({ completedAt }) => completedAt !== null).catch(
    () => undefined,
  );
  await sleep(SETTLE_MS);
  return measured;
}

function describe(name, values) {
  const figure = (share) => percentile(values, share).toFixed(1).padStart(7);
  return `${name} p50 ${figure(0.5)} p99 ${figure(0.99)} ms`;
}

console.log(describeMachine());
const parent = realpathSync(mkdtempSync(join(tmpdir(), "stint-bench-")));
const dataDir = join(parent, ".stint");
const embedded = await stint.attachEmbeddedPostgres({ dataDir, stopDelayMs: 0 });
try {
  const { store, stop } = await startWorker(dataDir, embedded.url);
  for (let count = 0; count < POLITE; count++) {
    const session = newSession("polite", "be polite");
    await store.createSession(session);
    await waitFor(store, session.id, ({ lastSeq }) => lastSeq > 20);
  }
  for (const [name, kind] of Object.entries(KINDS)) {
    if (!name.includes(ONLY)) continue;
    const without = [...(await measure())];
    const beside = [];
    for (let round = 0; round < ROUNDS; round++) {
      beside.push(...(await measureBeside(store, kind)));
      without.push(...(await measure()));
    }
    const ratio = percentile(beside, 0.99) / percentile(without, 0.99);
    const verdict = ratio <= RATIO_MAX ? "" : `  above ${RATIO_MAX}`;
    if (ratio > RATIO_MAX) process.exitCode = 1;
    const figures = `${describe("without", without)}   ${describe("beside", beside)}`;
    console.log(
      `${name.padEnd(14)} ${figures}   ${beside.length} events   ratio ${ratio.toFixed(2)}${verdict}   ${describeLoad()}`,
    );
  }
  await stop();
} finally {
  await embedded.release();
  await sleep(1_000);
  rmSync(parent, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
