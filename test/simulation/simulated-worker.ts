import { createFakeAgent, type FakeAct } from "../../src/agents/fake.ts";
import type { AgentAdapter } from "../../src/core/attempt.ts";
import { type Clock, delay } from "../../src/core/clock.ts";
import { loadConfig } from "../../src/core/config.ts";
import type { NewEvent } from "../../src/core/event.ts";
import { silentLogger } from "../../src/core/log.ts";
import { silentMetrics } from "../../src/core/metrics.ts";
import type { SessionSnapshot } from "../../src/core/session.ts";
import type { Store } from "../../src/core/store.ts";
import type { WorkspaceFiles } from "../../src/core/workspace.ts";
import type { AttemptWorkspace } from "../../src/worker/attempt-workspace.ts";
import { PeerWatch } from "../../src/worker/peer-watch.ts";
import { createPeriodicService } from "../../src/worker/service.ts";
import { SessionLifecycleManager } from "../../src/worker/session-lifecycle-manager.ts";
import { createSweeper } from "../../src/worker/sweeper.ts";
import { createWorker, type Worker } from "../../src/worker/worker.ts";
import { InvariantBroken } from "./invariants.ts";
import type { Chance } from "./virtual-world.ts";

/** What a worker runs in: a process of a virtual world, or one that only can die. */
export interface SimulatedProcess extends Clock {
  readonly name: string;
  readonly chance: Chance;
}

export const LEASE_MS = 15_000;
export const BOOT_ID = "boot";
const SLOTS = 2;

/** What the agent of a session does; it travels as the prompt. */
export interface AgentPlan {
  /** Milliseconds of thought before each call. */
  readonly thoughts: readonly number[];
  readonly end: "say" | "crash" | "fail";
  /** Takes its whole worker down as soon as it works. */
  readonly isPoison: boolean;
}

/** The disk that all workers of a host share; it outlives them. */
export class HostDisk {
  /** How often each call had its effect. */
  readonly effects = new Map<string, number>();
  readonly snapshots = new Set<string>();
  /** A planted bug: ids are given out before what they name is stored. */
  readonly isHasty: boolean;
  /** What storing a snapshot may take. */
  readonly storeMs: readonly number[];
  readonly #onBroken: (error: InvariantBroken) => void;
  #snapshots = 0;

  constructor(
    onBroken: (error: InvariantBroken) => void,
    { isHasty = false, storeMs = [20, 200, 2_000] } = {},
  ) {
    this.#onBroken = onBroken;
    this.isHasty = isHasty;
    this.storeMs = storeMs;
  }

  /** An effect that must not happen twice. */
  act(sessionId: string, path: string): void {
    const key = `${sessionId}/${path}`;
    const count = (this.effects.get(key) ?? 0) + 1;
    this.effects.set(key, count);
    if (count > 1) this.#report(`the call that writes ${key} had its effect ${count} times`);
  }

  async #store(process: SimulatedProcess, id: string): Promise<void> {
    await delay(process, process.chance.pick(this.storeMs));
    this.snapshots.add(id);
  }

  /** What is gone back to must be there. */
  requireSnapshot(id: string): void {
    if (!this.snapshots.has(id)) this.#report(`snapshot ${id} is in the log, not on the disk`);
  }

  /** The worker would take it for an error of its own. */
  #report(message: string): void {
    this.#onBroken(new InvariantBroken(message));
  }

  async takeSnapshot(process: SimulatedProcess, sessionId: string): Promise<string> {
    const id = `${sessionId}/${++this.#snapshots}`;
    const stored = this.#store(process, id);
    if (!this.isHasty) await stored;
    return id;
  }
}

/** What a worker of a simulation is made of. */
export interface SimulatedWorkerOptions {
  readonly process: SimulatedProcess;
  readonly store: Store;
  readonly disk: HostDisk;
  readonly pid: number;
  readonly isRunning: (pid: number) => boolean;
  /** Looks at other workers' processes, and takes over at once. */
  readonly watchesPeers: boolean;
  /** An agent brings the worker down. */
  readonly onPoison: () => void;
  /** Time between two passes of claims, sweeps and looks at other workers. @default 1_000 */
  readonly passIntervalMs?: number;
}

