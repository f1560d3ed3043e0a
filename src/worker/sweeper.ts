import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import { createPeriodicService, type Service } from "./service.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";

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
      await Promise.all(services.map((service) => service.stop()));
    },
  };
}
