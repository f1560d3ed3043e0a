import { createFakeAgent, type FakeAct } from "../../src/agents/fake.ts";
import type { AgentAdapter } from "../../src/core/attempt.ts";
import { type Clock, delay } from "../../src/core/clock.ts";
import { loadConfig } from "../../src/core/config.ts";
import type { NewEvent } from "../../src/core/event.ts";
import { silentLogger } from "../../src/core/log.ts";
import { silentMetrics } from "../../src/core/metrics.ts";
import type { Store } from "../../src/core/store.ts";
import { PeerWatch } from "../../src/worker/peer-watch.ts";
import { createPeriodicService } from "../../src/worker/service.ts";
import {
  type LifecycleOptions,
  SessionLifecycleManager,
} from "../../src/worker/session-lifecycle-manager.ts";
import { createSweeper } from "../../src/worker/sweeper.ts";
import { createWorker, type Worker } from "../../src/worker/worker.ts";
import {
  type CommandPlan,
  directHost,
  type HostDisk,
  type HostWire,
  type Incarnation,
} from "./host-disk.ts";
import { openSimulatedWorkspace } from "./simulated-workspace.ts";
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
  /** For each call the command that it runs; it writes a file by itself without one. @default none */
  readonly commandsMs?: readonly (number | null)[];
  /** Takes its whole worker down as soon as it works. */
  readonly isPoison: boolean;
}

/** Makes what a worker moves its sessions with. */
export type CreateLifecycle = (options: LifecycleOptions) => SessionLifecycleManager;

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
  /** What happens to calls to the host. @default nothing */
  readonly hostWire?: HostWire;
  /** The time of commands. @default that of the worker */
  readonly commandClock?: Pick<Clock, "setTimer">;
  /** @default the real one */
  readonly createLifecycle?: CreateLifecycle | undefined;
  /** Told as an agent begins. */
  readonly onBegin?: (attempt: Incarnation) => void;
}

/** The real worker and its sweeps, in a virtual process. */
export function createSimulatedWorker(options: SimulatedWorkerOptions): Worker {
  const { process: clock, store, disk, pid, isRunning, passIntervalMs = 1_000 } = options;
  const logger = silentLogger;
  const access = { store, clock, logger, metrics: silentMetrics };
  const lifecycle = options.createLifecycle?.(access) ?? new SessionLifecycleManager(access);
  const agent = createPlannedAgent(options);
  const { hostWire: wire = directHost, commandClock = clock } = options;
  const host = { process: clock, disk, wire, commandClock };
  const identity = { host: "host", bootId: BOOT_ID, pid, pidStartTime: String(pid) };
  const worker = createWorker({
    ...{ store, lifecycle, identity, clock, logger, env: {}, version: "0.0.0" },
    config: {
      ...loadConfig(),
      ...{ workerSlots: SLOTS, workerName: clock.name, leaseDurationMs: LEASE_MS },
      ...{ heartbeatIntervalMs: 3_000, claimIntervalMs: passIntervalMs, shutdownGraceMs: 4_000 },
      ...{ permissionTimeoutMs: 20_000, permissionHoldMs: 3_000 },
    },
    agents: [agent],
    getAgent: () => agent,
    openWorkspace: (session) => openSimulatedWorkspace(host, session),
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

function createPlannedAgent({
  onPoison,
  onBegin,
}: Pick<SimulatedWorkerOptions, "onPoison" | "onBegin">): AgentAdapter {
  const agent = createFakeAgent([], "fake");
  return {
    ...agent,
    run: (context) => {
      const plan = JSON.parse(context.prompt) as AgentPlan;
      onBegin?.({ sessionId: context.sessionId, epoch: context.epoch });
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
        planCall(plan, place),
      ]);
      return createFakeAgent([...acts, ...endActs(plan.end)], "fake").run(context);
    },
  };
}

function planCall({ commandsMs = [] }: AgentPlan, place: number): FakeAct {
  const path = `file-${place}`;
  const durationMs = commandsMs[place] ?? null;
  if (durationMs === null) return { call: { tool: "write_file", input: { path, content: "x" } } };
  const command = JSON.stringify({ durationMs, path } satisfies CommandPlan);
  return { call: { tool: "bash", input: { command } } };
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
