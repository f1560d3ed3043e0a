import type { Clock } from "../core/clock.ts";
import { toStintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import type { Store, WorkerRegistration } from "../core/store.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";

/** What a heartbeat needs. */
export interface HeartbeatOptions {
  readonly store: Store;
  readonly lifecycle: SessionLifecycleManager;
  readonly clock: Clock;
  readonly logger: Logger;
  /** This worker without the id: each registration gets a new one. */
  readonly worker: Omit<WorkerRegistration, "id">;
}

/**
 * Keeps this worker's lease alive and the worker honest: what the database says is held no more is
 * stopped at once; when the lease is lost, everything is. A lease is judged lost here as soon as
 * its time has passed on any of our clocks since before the last renewal was asked for, whatever
 * the database may still say.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #workerId: string | null = null;
  #renewedAt = 0;
  #renewedAtWall = 0;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** Id of the live registration, or null while there is none. */
  get workerId(): string | null {
    return this.#workerId;
  }

  /** Registers this worker, or renews its lease and drops what it lost. */
  async runOnce(): Promise<void> {
    const { store, lifecycle, clock } = this.#options;
    if (this.#workerId !== null && this.#isOverdue()) this.#loseAll("the lease ran out here");
    if (this.#workerId === null) {
      await this.#register();
      return;
    }
    const workerId = this.#workerId;
    const holds = lifecycle.holds;
    const sentAt = clock.monotonic();
    const sentAtWall = clock.now();
    try {
      await lifecycle.flushActivity();
      const { isLive, held } = await store.heartbeat(
        workerId,
        this.#options.worker.leaseDurationMs,
      );
      if (!isLive) {
        this.#loseAll("the database ended the lease");
        await this.#register();
        return;
      }
      this.#renewedAt = sentAt;
      this.#renewedAtWall = sentAtWall;
      const epochs = new Map(held.map((owner) => [owner.sessionId, owner.epoch]));
      for (const hold of holds) {
        if (epochs.get(hold.sessionId) === hold.epoch || !lifecycle.holds.includes(hold)) continue;
        lifecycle.loseSession(hold, "the heartbeat says that it is held no more");
      }
    } catch (thrown) {
      const error = toStintError(thrown);
      this.#options.logger.warn({ workerId, code: error.code }, "Heartbeat failed");
      if (this.#isOverdue()) this.#loseAll("the lease could not be renewed in time");
    }
  }

  /** Ends the lease now. What is held must have been released before. */
  async end(): Promise<void> {
    const workerId = this.#workerId;
    this.#workerId = null;
    if (workerId !== null) await this.#options.store.removeWorker(workerId);
  }

  async #register(): Promise<void> {
    const { store, clock, worker, logger } = this.#options;
    const id = clock.newId();
    const sentAt = clock.monotonic();
    const sentAtWall = clock.now();
    await store.registerWorker({ ...worker, id });
    this.#workerId = id;
    this.#renewedAt = sentAt;
    this.#renewedAtWall = sentAtWall;
    logger.info({ workerId: id, name: worker.name, slots: worker.slots }, "Worker registered");
  }

  #isOverdue(): boolean {
    const { clock, worker } = this.#options;
    const elapsedMs = Math.max(
      clock.monotonic() - this.#renewedAt,
      clock.now() - this.#renewedAtWall,
    );
    return elapsedMs >= worker.leaseDurationMs;
  }

  #loseAll(message: string): void {
    const { lifecycle, logger } = this.#options;
    logger.warn(
      { workerId: this.#workerId, sessions: lifecycle.holds.length },
      "Worker lease lost",
    );
    this.#workerId = null;
    for (const hold of lifecycle.holds) lifecycle.loseSession(hold, message);
  }
}
