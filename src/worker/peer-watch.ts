import type { Logger } from "../core/log.ts";
import type { Store, WorkerPeer } from "../core/store.ts";

/** What the watch over peers needs. */
export interface PeerWatchOptions {
  readonly store: Pick<Store, "listPeers" | "buryWorker">;
  /** Of this process; empty where the system does not say: then nobody is watched. */
  readonly bootId: string;
  readonly isRunning: (pid: number, startTime: string) => Promise<boolean>;
  /** Called when a worker was declared dead: its sessions can be taken up. */
  readonly onBuried: () => void;
  readonly logger: Logger;
}

/** Passes between two looks at the list of peers in the database. */
const PASSES_PER_LISTING = 5;

/**
 * Declares workers of this host dead as soon as their processes are gone, long before their leases
 * run out. A lost connection would be no more than a suspicion; a pid that is free, or was given to
 * a process that started at another time, is proof, on the same boot and in the same pid namespace.
 * Looking is cheap (a file of /proc per peer), so every process with a store does it often.
 */
export class PeerWatch {
  readonly #options: PeerWatchOptions;
  #peers: readonly WorkerPeer[] = [];
  #passes = 0;

  constructor(options: PeerWatchOptions) {
    this.#options = options;
  }

  /** Returns how many workers were declared dead. */
  async runOnce(): Promise<number> {
    const { store, bootId, isRunning } = this.#options;
    if (bootId === "") return 0;
    if (this.#passes++ % PASSES_PER_LISTING === 0) this.#peers = await store.listPeers(bootId);
    let buried = 0;
    for (const peer of this.#peers) {
      if (await isRunning(peer.pid, peer.pidStartTime)) continue;
      if (await this.#bury(peer)) buried++;
    }
    if (buried > 0) this.#options.onBuried();
    return buried;
  }

  async #bury(peer: WorkerPeer): Promise<boolean> {
    const { store, bootId, logger } = this.#options;
    // Another process may have been first; then its sessions are lost already.
    const isBuried = await store.buryWorker(peer.id, bootId);
    this.#peers = this.#peers.filter(({ id }) => id !== peer.id);
    if (isBuried) logger.warn({ workerId: peer.id, pid: peer.pid }, "Worker is dead");
    return isBuried;
  }
}