/** The real worker and its sweeps, in a virtual process. */
export function createSimulatedWorker(options: SimulatedWorkerOptions): Worker {
  const { process: clock, store, disk, pid, isRunning, passIntervalMs = 1_000 } = options;
  const logger = silentLogger;
  const lifecycle = new SessionLifecycleManager({ store, clock, logger, metrics: silentMetrics });
  const agent = createPlannedAgent(options.onPoison);
  const identity = { host: "host", bootId: BOOT_ID, pid, pidStartTime: String(pid) };
  const worker = createWorker({
    ...{ store, lifecycle, identity, clock, logger, env: {}, version: "0.0.0" },
    config: {
      ...loadConfig(),
      ...{ workerSlots: SLOTS, workerName: clock.name, leaseDurationMs: LEASE_MS },
      ...{ heartbeatIntervalMs: 3_000, claimIntervalMs: passIntervalMs, shutdownGraceMs: 4_000 },
    },
    agents: [agent],
    getAgent: () => agent,
    openWorkspace: (session) => openWorkspace(clock, disk, session),
    workspaceHost: "here",
  });
  const sweeper = createSweeper({
    ...{ lifecycle, store, bootId: "", clock, logger, lostLeaseIntervalMs: passIntervalMs },
    ...{ sweepIntervalMs: 60_000, peerIntervalMs: 60_000 },
  });
  const peers = new PeerWatch({
    ...{ store, bootId: options.watchesPeers ? BOOT_ID : "", logger },
    isRunning: (other) => Promise.resolve(isRunning(other)),
    onBuried: () => undefined,
  });
  const watch = createPeriodicService({
    ...{ name: "peer-watch", intervalMs: passIntervalMs, clock, logger },
    runOnce: () => peers.runOnce(),
  });
  return {
    ...worker,
    async start() {
      await worker.start();
      sweeper.start();
      watch.start();
    },
    async stop() {
      await worker.stop();
      await Promise.all([sweeper.stop(), watch.stop()]);
    },
  };
}

function createPlannedAgent(onPoison: () => void): AgentAdapter {
  const agent = createFakeAgent([], "fake");
  return {
    ...agent,
    run: (context) => {
      const plan = JSON.parse(context.prompt) as AgentPlan;
      const think = (thoughtMs: number): FakeAct => ({
        wait: (signal) => {
          context.recordActivity();
          if (plan.isPoison) onPoison();
          return delay(context.clock, thoughtMs, signal);
        },
      });
      const acts = plan.thoughts.flatMap((thoughtMs, place): FakeAct[] => [
        think(thoughtMs),
        { emit: [lookAround(context.clock.newId())] },
        { call: { tool: "write_file", input: { path: `file-${place}`, content: "x" } } },
      ]);
      return createFakeAgent([...acts, ...endActs(plan.end)], "fake").run(context);
    },
  };
}

/** No two of them are alike: one that is twice in a log was written twice. */
function lookAround(id: string): NewEvent {
  return { type: "terminal", data: { command: "look", output: id, final: false } };
}

function endActs(end: AgentPlan["end"]): FakeAct[] {
  if (end === "crash") return [{ crash: "a defect" }];
  if (end === "say") return [{ say: "Done." }];
  return [{ fail: { reason: "refusal", message: "no" } }];
}

async function openWorkspace(
  process: SimulatedProcess,
  disk: HostDisk,
  session: SessionSnapshot,
): Promise<AttemptWorkspace> {
  const take = (): Promise<string> => disk.takeSnapshot(process, session.id);
  await delay(process, process.chance.between(5, 300));
  const base = `${session.id}/base`;
  disk.snapshots.add(base);
  return {
    ...{ path: `/workspaces/${session.id}`, home: "/home", custodyLevel: "none", base },
    files: openFiles(process, disk, session.id),
    homeFiles: openFiles(process, disk, session.id),
    restoreHome: () => Promise.resolve(false),
    spawn: () => Promise.reject(new Error("there are no processes here")),
    readCommandEnd: () => Promise.resolve({ kind: "cut_off" }),
    forgetCommand: () => Promise.resolve(),
    discardRecords: () => Promise.resolve(),
    takeSnapshot: take,
    async restore(id) {
      await delay(process, process.chance.between(5, 100));
      disk.requireSnapshot(id);
    },
    readChanges: () => Promise.resolve({ files: [] }),
    close: () => delay(process, process.chance.between(0, 20)),
  };
}

function openFiles(process: SimulatedProcess, disk: HostDisk, sessionId: string): WorkspaceFiles {
  const absent = Object.assign(new Error("there is no such file"), { code: "ENOENT" });
  return {
    read: () => Promise.reject(absent),
    async write(path) {
      disk.act(sessionId, path);
      await delay(process, process.chance.pick(disk.storeMs));
      return "created";
    },
    resolve: (path) => Promise.resolve(path),
    list: () => Promise.resolve({ entries: [], truncated: false }),
    search: () => Promise.resolve({ matches: [], truncated: false }),
  };
}
