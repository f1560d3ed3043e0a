import { toStintError } from "../core/error.ts";
import { LOG_MESSAGES, type Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { isTerminal } from "../core/state.ts";
import type { Store, TransitionNotice } from "../core/store.ts";

/** Where transitions are told, and where the ends of sessions are read. */
export interface TransitionReportOptions {
  readonly store: Pick<Store, "getSession">;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

const END_MESSAGES = {
  completed: LOG_MESSAGES.completed,
  failed: LOG_MESSAGES.failed,
  expired: LOG_MESSAGES.expired,
} as const;

/** Tells log and metrics of the transitions that this process made. */
export class TransitionReport {
  readonly #store: Pick<Store, "getSession">;
  readonly #logger: Logger;
  readonly #metrics: Metrics;

  constructor(options: TransitionReportOptions) {
    this.#store = options.store;
    this.#logger = options.logger;
    this.#metrics = options.metrics;
  }

  /** One transition; `epoch` is the one that it led to. */
  tellTransition({ sessionId, from, to, reason, epoch }: TransitionNotice): void {
    this.#logger.info({ sessionId, from, to, reason, epoch }, LOG_MESSAGES.transition);
    this.#metrics.count("transitions", { from, to, reason });
    if (to === "expired") this.#metrics.count("expiries", { reason });
  }

  /**
   * What a session that has ended came to, by the clock and the totals of the database. Never
   * rejects: the end itself is stored.
   */
  async tellEnd(sessionId: string): Promise<void> {
    try {
      const session = await this.#store.getSession(sessionId);
      // It may be deleted by now.
      if (!session?.completedAt || !isTerminal(session.status)) return;
      const { completedAt, createdAt, stats, status } = session;
      const duration = Math.max(0, completedAt.getTime() - createdAt.getTime());
      this.#metrics.observe("sessionDuration", { status }, duration / 1_000);
      const message = END_MESSAGES[status as keyof typeof END_MESSAGES];
      this.#logger.info({ sessionId, duration, stats }, message);
    } catch (thrown) {
      const { code, message } = toStintError(thrown);
      this.#logger.warn({ sessionId, code, error: message }, "The end of a session is not told");
    }
  }
}
