import type { Clock } from "../core/clock.ts";
import { LOG_MESSAGES, type Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { SessionState } from "../core/state.ts";
import type { TransitionNotice } from "../core/store.ts";
import type { SessionHold } from "./session-hold.ts";

/** Tells log and metrics of the transitions that this process made or learned of. */
export class TransitionReport {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #metrics: Metrics;

  constructor(options: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly metrics: Metrics;
  }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#metrics = options.metrics;
  }

  /** One transition; `epoch` is the one that it led to. */
  tellTransition({ sessionId, from, to, reason, epoch }: TransitionNotice): void {
    this.#logger.info({ sessionId, from, to, reason, epoch }, LOG_MESSAGES.transition);
    this.#metrics.count("transitions", { from, to, reason });
    if (to === "expired") this.#metrics.count("expiries", { reason });
  }

  /** What a session that ended here came to. */
  tellEnd({ sessionId, session, stats }: SessionHold, to: SessionState): void {
    const duration = Math.max(0, this.#clock.now() - session.createdAt.getTime());
    this.#metrics.observe("sessionDuration", { status: to }, duration / 1_000);
    const message = to === "completed" ? LOG_MESSAGES.completed : LOG_MESSAGES.failed;
    this.#logger.info({ sessionId, duration, stats }, message);
  }
}
