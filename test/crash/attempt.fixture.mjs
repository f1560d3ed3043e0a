// A worker that SIGKILLs itself at a named point of an attempt. Composed as `stint worker` is, with
// store and workspace behind proxies that know the points. With `standsBy` it dies at none: it is a
// worker anew whenever it is told "work", until it is told "rest".
import { createBuiltinAgent } from "../../dist/agents/builtin/agent.js";
import { createAgentRegistry } from "../../dist/agents/registry.js";
import { systemClock } from "../../dist/cli/system-clock.js";
import { loadConfig } from "../../dist/core/config.js";
import { silentLogger } from "../../dist/core/log.js";
import { silentMetrics } from "../../dist/core/metrics.js";
import { connectStore } from "../../dist/store/postgres-store.js";
import { readHostIdentity } from "../../dist/worker/host-identity.js";
import { createLocalWorkspaces } from "../../dist/worker/local-workspaces.js";
import { SessionLifecycleManager } from "../../dist/worker/session-lifecycle-manager.js";
import { createSweeper } from "../../dist/worker/sweeper.js";
import { createWorker } from "../../dist/worker/worker.js";

const { url, outside, dataDir, stage, point, side, standsBy } = JSON.parse(process.argv[2]);

/** The points of a shutdown count from its signal on. */
let isArmed = stage !== "shutdown";

/** Runs work at a point: dies before it, in the middle of it (asked, not answered), or after it. */
async function at(name, work) {
  if (name !== point || !isArmed) return work();
  if (side === "before") process.kill(process.pid, "SIGKILL");
  const working = work();
  if (side === "during") {
    await new Promise((resolve) => setImmediate(resolve));
    process.kill(process.pid, "SIGKILL");
  }
  const result = await working;
  process.kill(process.pid, "SIGKILL");
  return result;
}

function nameCommit(commit) {
  const parts = ["workspacePath", "snapshot", "beginStep", "finishStep", "openCall", "closeCall"];
  const models = ["openModelCall", "closeModelCall"];
  const part = [...parts, ...models, "transition", "inboxConsumed"].find(
    (key) => commit[key] !== undefined,
  );
  return part ?? "output";
}

const clock = systemClock;
const real = await connectStore({ url, clock, logger: silentLogger });
const store = new Proxy(real, {
  get(target, name) {
    if (name === "commit") {
      return (owner, lastSeq, commit) =>
        at(nameCommit(commit), () => target.commit(owner, lastSeq, commit));
    }
    if (name === "claimSessions") {
      return async (request) => {
        // Only a claim that takes something is a claim.
        if (point === "claim" && side !== "after") {
          const { items } = await target.listSessions({ status: ["pending"] });
          if (items.length === 0) return [];
          return at("claim", () => target.claimSessions(request));
        }
        const claimed = await target.claimSessions(request);
        return claimed.length > 0 ? at("claim", () => Promise.resolve(claimed)) : claimed;
      };
    }
    const value = target[name];
    if (typeof value !== "function") return value;
    return name === "readCheckpoint" || name === "removeWorker"
      ? (...args) => at(name, () => value.apply(target, args))
      : value.bind(target);
  },
});

// A shutdown that ran out of its bound, on a busy machine, would pass by its points.
const config = loadConfig({
  flags: { dataDir, workerSlots: 1, shutdownGraceMs: 60_000, sandboxWritePaths: [outside] },
});
const lifecycle = new SessionLifecycleManager({
  ...{ store, clock, logger: silentLogger, metrics: silentMetrics },
});
const workspaces = await createLocalWorkspaces({ config, env: process.env, clock });
const openWorkspace = async (session, signal) => {
  const opened = await at("openWorkspace", () => workspaces.open(session, signal));
  return {
    ...opened,
    spawn: async (spec) => {
      const child = await at("spawn", () => opened.spawn(spec));
      const exited = child.exited.then((exit) => at("exit", () => Promise.resolve(exit)));
      return { ...child, exited, stop: (graceMs) => at("stop", () => child.stop(graceMs)) };
    },
    takeSnapshot: () => at("takeSnapshot", () => opened.takeSnapshot()),
    restore: (id) => at("restore", () => opened.restore(id)),
    close: () => at("close", () => opened.close()),
  };
};
const identity = await readHostIdentity();
const agents = [createBuiltinAgent()];
const registry = createAgentRegistry(agents);
const { bootId } = identity;

async function startWorker() {
  const worker = createWorker({
    ...{ store, lifecycle, config, agents, openWorkspace, identity, clock },
    getAgent: (name) => registry.get(name),
    workspaceHost: workspaces.hostId,
    keepAlive: (leaseLeftMs) => workspaces.keepAlive(leaseLeftMs),
    env: process.env,
    version: "0.0.0",
    logger: silentLogger,
  });
  const sweeper = createSweeper({
    ...config,
    lifecycle,
    store,
    bootId,
    clock,
    logger: silentLogger,
  });
  sweeper.start();
  await worker.start();
  return { worker, sweeper };
}

if (standsBy) {
  let starting = null;
  process.on("message", async (order) => {
    if (order === "work") {
      starting = startWorker();
      return;
    }
    // Where nothing was left to do, it may be told so before it has begun.
    const { worker, sweeper } = await starting;
    await worker.stop();
    await sweeper.stop();
    process.send("resting");
  });
  process.once("disconnect", () => process.exit(0));
  process.send("resting");
} else {
  process.disconnect();
  const { worker, sweeper } = await startWorker();
  process.once("SIGTERM", async () => {
    isArmed = true;
    await worker.stop();
    await workspaces.close();
    await sweeper.stop();
    await real.close();
    process.exit(0);
  });
}
