import { join } from "node:path";
import type { StintClient } from "../../../src/client.ts";
import { findProcesses, poll, type StintProcess } from "../../e2e/stint-process.ts";
import { makeDataFolder } from "../../data-template.ts";
import { LEASE_MS, SHORT_LEASE } from "./lost-lease.ts";
import { NETWORK_NEEDS, NetworkHost, type Partition } from "./network-host.ts";
import { startOwnPostgres } from "./own-postgres.ts";
import { defineFault, promise } from "./system-fault.ts";
import { WorkingSession } from "./working-session.ts";

const PARTITIONS: readonly Partition[] = ["link down", "requests lost", "answers lost"];

interface Member {
  readonly host: NetworkHost;
  readonly worker: StintProcess;
}

/**
 * Two workers, each a host of its own on the network, and Postgres at an address. Whoever has the
 * session is cut off: it gives up by its own clocks, the other takes over after the lease, and when
 * the link is back nothing of it reaches the log.
 */
export const networkPartitionFault = defineFault(
  "network partition",
  [...NETWORK_NEEDS, "git", "bwrap"],
  async (scene) => {
    const dataDir = await makeDataFolder(join(scene.folder, "data"));
    const hosts = [await NetworkHost.create(scene), await NetworkHost.create(scene)];
    const listen_addresses = ["127.0.0.1", ...hosts.map(({ gateway }) => gateway)].join(",");
    const rules = "host all all 10.0.0.0/8 scram-sha-256\n";
    const { buildUrl } = await startOwnPostgres(dataDir, { listen_addresses }, rules);
    const env = (address: string) => ({ ...SHORT_LEASE, DATABASE_URL: buildUrl(address) });
    const client = await scene.start(["server"], dataDir, env("127.0.0.1")).connect();
    const members: Member[] = hosts.map((host) => ({
      host,
      worker: scene.start(["worker"], dataDir, env(host.gateway), host.within),
    }));
    await Promise.all(members.map(({ worker }) => worker.ready()));
    const session = await WorkingSession.createEndless(client, PARTITIONS.length);
    session.read(client);

    const takeovers: number[] = [];
    const gaveUp: number[] = [];
    for (const [index, partition] of PARTITIONS.entries()) {
      await session.waitForBegin(client, index);
      const attempt = index + 1;
      const holder = await findHolder(client, session.id, members);
      const lostBefore = countLost(holder.worker);
      const { epoch } = await client.sessions.get(session.id);
      const alive = findProcesses(`STINT_ATTEMPT=${session.id}.${epoch}`);
      promise(alive.length > 0, "no process of the agent runs before the fault");
      await holder.host.cutOff(partition);
      const cutAt = Date.now();
      // Its agent ends although nobody can tell it anything.
      await poll(() => {
        const left = findProcesses(`STINT_ATTEMPT=${session.id}.${epoch}`);
        return Promise.resolve(left.length === 0 ? true : null);
      });
      gaveUp.push(Date.now() - cutAt);
      const resumedAt = await session.waitForResume(client, attempt);
      const orphans = scene.countOrphans(session.id, epoch);
      promise(orphans === 0, `${partition}: ${orphans} processes live on beside the next attempt`);
      takeovers.push(resumedAt - cutAt);
      await holder.host.heal(partition);
      // It comes back as another worker, and may well be the next to hold the session.
      await poll(() => Promise.resolve(isBack(holder.worker, lostBefore) ? true : null), 30_000);
    }
    const events = await session.finish(client);
    const { attempts } = await client.sessions.get(session.id);
    promise(attempts === PARTITIONS.length + 1, `the session took ${attempts} attempts`);
    const earliest = Math.min(...takeovers);
    promise(earliest > LEASE_MS / 2, `taken over ${earliest} ms after the cut, within the lease`);
    return {
      orphans: scene.orphans,
      resumeMs: Math.max(...takeovers),
      detail:
        `${PARTITIONS.join(", ")}: agent ended after ${gaveUp.join(", ")} ms, ` +
        `taken over after ${takeovers.join(", ")} ms (lease ${LEASE_MS} ms), ${events.length} events`,
    };
  },
);

async function findHolder(
  client: StintClient,
  sessionId: string,
  members: readonly Member[],
): Promise<Member> {
  const { workerId } = await client.sessions.get(sessionId);
  const registered = await client.workers.list();
  const pid = registered.find(({ id }) => id === workerId)?.pid;
  const found = members.find(({ worker }) => worker.pid === pid);
  if (found === undefined) throw new Error(`nobody holds the session: ${String(workerId)}`);
  return found;
}

function countLost(worker: StintProcess): number {
  return worker.lines.filter(({ msg }) => msg === "Worker lease lost").length;
}

function isBack(worker: StintProcess, lostBefore: number): boolean {
  const registered = worker.lines.filter(({ msg }) => msg === "Worker registered").length;
  return countLost(worker) > lostBefore && registered > lostBefore + 1;
}
