import { expect, test } from "vitest";
import { silentLogger } from "../core/log.ts";
import type { WorkerPeer } from "../core/store.ts";
import { PeerWatch } from "./peer-watch.ts";

const alive: WorkerPeer = { id: "alive", pid: 10, pidStartTime: "1" };
const gone: WorkerPeer = { id: "gone", pid: 11, pidStartTime: "2" };
const reused: WorkerPeer = { id: "reused", pid: 12, pidStartTime: "3" };
/** Start times of the processes that run. */
const RUNNING = new Map([
  [10, "1"],
  [12, "99"],
]);

function createWatch(peers: readonly WorkerPeer[], bootId = "boot") {
  const buried: string[] = [];
  let woken = 0;
  let listings = 0;
  const watch = new PeerWatch({
    store: {
      listPeers: () => {
        listings++;
        return Promise.resolve(peers.filter(({ id }) => !buried.includes(id)));
      },
      buryWorker: (id) => {
        buried.push(id);
        return Promise.resolve(true);
      },
    },
    bootId,
    isRunning: (pid, startTime) => Promise.resolve(RUNNING.get(pid) === startTime),
    onBuried: () => woken++,
    logger: silentLogger,
  });
  return { watch, buried, woken: () => woken, listings: () => listings };
}

test("a worker whose process is gone, or whose pid is another process's, is declared dead once", async () => {
  const { watch, buried, woken } = createWatch([alive, gone, reused]);
  expect(await watch.runOnce()).toBe(2);
  expect(buried).toEqual(["gone", "reused"]);
  expect(woken()).toBe(1);
  expect(await watch.runOnce()).toBe(0);
  expect(buried).toHaveLength(2);
});

test("nobody is declared dead where the system does not tell boots apart", async () => {
  const { watch, buried, listings } = createWatch([gone], "");
  expect(await watch.runOnce()).toBe(0);
  expect(buried).toEqual([]);
  expect(listings()).toBe(0);
});

test("the database is asked for peers at every fifth pass, /proc at every one", async () => {
  const { watch, listings } = createWatch([alive]);
  for (let pass = 0; pass < 11; pass++) await watch.runOnce();
  expect(listings()).toBe(3);
});
