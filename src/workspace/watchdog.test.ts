import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { randomUUID } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { createWatchdog, WORKER_COOKIE, type Watchdog } from "./watchdog.ts";

const sleepers: ChildProcess[] = [];
const watchdogs: Watchdog[] = [];

afterEach(async () => {
  for (const sleeper of sleepers.splice(0)) sleeper.kill("SIGKILL");
  for (const watchdog of watchdogs.splice(0)) await watchdog.close();
});

function startSleeper(cookie: string): ChildProcess {
  const sleeper = spawn("sleep", ["300"], {
    env: { PATH: process.env["PATH"], [WORKER_COOKIE]: cookie },
    stdio: "ignore",
    detached: true,
  });
  sleepers.push(sleeper);
  return sleeper;
}

function createOne(cookie: string): Watchdog {
  const watchdog = createWatchdog(cookie);
  watchdogs.push(watchdog);
  return watchdog;
}

const isRunning = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode === null && signalCode === null;

test.runIf(process.platform === "linux")(
  "what is not fed in time is killed, and nothing of another worker",
  async () => {
    const cookie = randomUUID();
    const mine = startSleeper(cookie);
    const other = startSleeper(randomUUID());
    const ended = once(mine, "exit");
    createOne(cookie).feed(200);
    await ended;
    expect(mine.signalCode).toBe("SIGKILL");
    expect(isRunning(other)).toBe(true);
  },
);

test.runIf(process.platform === "linux")(
  "each feeding counts from its own time: the last word decides",
  async () => {
    const cookie = randomUUID();
    const mine = startSleeper(cookie);
    const ended = once(mine, "exit");
    const watchdog = createOne(cookie);
    watchdog.feed(60_000);
    const shortenedAt = performance.now();
    watchdog.feed(100);
    await ended;
    expect(performance.now() - shortenedAt).toBeLessThan(30_000);
  },
);

test.runIf(process.platform === "linux")(
  "at the end everything that still carries the cookie ends too",
  async () => {
    const cookie = randomUUID();
    const mine = startSleeper(cookie);
    const ended = once(mine, "exit");
    const watchdog = createOne(cookie);
    watchdog.feed(60_000);
    await watchdog.close();
    await ended;
    expect(mine.signalCode).toBe("SIGKILL");
  },
);
