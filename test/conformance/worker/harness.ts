import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createFakeAgent, type FakeBehaviour } from "../../../src/agents/fake.ts";
import type { AgentAdapter } from "../../../src/core/attempt.ts";
import type { Logger } from "../../../src/core/log.ts";
import { ManualClock } from "../../../src/core/manual-clock.ts";
import { silentMetrics } from "../../../src/core/metrics.ts";
import type { NewSession, SessionSnapshot } from "../../../src/core/session.ts";
import type { Store } from "../../../src/core/store.ts";
import type { FileDiff } from "../../../src/core/workspace.ts";
import { AgentRunner } from "../../../src/worker/agent-runner.ts";
import type { AttemptModels } from "../../../src/worker/attempt-models.ts";
import type {
  AttemptWorkspace,
  OpenAttemptWorkspace,
} from "../../../src/worker/attempt-workspace.ts";
import { Heartbeat } from "../../../src/worker/heartbeat.ts";
import { JobProcessor } from "../../../src/worker/job-processor.ts";
import type { SessionHold } from "../../../src/worker/session-hold.ts";
import { SessionLifecycleManager } from "../../../src/worker/session-lifecycle-manager.ts";
import { openWorkspaceFiles } from "../../../src/workspace/files.ts";
import { connectStore } from "../../../src/store/postgres-store.ts";
import { StoreHarness, storeOptions } from "../store/harness.ts";

export const LEASE_MS = 15_000;
export const STOP_GRACE_MS = 2_000;
const SHUTDOWN_GRACE_MS = 4_000;

/** One line of a log. */
interface LogLine extends Readonly<Record<string, unknown>> {
  readonly level: string;
  readonly msg: string;
}

/** A logger that remembers. */
class LogRecorder implements Logger {
  readonly lines: LogLine[] = [];

  debug(fields: Readonly<Record<string, unknown>>, msg: string): void {
    this.lines.push({ level: "debug", ...fields, msg });
  }
  info(fields: Readonly<Record<string, unknown>>, msg: string): void {
    this.lines.push({ level: "info", ...fields, msg });
  }
  warn(fields: Readonly<Record<string, unknown>>, msg: string): void {
    this.lines.push({ level: "warn", ...fields, msg });
  }
  error(fields: Readonly<Record<string, unknown>>, msg: string): void {
    this.lines.push({ level: "error", ...fields, msg });
  }

  find(msg: string, fields: Readonly<Record<string, unknown>> = {}): LogLine[] {
    const wanted = Object.entries(fields);
    return this.lines.filter((line) => line.msg === msg && wanted.every(([k, v]) => line[k] === v));
  }
}

/** A door that is shut until it is opened. */
export class Gate {
  #open: () => void = () => undefined;
  readonly passed = new Promise<void>((resolve) => {
    this.#open = resolve;
  });

  open(): void {
    this.#open();
  }
}

/** A workspace of files alone, shared by all sessions; it starts no processes. */
class PlainWorkspaces {
  readonly path: string;
  opened = 0;
  closed = 0;
  changes: readonly FileDiff[] = [];
  beforeOpen: (session: SessionSnapshot, signal: AbortSignal) => Promise<unknown> = () =>
    Promise.resolve();
  beforeClose: () => Promise<unknown> = () => Promise.resolve();
  beforeRestore: () => Promise<void> = () => Promise.resolve();

  constructor(path: string) {
    this.path = path;
  }

  readonly open: OpenAttemptWorkspace = async (session, signal) => {
    await this.beforeOpen(session, signal);
    this.opened++;
    let isClosed = false;
    return {
      path: this.path,
      home: "/home",
      custodyLevel: "none",
      files: openWorkspaceFiles(this.path),
      homeFiles: openWorkspaceFiles(this.path),
      restoreHome: () => Promise.resolve(false),
      spawn: () => Promise.reject(new Error("there are no processes here")),
      readCommandEnd: () => Promise.resolve({ kind: "cut_off" }),
      forgetCommand: () => Promise.resolve(),
      discardRecords: () => Promise.resolve(),
      base: "base",
      takeSnapshot: () => Promise.resolve("snapshot"),
      restore: () => this.beforeRestore(),
      readChanges: () => Promise.resolve({ files: this.changes }),
      close: async () => {
        if (!isClosed) {
          await this.beforeClose();
          this.closed++;
        }
        isClosed = true;
      },
    } satisfies AttemptWorkspace;
  };
}

