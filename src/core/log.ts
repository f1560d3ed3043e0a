/**
 * The port to log lines: one call, one JSON line. `fields` come before the message, as in pino,
 * which satisfies this interface as it is.
 */
export interface Logger {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** A logger that keeps silent. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** The log messages that dashboards and alerts are built on; they never change. */
export const LOG_MESSAGES = {
  transition: "Session state transition",
  completed: "Session completed",
  failed: "Session failed",
  expired: "Session expired",
} as const;
