/** Entry of the command line. It loads nothing of a command before it knows which one is called. */
import { runCli } from "./cli/main.ts";
import { listenForStop } from "./cli/stop-signal.ts";

// `stint ls | head` closes the pipe: nobody is left to read, and that is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 3);
});

const stop = listenForStop(process, (second) => {
  process.stderr.write(
    "stint: stopped at once; what was running is taken up again at the next start\n",
  );
  process.exit(second.exitCode);
});

/** Time for what is still open after a command has ended; it must not hold up the exit. */
const LINGER_MS = 500;

const exitCode = await runCli({
  argv: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  columns: process.stdout.isTTY ? process.stdout.columns : null,
  signal: stop.signal,
});
stop.dispose();
process.exitCode = exitCode;
setTimeout(() => process.exit(exitCode), LINGER_MS).unref();
