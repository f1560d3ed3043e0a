import type { Clock, Timer } from "../core/clock.ts";
import { toStintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";

/** A background job: runs again and again until it is stopped. */
export interface Service {
  /** Begins; a second call does nothing. */
  start(): void;
  /** Ends; resolves when a pass under way is over. Idempotent. */
  stop(): Promise<void>;
}

/** What a periodic service is made of. */
export interface PeriodicOptions {
  readonly name: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** One pass. Passes never overlap; one that fails is logged and tried again at the next turn. */
  readonly runOnce: () => Promise<unknown>;
}

/** Runs a pass every `intervalMs`, from the end of one to the start of the next. */
export function createPeriodicService(options: PeriodicOptions): Service & { wake(): void } {
  const { clock, logger, name } = options;
  let timer: Timer | null = null;
  let pass: Promise<void> | null = null;
  let isRunning = false;
  let isWoken = false;

  const runPass = async (): Promise<void> => {
    try {
      await options.runOnce();
    } catch (thrown) {
      const error = toStintError(thrown);
      logger.warn({ service: name, code: error.code, error: error.message }, "Service pass failed");
    }
    pass = null;
    if (isRunning) schedule(isWoken ? 0 : options.intervalMs);
  };
  const schedule = (delayMs: number): void => {
    isWoken = false;
    timer?.cancel();
    timer = clock.setTimer(() => {
      timer = null;
      pass = runPass();
    }, delayMs);
  };

  return {
    start() {
      if (isRunning) return;
      isRunning = true;
      schedule(0);
    },
    /** Asks for a pass at once; while one runs, for another one after it. */
    wake() {
      if (pass) isWoken = true;
      else if (isRunning) schedule(0);
    },
    async stop() {
      isRunning = false;
      timer?.cancel();
      timer = null;
      await pass;
    },
  };
}
