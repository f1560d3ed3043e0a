import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import type { FaultOutcome } from "../../src/cli/chaos/outcome.ts";
import { loadConfig, resolveLimits } from "../../src/core/config.ts";
import type { SessionEvent } from "../../src/core/event.ts";
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

/** Where a worker kills itself: before, in the middle of, or after what the point names. */
export interface AttemptPoint {
  /** In its first attempt, in the recovery of an attempt that died in its command, or when it stops. */
  readonly stage: "attempt" | "recovery" | "shutdown";
  readonly point: string;
  readonly side: "before" | "during" | "after";
}

const SIDES = ["before", "during", "after"] as const;

/** The points of each stage, in the order in which an attempt comes by them. */
const POINTS: Readonly<Record<AttemptPoint["stage"], readonly string[]>> = {
  attempt: [
    ...["claim", "openWorkspace", "workspacePath", "beginStep", "finishStep", "openCall"],
    ...["spawn", "output", "exit", "closeCall", "takeSnapshot", "snapshot", "close", "transition"],
  ],
  recovery: ["readCheckpoint", "restore", "closeCall", "takeSnapshot", "transition"],
  shutdown: ["stop", "closeCall", "takeSnapshot", "transition", "close", "removeWorker"],
};

/** Here every call has had its whole effect: a recovery must find that out. */
const WHOLE_POINTS: readonly string[] = ["exit", "closeCall", "takeSnapshot", "snapshot"];

/** Every point on every side. */
export const ATTEMPT_POINTS: readonly AttemptPoint[] = Object.entries(POINTS).flatMap(
  ([stage, points]) =>
    points.flatMap((point) =>
      SIDES.map((side) => ({ stage: stage as AttemptPoint["stage"], point, side })),
    ),
);

/** What a point is called in tables: `attempt: before claim`. */
export function nameAttemptPoint({ stage, point, side }: AttemptPoint): string {
  return `${stage}: ${side} ${point}`;
}

interface Worker {
  readonly child: ChildProcess;
  /** Resolves with the signal that ended it, and when. */
  readonly ended: Promise<{ readonly signal: string | null; readonly at: number }>;
}

/** Until a session is where it should be: work, on however busy a machine, and no promise. */
const PATIENCE_MS = 120_000;

/** A database and a data folder in which workers die at their points. */
export class AttemptPoints {
  readonly #folder = makeFolder("stint points ");
  /** Where commands note that they ran: what they leave there is not undone. */
  readonly #outside = join(this.#folder.path, "outside");
  readonly #children = new Set<ChildProcess>();
  /** Works between two deaths: its process outlives a point, so that not each pays for its start. */
  #standby: Worker | null = null;
  readonly #database: TestDatabase;
  readonly #store: Store;