/** What a worker of a test is made of. */
interface TestWorkerOptions {
  readonly agent?: FakeBehaviour | AgentAdapter;
  readonly slots?: number;
  readonly openWorkspace?: OpenAttemptWorkspace;
  /** @default "here" */
  readonly workspaceHost?: string;
  readonly snapshotStores?: readonly string[];
  readonly permissions?: ConstructorParameters<typeof AgentRunner>[0]["permissions"];
  readonly freeze?: ConstructorParameters<typeof AgentRunner>[0]["freeze"];
  readonly bindModel?: (session: SessionSnapshot) => ReturnType<AttemptModels["bind"]>;
  /** In place of `bindModel`: gateways, as a real worker has them. */
  readonly createModels?: (worker: TestWorker) => (hold: SessionHold) => AttemptModels;
}

/**
 * A worker whose time stands still until the test moves it: it claims, beats and sweeps when it is
 * told to. Its store, and the clock of the database, are real.
 */
export class TestWorker {
  readonly clock: ManualClock;
  readonly logs = new LogRecorder();
  readonly lifecycle: SessionLifecycleManager;
  readonly heartbeat: Heartbeat;
  readonly processor: JobProcessor;
  readonly store: Store;
  readonly name: string;

  constructor(
    store: Store,
    workspaces: PlainWorkspaces,
    idSpace: number,
    options: TestWorkerOptions,
  ) {
    this.store = store;
    this.name = `worker-${idSpace}`;
    this.clock = new ManualClock({ idSpace, nowMs: Date.now() });
    const { clock, logs: logger } = this;
    const { agent = [], slots = 2, openWorkspace = workspaces.open } = options;
    const adapter = "run" in agent ? agent : createFakeAgent(agent);
    this.lifecycle = new SessionLifecycleManager({ store, clock, logger, metrics: silentMetrics });
    const { lifecycle } = this;
    const agents = [adapter.name];
    const worker = {
      ...{ name: this.name, host: "host", bootId: "boot", pid: 1, pidStartTime: "1" },
      ...{ slots, version: "0.0.0", agents, leaseDurationMs: LEASE_MS },
      workspaceHost: options.workspaceHost ?? "here",
      snapshotStores: options.snapshotStores ?? [],
    };
    this.heartbeat = new Heartbeat({ store, lifecycle, clock, logger, worker });
    const runner = new AgentRunner({
      ...{ lifecycle, store, clock, logger, openWorkspace, stopGraceMs: STOP_GRACE_MS },
      getAgent: () => adapter,
      ...(options.permissions && { permissions: options.permissions }),
      ...(options.freeze && { freeze: options.freeze }),
      openModels:
        options.createModels?.(this) ??
        (({ session }) => ({
          reachesHosts: false,
          bind: () => options.bindModel?.(session) ?? Promise.reject(new Error("no model")),
          openDoor: () => Promise.reject(new Error("no door")),
          closeLost: () => Promise.resolve(),
          close: () => Promise.resolve(),
        })),
    });
    this.processor = new JobProcessor({
      ...{ lifecycle, store, runner, heartbeat: this.heartbeat, slots, agents, clock, logger },
      ...{ claimIntervalMs: 1_000, shutdownGraceMs: SHUTDOWN_GRACE_MS },
    });
  }

  get id(): string {
    return this.heartbeat.workerId ?? "";
  }

  /** The hold on a session, which must be held. */
  hold(sessionId: string): SessionHold {
    const hold = this.lifecycle.holds.find((one) => one.sessionId === sessionId);
    if (!hold) throw new Error(`session ${sessionId} is not held`);
    return hold;
  }

  /** Control requests first, then claims. */
  step(): ReturnType<JobProcessor["runOnce"]> {
    return this.processor.runOnce();
  }

