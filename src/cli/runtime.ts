import { once } from "node:events";
import type { AgentAdapter } from "../core/attempt.ts";
import type { Config } from "../core/config.ts";
import type { Logger } from "../core/log.ts";
import type { MetricsRegistry } from "../core/metrics.ts";
import type { Store } from "../core/store.ts";
import { createAgentRegistry } from "../agents/registry.ts";
import { createServer } from "../server/app.ts";
import { DEFAULT_PORT, type ListeningServer } from "../server/listen.ts";
import { listenForMetrics } from "../server/metrics-listener.ts";
import { createPrometheusMetrics } from "../server/prometheus.ts";
import { connectStore } from "../store/postgres-store.ts";
import { createDatabaseSnapshots, type DatabaseSnapshots } from "../store/database-snapshots.ts";
import { migrateDatabase } from "../store/migrate.ts";
import type { WorkspaceRemovals } from "../store/workspace-removals.ts";
import { readHostIdentity, type HostIdentity } from "../worker/host-identity.ts";
import {
  createLocalWorkspaces,
  readHostId,
  type LocalWorkspaces,
} from "../worker/local-workspaces.ts";
import { SessionLifecycleManager } from "../worker/session-lifecycle-manager.ts";
import { createPeriodicService } from "../worker/service.ts";
import { openSnapshotStores, type SnapshotStores } from "../worker/snapshot-stores.ts";
import { createSweeper } from "../worker/sweeper.ts";
import { createWorker, type Worker } from "../worker/worker.ts";
import { createWorkspaceSweep } from "../worker/workspace-sweep.ts";
import { AgentAvailability, listAgents } from "./agent-set.ts";
import { openProcessDatabase } from "./database.ts";
import type { Output } from "./output.ts";
import { nameStart } from "./program-name.ts";
import { removeServerFile, writeServerFile } from "./server-file.ts";
import { describeDatabase, describeModels, sayGoodbye, welcome } from "./service-messages.ts";
import { createSessionCheck } from "./session-check.ts";
import { systemClock } from "./system-clock.ts";
import { readOrCreateToken } from "./token.ts";
import { VERSION } from "./version.ts";

/** What a long-running command gets. */
export interface RuntimeOptions {
  readonly config: Config;
  readonly output: Output;
  /** Aborts when the process is to stop. */
  readonly signal: AbortSignal;
  /** Runs the demo session when the database holds none. */
  readonly demo?: boolean;
}

/** Time between looks for deleted sessions of which a folder or this host still holds something. */
const REMOVAL_SWEEP_MS = 60_000;

/** Server, worker and database in one process, until the signal. */
export function runDev(options: RuntimeOptions): Promise<number> {
  return runService(options, { server: true, worker: options.config.workerSlots > 0 });
}

/** A server alone: it sweeps, but claims nothing. */
export function runServer(options: RuntimeOptions): Promise<number> {
  return runService(options, { server: true, worker: false });
}

/** A worker alone. */
export function runWorker(options: RuntimeOptions): Promise<number> {
  return runService(options, { server: false, worker: true });
}

/** What runs in this process, each with its way to stop, last one first. */
class Running {
  readonly #stops: (() => Promise<void>)[] = [];

  add(stop: () => Promise<void>): void {
    this.#stops.unshift(stop);
  }

  async stop(logger: Logger): Promise<void> {
    for (const stop of this.#stops.splice(0)) {
      try {
        await stop();
      } catch (error) {
        // The rest must still be stopped; what this leaves behind the sweeps put right.
        logger.warn({ error: (error as Error).message }, "Stopping failed");
      }
    }
  }
}

async function runService(
  options: RuntimeOptions,
  parts: { readonly server: boolean; readonly worker: boolean },
): Promise<number> {
  const { config, output, signal } = options;
  const startedAt = systemClock.monotonic();
  const running = new Running();
  output.line(`\n  ${output.style("bold", "stint")} ${output.style("dim", VERSION)}\n`);
  const { database, logger, source } = await openProcessDatabase(options);
  running.add(() => database.close());
  try {
    await migrateDatabase(source);
    const metrics = createPrometheusMetrics({ processMetrics: true });
    const store = await connectStore({
      ...source,
      metrics,
      inboxItemsMax: config.inboxItemsMax,
      ownerSilenceMs: config.ownerSilenceMs,
    });
    running.add(() => store.close());
    const tookMs = systemClock.monotonic() - startedAt;
    output.step("database", describeDatabase(database, config.dataDir), tookMs);
    const lifecycle = new SessionLifecycleManager({ store, clock: systemClock, logger, metrics });
    const identity = await readHostIdentity();
    const clock = systemClock;
    const { bootId } = identity;
    const sweeper = createSweeper({ lifecycle, store, bootId, clock, logger, ...config });
    sweeper.start();
    running.add(() => sweeper.stop());
    const stored = createDatabaseSnapshots(source);
    running.add(() => stored.close());
    const snapshots = await openSnapshots(config, stored, running, logger);
    const agents = listAgents(config, process.env).map(({ adapter }) => adapter);
    const stores = { store, lifecycle, logger, metrics };
    const context: PartContext = {
      ...{ options, ...stores, agents, running, identity, snapshots },
    };
    await startWorkspaceSweep(context, stored.workspaces);
    if (parts.worker) await startWorker(context);
    const server = parts.server ? await startServer(context, parts.worker) : null;
    const metricsUrl = parts.server ? null : await startMetrics(context);
    const place = { url: server?.url ?? null, token: server?.token ?? null };
    output.event("ready", { ...place, ...(metricsUrl !== null && { metricsUrl }) });
    if (server) {
      const mayRunDemo = options.demo === true && config.workerSlots > 0 && agents.length > 0;
      await welcome({ store, output, server, signal, mayRunDemo });
    }
    if (!signal.aborted) await once(signal, "abort");
    sayGoodbye(output, lifecycle.holds.length);
    await running.stop(logger);
    output.line(`  stopped; everything is kept. Go on with: ${nameStart(process.env)}`);
    return 0;
  } finally {
    await running.stop(logger);
  }
}

