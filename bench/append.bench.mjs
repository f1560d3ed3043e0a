// Durable events per second: the group commit against one INSERT per event over a pool of 10, bare
// and with the fence and the dense seq that the group commit keeps. All in the same run on the same
// embedded Postgres, fsync on, with the whole schema (guard, row-level security). Every producer
// awaits the acknowledgement of its event before it makes the next one. BENCH_PRODUCERS=32 runs only
// what has that many producers.
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "pg";
import { silentLogger } from "../dist/core/log.js";
import { attachEmbeddedPostgres } from "../dist/store/embedded/attach.js";
import { migrateDatabase } from "../dist/store/migrate.js";
import { connectStore } from "../dist/store/postgres-store.js";
import {
  describeLoad,
  describeMachine,
  percentile,
  readTreeCpuNs,
  requireBar,
} from "./machine.mjs";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const MEASURE_MS = Number(process.env.BENCH_MS ?? 4_000);
const WARM_UP_MS = 1_000;
const POOL_SIZE = 10;

const clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  uptime: () => performance.now(),
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  newId: () => randomUUID(),
  random: () => Math.random(),
};

/** Output of commands, 320 bytes of JSON on average, no two alike. */
const EVENTS = Array.from({ length: 5_000 }, (_, number) => ({
  type: "terminal",
  data: {
    command: `npm run task-${number % 97}`,
    output: `${number} `.padEnd(60 + ((number * 37) % 370), "compiled src/module.ts in 12 ms; "),
    exitCode: null,
    callId: `call_${number}`,
    final: false,
  },
}));

const PRODUCERS = process.env.BENCH_PRODUCERS;
const SCENARIOS = [
  { producers: 32, sessions: 32 },
  { producers: 1_000, sessions: 50 },
  { producers: 1_000, sessions: 1_000 },
].filter(({ producers }) => PRODUCERS === undefined || producers === Number(PRODUCERS));
if (SCENARIOS.length === 0) throw new Error(`no scenario has ${PRODUCERS} producers`);

function newSession() {
  return {
    id: randomUUID(),
    userId: "00000000-0000-4000-8000-000000000001",
    agent: "builtin",
    model: null,
    prompt: "bench",
    script: null,
    workspace: { mode: "copy" },
    inPlacePath: null,
    recovery: "restore",
    limits: { idleTimeoutMs: 1e9, pausedTimeoutMs: 1e9, queueTimeoutMs: 1e9, deadlineMs: null },
    keepOpen: false,
    metadata: {},
    parentId: null,
  };
}

async function startSessions(store, count) {
  const workerId = randomUUID();
  const worker = { id: workerId, name: "bench", host: "h", bootId: "b", pid: 1, pidStartTime: "1" };
  const facts = { slots: count, version: "0", agents: [], leaseDurationMs: 1e9 };
  await store.registerWorker({ ...worker, ...facts });
  for (let number = 0; number < count; number++) await store.createSession(newSession());
  const owners = [];
  while (owners.length < count) {
    const claimed = await store.claimSessions({ workerId, limit: 200 });
    for (const { session } of claimed) {
      owners.push({ sessionId: session.id, epoch: session.epoch, lastSeq: session.lastSeq });
    }
  }
  return owners;
}

/** Runs all producers for a while; what they do in the warm-up is not counted. */
async function measure(postmasterPid, producers, append) {
  const latencies = [];
  const startMs = performance.now() + WARM_UP_MS;
  const endMs = startMs + MEASURE_MS;
  let cpu;
  const timer = setTimeout(() => {
    cpu = { client: process.cpuUsage(), server: readTreeCpuNs(postmasterPid) };
  }, WARM_UP_MS);
  let doneMs = 0;
  const produce = async (number) => {
    for (let turn = number; ; turn += producers) {
      const sentMs = performance.now();
      if (sentMs >= endMs) return;
      await append(number, EVENTS[turn % EVENTS.length]);
      const ackedMs = performance.now();
      if (ackedMs >= startMs && ackedMs < endMs) latencies.push(ackedMs - sentMs);
      doneMs = ackedMs;
    }
  };
  await Promise.all(Array.from({ length: producers }, (_, number) => produce(number)));
  clearTimeout(timer);
  const used = process.cpuUsage(cpu.client);
  // The last answers come after the end: CPU is spent on them, so it is shared out to them too.
  const share = MEASURE_MS / Math.max(MEASURE_MS, doneMs - startMs);
  const events = latencies.length;
  return {
    perSecond: (events / MEASURE_MS) * 1_000,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    clientUs: ((used.user + used.system) / events) * share,
    serverUs: ((readTreeCpuNs(postmasterPid) - cpu.server) / 1_000 / events) * share,
  };
}

function groupCommit(postgres, scenario) {
  return async () => {
    const store = await connectStore({ url: postgres.url, clock, logger: silentLogger });
    const owners = await startSessions(store, scenario.sessions);
    const result = await measure(postgres.pid, scenario.producers, async (number, event) => {
      const owner = owners[number % owners.length];
      const answer = await store.commit(owner, owner.lastSeq, { events: [event] });
      if (answer.status !== "ok") throw new Error(JSON.stringify(answer));
    });
    await store.close();
    return result;
  };
}