  beat(): Promise<void> {
    return this.heartbeat.runOnce();
  }

  /** Resolves when no attempt runs here. */
  async idle(): Promise<void> {
    await until(() => this.processor.running === 0);
  }
}

/** A database of its own, and workers on it. */
export class WorkerHarness {
  readonly db: StoreHarness;
  readonly workspaces: PlainWorkspaces;
  readonly folder: string;
  readonly #workers: TestWorker[] = [];
  #started = 0;

  private constructor(db: StoreHarness, folder: string) {
    this.db = db;
    this.folder = folder;
    this.workspaces = new PlainWorkspaces(folder);
  }

  static async create(): Promise<WorkerHarness> {
    return new WorkerHarness(
      await StoreHarness.create(),
      await mkdtemp(join(tmpdir(), "stint-worker-")),
    );
  }

  get store(): Store {
    return this.db.store;
  }

  /** A registered worker with a store of its own, as another process would have. */
  async startWorker(options: TestWorkerOptions = {}): Promise<TestWorker> {
    const store = await connectStore(storeOptions(this.db.database.url));
    const worker = new TestWorker(store, this.workspaces, ++this.#started, options);
    this.#workers.push(worker);
    await worker.beat();
    return worker;
  }

  /** A pending session for the fake agent. */
  createSession(changes: Partial<NewSession> = {}): Promise<string> {
    return this.db.createSession({ agent: "fake", ...changes });
  }

  sendMessage(sessionId: string, text: string): Promise<SessionSnapshot> {
    const id = crypto.randomUUID();
    return this.store.sendMessage({ id, sessionId, userId: null, text });
  }

  /** Ends what a test has left behind, so that the next one starts with an empty queue. */
  async clear(): Promise<void> {
    for (const worker of this.#workers.splice(0)) {
      const stopped = worker.processor.stop();
      await until(() => {
        worker.clock.advance(SHUTDOWN_GRACE_MS);
        return worker.processor.running === 0 || worker.lifecycle.holds.length === 0;
      });
      await stopped;
      await worker.heartbeat.end();
      await worker.store.close();
    }
    this.workspaces.changes = [];
    this.workspaces.beforeOpen = () => Promise.resolve();
    this.workspaces.beforeClose = () => Promise.resolve();
    this.workspaces.beforeRestore = () => Promise.resolve();
    await this.db.sql(
      "update coding_sessions set status = 'expired' where status in ('pending', 'active', 'paused')",
    );
  }

  async close(): Promise<void> {
    await this.db.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Ends a lease as time would; short, so that the age of this Postgres does not matter. */
  async endLease(workerId: string): Promise<void> {
    await this.db.sql(
      `update stint.workers set lease_expires_at = now() - interval '1 s', lease_duration_ms = 1
       where id = $1`,
      [workerId],
    );
  }

  /** The session as stored, once this holds for it. */
  async waitFor(
    sessionId: string,
    matches: (session: SessionSnapshot) => boolean,
  ): Promise<SessionSnapshot> {
    let found: SessionSnapshot | null = null;
    await until(async () => {
      found = await this.store.getSession(sessionId);
      return found !== null && matches(found);
    });
    return found as unknown as SessionSnapshot;
  }

  waitForStatus(sessionId: string, status: SessionSnapshot["status"]): Promise<SessionSnapshot> {
    return this.waitFor(sessionId, (session) => session.status === status);
  }

  /** Transitions of a session as `from → to (reason)`. */
  async readTransitions(sessionId: string): Promise<string[]> {
    const changes = await this.store.readStateChanges(sessionId);
    return changes.map(
      ({ data }) => `${String(data["from"])} → ${String(data["to"])} (${String(data["reason"])})`,
    );
  }

  /** The payloads of one type of event. */
  async readEvents(sessionId: string, type: "user_message" | "thinking" | "terminal" | "error") {
    const events = await this.store.readEvents(sessionId, { types: [type], limit: 1_000 });
    return events.map(({ data }) => data);
  }
}

/** Asks again and again until the condition holds; the time limit of the test is the bound. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(5);
}