  private constructor(database: TestDatabase, store: Store) {
    this.#database = database;
    this.#store = store;
    mkdirSync(this.#outside);
  }

  /** Needs the Postgres of a test run: see `setup` of test/postgres.ts. */
  static async open(): Promise<AttemptPoints> {
    const database = await createTestDatabase();
    const source = { url: database.url, clock: systemClock, logger: silentLogger };
    return new AttemptPoints(database, await connectStore(source));
  }

  async close(): Promise<void> {
    this.killWorkers();
    this.#standby?.child.kill("SIGKILL");
    await this.#store.close();
    await this.#database.drop();
    await this.#folder.dispose();
  }

  /** Ends what a failed run left. */
  killWorkers(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    this.#children.clear();
  }

  /**
   * Lets a worker die at the point, and the next one finish its session. The time to resume is that
   * from the death to the next worker's claim, which stands ready.
   * @throws Error when the point is never reached, or the session not finished
   */
  async run(point: AttemptPoint): Promise<FaultOutcome> {
    const counter = join(this.#outside, `counter-${randomUUID()}`);
    const id = await this.#createSession(counter, point.stage !== "attempt");
    const next = await this.#takeStandby();
    if (point.stage === "recovery") {
      await this.#die(this.#startWorker({ point: "output", side: "after" }), "after output");
    }
    const victim = this.#startWorker(point);
    if (point.stage === "shutdown") await this.#stopInCommand(victim, id);
    const diedAt = await this.#die(victim, nameAttemptPoint(point));
    next.child.send("work");
    const session = await poll(async () => {
      const found = await this.#store.getSession(id);
      return found?.completedAt ? found : null;
    }, PATIENCE_MS);
    await rest(next, "rest");
    this.#children.delete(next.child);
    this.#standby = next;
    const events = await this.#store.readEvents(id, { limit: 5_000 });
    const broken = await this.#check(session, events, counter, point);
    const orphans = findProcesses(`STINT_SESSION=${id}`).length;
    const detail = broken.join("; ") || `${events.length} events, ${session.attempts} attempts`;
    return { held: broken.length === 0, orphans, resumeMs: readResumeMs(events, diedAt), detail };
  }

  /** Ready to work; after a run that failed it is another process. */
  async #takeStandby(): Promise<Worker> {
    const rested = this.#standby;
    this.#standby = null;
    if (rested !== null) {
      this.#children.add(rested.child);
      return rested;
    }
    const started = this.#startWorker({ standsBy: true });
    await rest(started);
    return started;
  }

  #startWorker(crash: Partial<AttemptPoint> & { readonly standsBy?: boolean }): Worker {
    const dataDir = join(this.#folder.path, "data");
    const options = { url: this.#database.url, dataDir, outside: this.#outside, ...crash };
    const { PATH = "", HOME = "" } = process.env;
    const child = spawn(process.execPath, [FIXTURE, JSON.stringify(options)], {
      env: { PATH, HOME },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#children.add(child);
    const ended = new Promise<{ signal: string | null; at: number }>((resolve) => {
      child.on("exit", (_, signal) => resolve({ signal, at: Date.now() }));
    });
    return { child, ended };
  }

  async #die({ child, ended }: Worker, name: string): Promise<number> {
    const { signal, at } = await ended;
    this.#children.delete(child);
    if (signal !== "SIGKILL") throw new Error(`${name} was never reached`);
    return at;
  }

  async #stopInCommand({ child }: Worker, id: string): Promise<void> {
    await poll(async () => {
      const events = await this.#store.readEvents(id, { limit: 5_000 });
      return events.find(({ data }) => data["output"] === "said\n");
    }, PATIENCE_MS);
    child.kill("SIGTERM");
  }

  async #createSession(counter: string, staysInCommand: boolean): Promise<string> {
    const id = randomUUID();
    const rest = staysInCommand ? "; sleep 60" : "";
    await this.#store.createSession({
      id,
      userId: LOCAL_USER_ID,
      agent: "builtin",
      model: "scripted",
      prompt: "count",
      script: parseScript([
        { write: { path: "before", content: "kept" } },
        { bash: `echo run >> '${counter}'; echo run > inside; echo said${rest}` },
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

  /** What must hold whatever died where. */
  async #check(
    session: SessionSnapshot,
    events: readonly SessionEvent[],
    counter: string,
    { stage, point }: AttemptPoint,
  ): Promise<string[]> {
    const broken: string[] = [];
    const { status, reason, epoch, lastSeq, stats } = session;
    if (status !== "completed" || reason !== "end_turn") broken.push(`${status} (${reason})`);
    if (!isDeepStrictEqual(foldEvents(events), { status, reason, epoch, lastSeq, stats })) {
      broken.push("the log does not fold to the stored state");
    }
    const { calls } = await this.#store.readCheckpoint(session.id);
    const command = calls.find(({ tool }) => tool === "bash");
    const runs = existsSync(counter) ? readFileSync(counter, "utf8") : "";
    // Never twice; and what the ledger calls finished did happen.
    if (!["", "run\n"].includes(runs))
      broken.push(`the command ran ${runs.split("\n").length - 1}×`);
    if (command?.status === "finished" && runs === "") broken.push("finished, but never ran");
    if (calls.some((call) => call.status === "open")) broken.push("a call is still open");
    if (stage === "attempt" && WHOLE_POINTS.includes(point)) {
      const left = calls.filter((call) => call.status !== "finished");
      if (left.length > 0) broken.push("a call that had finished is not said to have finished");
    }
    if (calls.some((call) => call.snapshotId === null)) broken.push("a call has no snapshot");
    const tree = session.workspace.path ?? "";
    const hasFinished = (tool: string): boolean =>
      calls.some((call) => call.tool === tool && call.status === "finished");
    if (existsSync(join(tree, "before")) !== hasFinished("write_file")) {
      broken.push("what was written is not what the ledger says");
    }
    // What stopped in good order keeps what it had done.
    if (stage !== "shutdown" && existsSync(join(tree, "inside")) !== hasFinished("bash")) {
      broken.push("what the command did is not what the ledger says");
    }
    return broken;
  }
}

/** Waits until a worker that stands by has nothing to do, told so or not. */
async function rest({ child, ended }: Worker, order?: string): Promise<void> {
  const resting = once(child, "message");
  if (order !== undefined) child.send(order);
  const isResting = await Promise.race([resting.then(() => true), ended.then(() => false)]);
  if (!isResting) throw new Error("the worker that stands by has ended");
}

/** From the death to the claim that followed it; null when nothing was left to do. */
function readResumeMs(events: readonly SessionEvent[], diedAt: number): number | null {
  const claim = events.findLast(({ data }) => data["to"] === "active");
  const ms = (claim?.createdAt.getTime() ?? 0) - diedAt;
  return ms >= 0 ? ms : null;
}
