import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** Name of the cookie that every process of one worker carries, whatever the session. */
export const WORKER_COOKIE = "STINT_WORKER";

/** A process that ends what this one has started when it is not fed in time. */
export interface Watchdog {
  /** Says that all may run for `dueMs` more, from now. Starts the process at the first call. */
  feed(dueMs: number): void;
  /** Ends it, and everything that still carries the cookie. Idempotent. */
  close(): Promise<void>;
}

/**
 * Makes the watchdog of a worker, known by the value of its cookie. A worker that is frozen cannot
 * stop its agents when its lease runs out, and one that is killed cannot do anything: both are
 * done for it. Where processes live in a namespace that dies with the worker, only the first
 * matters.
 */
export function createWatchdog(cookie: string): Watchdog {
  let child: ChildProcess | null = null;

  const start = (): ChildProcess => {
    const started = spawn(process.execPath, [locateProgram(), WORKER_COOKIE, cookie], {
      // Its environment must not carry the cookie, and needs nothing else either.
      env: { PATH: process.env["PATH"] ?? "" },
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
    started.on("error", () => forget(started));
    started.on("exit", () => forget(started));
    started.stdin?.on("error", () => undefined); // it has ended: `exit` tells
    started.unref();
    (started.stdin as unknown as { unref(): void }).unref();
    return started;
  };
  const forget = (ended: ChildProcess): void => {
    if (child === ended) child = null;
  };

  return {
    feed(dueMs) {
      child ??= start();
      child.stdin?.write(`${Math.max(1, Math.floor(dueMs))}\n`);
    },
    async close() {
      const ending = child;
      child = null;
      if (ending === null || ending.exitCode !== null || ending.signalCode !== null) return;
      const ended = once(ending, "exit");
      ending.ref();
      ending.stdin?.end();
      await ended;
    },
  };
}

/** The compiled program, also when this file itself runs from its source. */
function locateProgram(): string {
  const here = fileURLToPath(import.meta.url);
  return here.endsWith(".ts")
    ? fileURLToPath(new URL("../../dist/workspace/watchdog-process.js", import.meta.url))
    : fileURLToPath(new URL("./watchdog-process.js", import.meta.url));
}
