import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { afterEach, expect, test } from "vitest";
import { toEvent } from "../../src/core/event-row.ts";
import type { JsonObject } from "../../src/core/json.ts";
import { foldEvents } from "../../src/core/fold.ts";
import {
  type EventTableRow,
  sessionColumns,
  type SessionRow,
  toSnapshot,
} from "../../src/store/rows.ts";
import { typeParsers } from "../../src/store/type-parsers.ts";
import { makeDataFolder } from "../data-template.ts";
import { makeFolder, poll, runStint, StintProcess } from "../e2e/stint-process.ts";
import { LogReader } from "./log-reader.ts";

/** Sessions under way while everything is replaced. `npm run crash:long` sets 200. */
const SESSIONS = Number(process.env["STINT_TEST_ROLLING_SESSIONS"] ?? 16);
const WORKERS = 4;
/** Room for all sessions also while one worker is away. */
const SLOTS = Math.ceil(SESSIONS / (WORKERS - 1));
const COMMANDS = 5;
/** A bound alone: a busy machine may be twenty times slower than an idle one. */
const WORK_MS_MAX = SESSIONS * 10_000;
/** The default of `shutdownGraceMs`, and what ending the process itself may take on a busy machine. */
const STOP_MS_MAX = 4_000 + 3_000;

const SETTINGS = { STINT_WORKER_SLOTS: String(SLOTS), STINT_LOG_LEVEL: "warn" };

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Thinks, runs commands that take their time, writes, reads: some 12 calls. */
function writeScript(): JsonObject[] {
  const rounds = Array.from({ length: COMMANDS }, (_, round) => [
    { think: `Step ${round}.` },
    { delayMs: 300 },
    { bash: `echo 'step ${round}' >> steps; for i in 1 2 3 4; do echo line $i; sleep 0.1; done` },
    { write: { path: `notes-${round}.md`, content: `# Notes ${round}\n` } },
  ]);
  return [...rounds.flat(), { read: { path: "steps" } }, { text: "Done." }];
}

/** Peak of resident memory, in MB. */
function readPeakMb(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(/^VmHWM:\s+(\d+)/m.exec(text)?.[1]) / 1_024);
}

interface Attempt {
  readonly ended_state: string;
  readonly ended_reason: string;
  readonly refunded: boolean;
  readonly count: number;
}

