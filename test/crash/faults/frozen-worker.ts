import { join } from "node:path";
import { findProcesses, poll } from "../../e2e/stint-process.ts";
import { makeDataFolder } from "../../data-template.ts";
import { requireHarmless, SHORT_LEASE } from "./lost-lease.ts";
import { defineFault, promise } from "./system-fault.ts";
import { WorkingSession } from "./working-session.ts";

/** A worker is stopped for longer than its lease, as a machine that swaps or is moved, and wakes up. */
export const frozenWorkerFault = defineFault(
  "worker frozen beyond its lease",
  ["git", "bwrap"],
  async (scene) => {
    const dataDir = await makeDataFolder(join(scene.folder, "data"));
    const client = await scene.start(["server"], dataDir, SHORT_LEASE).connect();
    const frozen = scene.start(["worker"], dataDir, SHORT_LEASE);
    await frozen.ready();
    const session = await WorkingSession.createEndless(client, 1);
    session.read(client);
    await session.waitForBegin(client, 0);
    const other = scene.start(["worker"], dataDir, SHORT_LEASE);
    await other.ready();
    const alive = findProcesses(`STINT_ATTEMPT=${session.id}.1`);
    promise(alive.length > 0, "no process of the agent runs before the fault");

    process.kill(frozen.pid, "SIGSTOP");
    const frozenAt = Date.now();
    scene.onEnd(() => process.kill(frozen.pid, "SIGCONT"));
    const resumedAt = await session.waitForResume(client, 1);
    const orphans = scene.countOrphans(session.id, 1);
    promise(orphans === 0, `${orphans} processes of the frozen worker's agent live on`);
    const events = await session.finish(client);

    process.kill(frozen.pid, "SIGCONT");
    await requireHarmless(client, frozen, session.id, events);
    const reasons = events
      .filter(({ type }) => type === "state_changed")
      .map(({ data }) => String(data["reason"]));
    promise(reasons.join() === "started,worker_lost,resumed,end_turn", reasons.join(", "));
    await poll(async () => {
      const live = await client.workers.list();
      return live.filter(({ pid }) => pid === frozen.pid).length > 0 ? true : null;
    });
    return {
      orphans,
      resumeMs: resumedAt - frozenAt,
      detail: `agent killed, session resumed by the other, ${events.length} events unchanged when it woke up`,
    };
  },
);
