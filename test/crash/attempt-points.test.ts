import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { loadConfig, resolveLimits } from "../../src/core/config.ts";
import { foldEvents } from "../../src/core/fold.ts";
import { silentLogger } from "../../src/core/log.ts";
import { parseScript } from "../../src/core/script.ts";
import { LOCAL_USER_ID, type SessionSnapshot } from "../../src/core/session.ts";
import type { Store } from "../../src/core/store.ts";
import { connectStore } from "../../src/store/postgres-store.ts";
import { findProcesses, makeFolder, poll } from "../e2e/stint-process.ts";
import { createTestDatabase, type TestDatabase } from "../postgres.ts";
import { systemClock } from "../system-clock.ts";

const FIXTURE = fileURLToPath(new URL("attempt.fixture.mjs", import.meta.url));
const SIDES = ["before", "during", "after"] as const;
type Side = (typeof SIDES)[number];

/** The points of a first attempt, in the order in which it comes by them. */
const POINTS = [
  "claim",
  "openWorkspace",
  "workspacePath",
  "beginStep",
  "finishStep",
  "openCall",
  "spawn",
  "output",
  "exit",
  "closeCall",
  "takeSnapshot",
  "snapshot",
  "close",
  "transition",
] as const;

/** The points of a recovery: the first attempt died in its command. */
const RECOVERY_POINTS = ["readCheckpoint", "restore", "closeCall", "takeSnapshot", "transition"];

const folder = makeFolder("stint points ");
const children = new Set<ChildProcess>();
let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await createTestDatabase();
  store = await connectStore({ url: database.url, clock: systemClock, logger: silentLogger });
});

afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  children.clear();
});

afterAll(async () => {
  await store.close();
  await database.drop();
  await folder.dispose();
});

interface Crash {
  readonly point: string;
  readonly side: Side;
}

function startWorker(crash: Crash | null): { child: ChildProcess; ended: Promise<string | null> } {
  const options = { url: database.url, dataDir: join(folder.path, "data"), ...crash };
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, [FIXTURE, JSON.stringify(options)], {
    env: { PATH, HOME },
    stdio: ["ignore", "ignore", "inherit"],
  });
  children.add(child);
  const ended = new Promise<string | null>((resolve) => {
    child.on("exit", (_, signal) => resolve(signal));
  });
  return { child, ended };
}

async function createSession(counter: string): Promise<string> {
  const id = randomUUID();
  await store.createSession({
    id,
    userId: LOCAL_USER_ID,
    agent: "builtin",
    model: "scripted",
    prompt: "count",
    script: parseScript([
      { write: { path: "before", content: "kept" } },
      { bash: `echo run >> '${counter}'; echo run > inside; echo said` },
      { text: "done" },
    ]),
    workspace: { mode: "copy" },
    inPlacePath: null,
    recovery: "restore",
    limits: resolveLimits(loadConfig()),
    keepOpen: false,
    metadata: {},
    parentId: null,
  });
  return id;
}

/** A worker works until it dies at its point. */
async function dieAt(crash: Crash): Promise<void> {
  const { ended } = startWorker(crash);
  expect(await ended, `${crash.point} was never reached`).toBe("SIGKILL");
}

/** Another worker finishes the session. */
async function finish(id: string): Promise<SessionSnapshot> {
  const { child, ended } = startWorker(null);
  const session = await poll(async () => {
    const found = await store.getSession(id);
    return found?.completedAt ? found : null;
  });
  child.kill("SIGTERM");
  await ended;
  return session;
}

/** What must hold whatever died where. */
async function check(id: string, session: SessionSnapshot, counter: string): Promise<void> {
  expect(session).toMatchObject({ status: "completed", reason: "end_turn" });
  const events = await store.readEvents(id, { limit: 5_000 });
  const { status, reason, epoch, lastSeq, stats } = session;
  expect(foldEvents(events)).toEqual({ status, reason, epoch, lastSeq, stats });
  const { calls } = await store.readCheckpoint(id);
  const command = calls.find(({ tool }) => tool === "bash");
  const runs = existsSync(counter) ? readFileSync(counter, "utf8") : "";
  // Never twice; and what the ledger calls finished did happen.
  expect(["", "run\n"]).toContain(runs);
  expect(runs === "run\n" || command?.status !== "finished").toBe(true);
  expect(calls.every((call) => call.status !== "open" && call.snapshotId !== null)).toBe(true);
  const tree = session.workspace.path ?? "";
  const hasFinished = (tool: string): boolean =>
    calls.some((call) => call.tool === tool && call.status === "finished");
  expect(existsSync(join(tree, "before"))).toBe(hasFinished("write_file"));
  expect(existsSync(join(tree, "inside"))).toBe(hasFinished("bash"));
  expect(findProcesses(`STINT_SESSION=${id}`)).toEqual([]);
}

describe.sequential(
  "a worker that is killed in its first attempt loses nothing and does nothing twice",
  () => {
    for (const point of POINTS) {
      for (const side of SIDES) {
        test(`${side} ${point}`, async () => {
          const counter = join(folder.path, `counter-${point}-${side}`);
          const id = await createSession(counter);
          await dieAt({ point, side });
          await check(id, await finish(id), counter);
        }, 30_000);
      }
    }
  },
);

describe.sequential(
  "a worker that is killed in a recovery leaves the next one the same work",
  () => {
    for (const point of RECOVERY_POINTS) {
      for (const side of SIDES) {
        test(`${side} ${point}`, async () => {
          const counter = join(folder.path, `counter-recovery-${point}-${side}`);
          const id = await createSession(counter);
          await dieAt({ point: "exit", side: "before" });
          await dieAt({ point, side });
          await check(id, await finish(id), counter);
        }, 30_000);
      }
    }
  },
);
