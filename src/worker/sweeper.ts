import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import { waitWithin } from "./patience.ts";
import { createPeriodicService, type Service } from "./service.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";

/** How long a sweep under way is waited for at the end. */
const STOP_MS_MAX = 1_000;

/** What the sweeps need. */
export interface SweeperOptions {
  readonly lifecycle: SessionLifecycleManager;
  /** Time between sweeps of lost leases and unanswered requests. */
  readonly lostLeaseIntervalMs: number;
  /** Time between sweeps of idle sessions. */
  readonly sweepIntervalMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The sweeps that keep states true without their owners. Every process with a store runs them:
 * they skip what another one is sweeping.
 */
export function createSweeper(options: SweeperOptions): Service {
  const { lifecycle, clock, logger } = options;
  const services = [
    createPeriodicService({
      name: "lost-lease-sweep",
      intervalMs: options.lostLeaseIntervalMs,
      clock,
      logger,
      runOnce: () => lifecycle.checkLostSessions(),
    }),
    createPeriodicService({
      name: "idle-sweep",
      intervalMs: options.sweepIntervalMs,
      clock,
      logger,
      runOnce: () => lifecycle.checkExpiredSessions(),
    }),
  ];
  return {
    start() {
      for (const service of services) service.start();
    },
    async stop() {
      // A sweep is one statement, done or undone: nothing is lost by leaving it behind.
      const stopped = Promise.all(services.map((service) => service.stop()));
      await waitWithin(clock, STOP_MS_MAX, stopped);
    },
  };
}