interface PartContext {
  readonly options: RuntimeOptions;
  readonly store: Store;
  readonly lifecycle: SessionLifecycleManager;
  readonly logger: Logger;
  readonly metrics: MetricsRegistry;
  readonly agents: readonly AgentAdapter[];
  readonly running: Running;
  readonly identity: HostIdentity;
  readonly snapshots: SnapshotStores;
}

/** The places off this host for states of workspaces, and the sweep of what was deleted there. */
async function openSnapshots(
  config: Config,
  database: DatabaseSnapshots,
  running: Running,
  logger: Logger,
): Promise<SnapshotStores> {
  const stores = await openSnapshotStores({ config, database, clock: systemClock });
  const sweep = createPeriodicService({
    ...{ name: "snapshot-sweep", intervalMs: REMOVAL_SWEEP_MS, clock: systemClock, logger },
    runOnce: () => stores.sweepRemovals(),
  });
  sweep.start();
  running.add(() => sweep.stop());
  return stores;
}

/** Removes from this host what it holds of sessions that were deleted. */
async function startWorkspaceSweep(
  { options, lifecycle, logger, running }: PartContext,
  removals: WorkspaceRemovals,
): Promise<void> {
  const { dataDir } = options.config;
  const hostId = await readHostId(dataDir, systemClock);
  const sweep = createWorkspaceSweep({
    ...{ dataDir, hostId, removals, logger },
    ...{ intervalMs: REMOVAL_SWEEP_MS, clock: systemClock },
    isHeld: (id) =>
      [...lifecycle.holds, ...lifecycle.frozen].some(({ sessionId }) => sessionId === id),
  });
  sweep.start();
  running.add(() => sweep.stop());
}

function openWorkspaces({ options, snapshots, logger }: PartContext): Promise<LocalWorkspaces> {
  const { config } = options;
  const places = { config, snapshots, logger };
  return createLocalWorkspaces({ ...places, env: process.env, clock: systemClock });
}

async function startWorker(context: PartContext): Promise<Worker> {
  const { options, store, lifecycle, logger, agents, running } = context;
  const { config, output } = options;
  const workspaces = await openWorkspaces(context);
  running.add(() => workspaces.close());
  const registry = createAgentRegistry(agents);
  const availability = new AgentAvailability(agents, () => systemClock.monotonic());
  await availability.refresh();
  const worker = createWorker({
    store,
    lifecycle,
    config,
    agents,
    canRun: (name) => availability.has(name),
    getAgent: (name) => registry.get(name),
    openWorkspace: workspaces.open,
    workspaceHost: workspaces.hostId,
    snapshotStores: context.snapshots.readable.map(({ name }) => name),
    keepAlive: (leaseLeftMs) => workspaces.keepAlive(leaseLeftMs),
    env: process.env,
    identity: context.identity,
    version: VERSION,
    clock: systemClock,
    logger,
  });
  await worker.start();
  running.add(() => worker.stop());
  const present = agents.filter(({ name }) => availability.has(name));
  const names = present.map(({ name }) => name).join(", ");
  const slots = `${worker.slots} ${worker.slots === 1 ? "slot" : "slots"}`;
  output.step("worker", `${worker.name} · ${slots} · agents: ${names} · ${workspaces.description}`);
  output.step("models", describeModels(process.env));
  return worker;
}

async function startServer(
  context: PartContext,
  hasWorker: boolean,
): Promise<ListeningServer & { readonly token: string }> {
  const { options, store, logger, metrics, agents, running } = context;
  const { config, output } = options;
  const token = config.token ?? (await readOrCreateToken(config.dataDir));
  const workspaces = await openWorkspaces(context);
  const server = createServer({
    store,
    config,
    clock: systemClock,
    logger,
    metrics,
    agents: agents.map((agent) => agent.name),
    token,
    diffs: workspaces,
    version: VERSION,
    checkSession: createSessionCheck({
      config,
      workerEnv: hasWorker ? process.env : null,
      agentsWithModel: new Set(agents.filter((agent) => agent.needsModel).map((a) => a.name)),
      ...(hasWorker && { probeAgent: (name) => createAgentRegistry(agents).get(name).probe() }),
    }),
  });
  const listening = await server.listen({
    host: config.host,
    ...(config.port !== undefined && { port: config.port, portIsExplicit: true }),
  });
  running.add(() => listening.close());
  const file = { url: listening.url, token, pid: process.pid };
  await writeServerFile(config.dataDir, file);
  running.add(() => removeServerFile(config.dataDir, file));
  const isMoved = config.port === undefined && listening.port !== DEFAULT_PORT;
  output.step("server", `${listening.url}${isMoved ? ` · port ${DEFAULT_PORT} is in use` : ""}`);
  return { ...listening, token };
}

/** The figures of a worker without a server, where its settings name a port for them. */
async function startMetrics(context: PartContext): Promise<string | null> {
  const { options, store, logger, metrics, running } = context;
  const { metricsPort: port, shutdownGraceMs: closeMs } = options.config;
  if (port === undefined) return null;
  const parts = { store, logger, metrics, clock: systemClock, version: VERSION };
  const listening = await listenForMetrics({ ...parts, port, closeMs });
  running.add(() => listening.close());
  options.output.step("metrics", `${listening.url}/metrics`);
  return listening.url;
}
