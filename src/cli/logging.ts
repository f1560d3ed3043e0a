import pino from "pino";
import type { Config } from "../core/config.ts";
import type { Logger } from "../core/log.ts";
import type { Output } from "./output.ts";

/**
 * JSON log lines: on stdout among the other lines of a service; where a person watches, warnings
 * only, on stderr.
 */
export function createLogger(config: Pick<Config, "logLevel">, output: Output): Logger {
  const isShy = output.isTerminal && config.logLevel === "info";
  return pino(
    {
      level: isShy ? "warn" : config.logLevel,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      redact: ["token", "*.token", "apiKey", "*.apiKey", "authorization"],
    },
    pino.destination({ fd: output.isTerminal ? 2 : 1, sync: true }),
  );
}
