/**
 * A process of its own that kills what a worker has started when the worker no longer says that it
 * may run: because it was stopped (SIGSTOP, a suspended machine, a debugger), or because it is gone.
 * Started with the name and value of the cookie; fed on stdin with lines that each hold the
 * milliseconds until the next one is due.
 */
import { createInterface } from "node:readline";
import { sweepEnvironment } from "./sweep.ts";

const [name = "", value = ""] = process.argv.slice(2);
let timer: NodeJS.Timeout | null = null;

/** Kills all bearers of the cookie; what survives SIGKILL is stuck in the kernel and does nothing. */
async function killAll(): Promise<void> {
  try {
    await sweepEnvironment(name, value);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
  }
}

process.title = "stint: watchdog";
// Ctrl-C in a terminal goes to the worker, which stops in order; we go when it has gone.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

const feed = createInterface({ input: process.stdin });
feed.on("line", (line) => {
  const dueMs = Number(line);
  if (timer !== null) clearTimeout(timer);
  timer = Number.isFinite(dueMs) && dueMs > 0 ? setTimeout(() => void killAll(), dueMs) : null;
});
feed.on("close", () => {
  if (timer !== null) clearTimeout(timer);
  void killAll().then(() => process.exit(0));
});