test("a rolling restart of all workers and the server under load loses and burns nothing", async () => {
  const folder = makeFolder("stint rolling ");
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  const start = (role: "server" | "worker"): StintProcess => {
    const started = new StintProcess([role, "--json"], folder.path, SETTINGS);
    cleanups.push(() => started.stop("SIGKILL"));
    return started;
  };
  let server = start("server");
  let client = await server.connect();
  const workers = Array.from({ length: WORKERS }, () => start("worker"));
  await Promise.all(workers.map((worker) => worker.ready()));

  const startedAt = performance.now();
  const script = writeScript();
  for (let number = 0; number < SESSIONS; number++) {
    await client.sessions.create({ prompt: `work ${number}`, model: "scripted", script });
  }
  const reader = new LogReader(client);
  reader.start();
  cleanups.push(() => reader.stop());

  const stopMs: number[] = [];
  const peakMb: number[] = [];
  const replace = async (old: StintProcess, role: "server" | "worker"): Promise<StintProcess> => {
    peakMb.push(readPeakMb(old.pid));
    const askedAt = performance.now();
    expect(await old.stop("SIGTERM")).toBe(0);
    stopMs.push(Math.round(performance.now() - askedAt));
    const next = start(role);
    await next.ready();
    return next;
  };
  for (const [place, worker] of workers.entries()) {
    // Each is stopped at work.
    await poll(async () => {
      const known = await client.workers.list();
      const busy = known.find(({ pid, isLive }) => isLive && pid === worker.pid);
      return busy && busy.activeSessions > 0 ? true : null;
    });
    workers[place] = await replace(worker, "worker");
  }
  server = await replace(server, "server");
  client = await server.connect();
  reader.follow(client);

  await poll(async () => {
    const { sessions } = await client.stats();
    return sessions.pending + sessions.active + sessions.paused === 0 ? true : null;
  }, WORK_MS_MAX);
  const tookMs = performance.now() - startedAt;
  await reader.stop();
  for (const { pid } of workers) peakMb.push(readPeakMb(pid));

  const status = await runStint(["db", "status", "--json"], { dataDir: folder.path });
  const { url } = JSON.parse(status.stdout) as { url: string };
  const database = new Client({ connectionString: url, types: typeParsers });
  await database.connect();
  cleanups.push(() => database.end());

  // Nothing failed, nothing was burned, and no end of an attempt was anything but asked for.
  const { rows: sessions } = await database.query<SessionRow>(
    `select ${sessionColumns()} from public.coding_sessions`,
  );
  expect(sessions).toHaveLength(SESSIONS);
  expect(sessions.map(toSnapshot).filter(({ status }) => status !== "completed")).toEqual([]);
  const { rows: attempts } = await database.query<Attempt>(
    `select ended_state, ended_reason, refunded, count(*) from stint.attempts
     group by 1, 2, 3 order by 1`,
  );
  const pauses = attempts.find(({ ended_state: state }) => state === "paused")?.count ?? 0;
  expect(attempts).toEqual([
    { ended_state: "completed", ended_reason: "end_turn", refunded: false, count: SESSIONS },
    { ended_state: "paused", ended_reason: "shutdown", refunded: true, count: pauses },
  ]);
  expect(pauses).toBeGreaterThanOrEqual(WORKERS);

  const waitMs: number[] = [];
  let eventCount = 0;
  for (const session of sessions.map(toSnapshot)) {
    expect(session).toMatchObject({ status: "completed", reason: "end_turn", attempts: 1 });
    const { rows } = await database.query<EventTableRow>(
      `select id, session_id, seq, event_type, event_data, created_at
       from public.session_events where session_id = $1 order by seq`,
      [session.id],
    );
    const events = rows.map(toEvent);
    eventCount += events.length;
    // The fold refuses gaps; every event that a reader was shown is still where it was.
    const { reason, epoch, lastSeq, stats } = session;
    expect(foldEvents(events)).toEqual({ status: session.status, reason, epoch, lastSeq, stats });
    const seen = reader.seen.get(session.id) ?? [];
    expect(events.slice(0, seen.length).map(({ id }) => id)).toEqual(seen);

    const changes = events.filter(({ type }) => type === "state_changed");
    for (const [place, { data, createdAt }] of changes.entries()) {
      const before = changes[place - 1];
      if (data["reason"] !== "resumed" || before === undefined) continue;
      waitMs.push(createdAt.getTime() - before.createdAt.getTime());
    }
    // No command ran twice, and what one that ended had done is there.
    const lines = readFileSync(join(session.workspace.path ?? "", "steps"), "utf8").match(/\d+/g);
    expect(new Set(lines).size).toBe(lines?.length);
    const finished = events.filter(({ data }) => data["final"] === true && data["exitCode"] === 0);
    expect(lines?.length).toBeGreaterThanOrEqual(finished.length);
  }
  waitMs.sort((a, b) => a - b);
  console.log(
    `rolling restart: ${SESSIONS} sessions, ${WORKERS} workers and a server replaced in ` +
      `${(tookMs / 1_000).toFixed(1)} s; ${pauses} pauses, all refunded; ${eventCount} events, ` +
      `${reader.eventCount} seen, 0 lost; stop ${stopMs.join(" ")} ms; resumed after ` +
      `${waitMs[Math.floor(waitMs.length / 2)]} ms, worst ${waitMs.at(-1)} ms; ` +
      `peak RSS ${Math.max(...peakMb)} MB`,
  );
  expect(Math.max(...stopMs)).toBeLessThan(STOP_MS_MAX);
}, 2_400_000);
