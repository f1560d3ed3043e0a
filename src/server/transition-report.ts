import { LOG_MESSAGES, type Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { Reason } from "../core/state.ts";

/** Where transitions are reported. */
export interface TransitionReport {
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/**
 * Logs and counts a transition that a command made. Workers report their own, so it must be certain
 * that it was the command: one epoch later, for the reason that only this command gives.
 */
export function reportTransition(
  before: SessionSnapshot,
  after: SessionSnapshot,
  reason: Reason | null,
  { logger, metrics }: TransitionReport,
): void {
  if (after.epoch !== before.epoch + 1 || after.reason !== reason) return;
  const { id: sessionId, epoch, status: to, completedAt, createdAt } = after;
  const from = before.status;
  logger.info({ sessionId, from, to, reason, epoch }, LOG_MESSAGES.transition);
  metrics.count("transitions", { from, to, reason });
  if (to === "expired") metrics.count("expiries", { reason });
  if (completedAt === null) return;
  const duration = Math.max(0, completedAt.getTime() - createdAt.getTime());
  metrics.observe("sessionDuration", { status: to }, duration / 1_000);
  const message = to === "expired" ? LOG_MESSAGES.expired : LOG_MESSAGES.failed;
  logger.info({ sessionId, duration, stats: after.stats }, message);
}