function openPool(postgres) {
  const pool = new Pool({ connectionString: postgres.url, max: POOL_SIZE });
  pool.on("error", () => undefined); // Postgres stops while the last connections say goodbye.
  return pool;
}

function insertPerEvent(postgres, scenario) {
  return async () => {
    const pool = openPool(postgres);
    const ids = Array.from({ length: scenario.sessions }, () => randomUUID());
    const seqs = ids.map(() => 0);
    const result = await measure(postgres.pid, scenario.producers, async (number, event) => {
      const place = number % ids.length;
      await pool.query({
        name: "insert",
        text: `insert into session_events (id, session_id, seq, event_type, event_data)
          values ($1, $2, $3, $4, $5)`,
        values: [randomUUID(), ids[place], ++seqs[place], event.type, JSON.stringify(event.data)],
      });
    });
    await pool.end();
    return result;
  };
}

/** One INSERT per event that keeps the promises of the log: fenced by the epoch, a dense seq. */
function insertFenced(postgres, scenario) {
  return async () => {
    const store = await connectStore({ url: postgres.url, clock, logger: silentLogger });
    const owners = await startSessions(store, scenario.sessions);
    await store.close();
    const pool = openPool(postgres);
    const result = await measure(postgres.pid, scenario.producers, async (number, event) => {
      const owner = owners[number % owners.length];
      await pool.query({
        name: "insert_fenced",
        text: `with head as (
            update coding_sessions set last_seq = last_seq + 1, last_activity_at = now()
            where id = $1 and epoch = $2 and status = 'active' returning last_seq)
          insert into session_events (id, session_id, seq, event_type, event_data)
          select $3, $1, last_seq, $4, $5 from head`,
        values: [
          owner.sessionId,
          owner.epoch,
          randomUUID(),
          event.type,
          JSON.stringify(event.data),
        ],
      });
    });
    await pool.end();
    return result;
  };
}

const median = (results, key) =>
  percentile(
    results.map((result) => result[key]),
    0.5,
  );

function summarise(name, results) {
  const figure = (key, digits = 0) => median(results, key).toFixed(digits).padStart(8);
  const rates = results.map(({ perSecond }) => Math.round(perSecond)).join(" ");
  console.log(
    `${name.padEnd(22)}${figure("perSecond")}/s   p50 ${figure("p50", 1)} ms   p99 ${figure("p99", 1)} ms   ` +
      `CPU client ${figure("clientUs", 1)} + server ${figure("serverUs", 1)} µs/event   (${rates})`,
  );
}

/** The medians' ratio, then that of each round: its three parts ran under much the same load. */
function describeRatio(grouped, single) {
  const ratio = median(grouped, "perSecond") / median(single, "perSecond");
  const rounds = grouped.map(({ perSecond }, round) => perSecond / single[round].perSecond);
  return `${ratio.toFixed(1)} (${rounds.map((each) => each.toFixed(1)).join(" ")})`;
}

/** With a session for each producer there is little to put together; then only equal promises count. */
function requireBars({ producers, sessions }, { grouped, single, fenced }) {
  const perSecond = median(grouped, "perSecond");
  const where = `${producers} producers on ${sessions} sessions:`;
  if (producers === 32) {
    const ratio = perSecond / median(fenced, "perSecond");
    requireBar(`${where} ratio with the same promises`, ratio, { min: 3.5 });
  } else if (sessions === 50) {
    requireBar(`${where} events`, perSecond, { min: 25_000 }, "/s");
    requireBar(`${where} ratio`, perSecond / median(single, "perSecond"), { min: 8 });
    const cpuUs = median(grouped, "clientUs") + median(grouped, "serverUs");
    requireBar(`${where} CPU of an event`, cpuUs, { max: 60 }, " µs");
  }
}

console.log(describeMachine());
const parent = mkdtempSync(join(tmpdir(), "stint-bench-"));
const dataDir = join(parent, ".stint");
const embedded = await attachEmbeddedPostgres({ dataDir, stopDelayMs: 0 });
try {
  const pid = Number(readFileSync(join(dataDir, "pg", "postmaster.pid"), "utf8").split("\n")[0]);
  const postgres = { url: embedded.url, pid };
  const resolveUrl = () => Promise.resolve(embedded.url);
  await migrateDatabase({ resolveUrl, clock, logger: silentLogger });
  for (const scenario of SCENARIOS) {
    const { producers, sessions } = scenario;
    console.log(`\n${producers} producers, ${sessions} sessions; before: ${describeLoad()}`);
    const grouped = [];
    const single = [];
    const fenced = [];
    for (let round = 0; round < ROUNDS; round++) {
      grouped.push(await groupCommit(postgres, scenario)());
      single.push(await insertPerEvent(postgres, scenario)());
      fenced.push(await insertFenced(postgres, scenario)());
    }
    summarise("INSERT, unfenced", single);
    summarise("INSERT, same promises", fenced);
    summarise("group commit", grouped);
    const ratios = `${describeRatio(grouped, single)} and ${describeRatio(grouped, fenced)}`;
    console.log(`ratios ${ratios}; after: ${describeLoad()}`);
    requireBars(scenario, { grouped, single, fenced });
  }
} finally {
  await embedded.release();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  rmSync(parent, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
