/** Calls the command line in this process, for tests of commands. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { FAKE_TOKEN, type FakeServer } from "../client/fake-server.testsuite.ts";
import { runCli } from "./main.ts";
import { StopSignal } from "./stop-signal.ts";

export interface CallOptions {
  readonly server?: FakeServer | null;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly columns?: number | null;
  /** All of standard input. */
  readonly input?: string;
  /** Standard input is a terminal. @default false */
  readonly isTTY?: boolean;
  /** Called with all of stdout after each write. */
  readonly onStdout?: (text: string, call: CallHandle) => void;
}

export interface CallHandle {
  /** As Ctrl-C does. */
  interrupt(): void;
  readonly stdin: PassThrough;
}

export interface CallResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder of its own, gone with the machine's temporary files. */
export function makeFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "stint-cli-"));
}

export async function callCli(
  argv: readonly string[],
  options: CallOptions = {},
): Promise<CallResult> {
  const { server, env = {}, columns = null } = options;
  const cwd = options.cwd ?? (await makeFolder());
  const stop = new AbortController();
  const stdin = Object.assign(new PassThrough(), { isTTY: options.isTTY ?? false });
  if (options.input !== undefined) stdin.end(options.input);
  const handle: CallHandle = { interrupt: () => stop.abort(new StopSignal("SIGINT")), stdin };
  let stdout = "";
  let stderr = "";
  const code = await runCli({
    argv,
    env: server ? { STINT_URL: server.url, STINT_TOKEN: FAKE_TOKEN, ...env } : env,
    cwd,
    stdin: stdin as unknown as NodeJS.ReadStream,
    stdout: {
      write: (text) => {
        stdout += text;
        options.onStdout?.(stdout, handle);
      },
    },
    stderr: { write: (text) => (stderr += text) },
    columns,
    signal: stop.signal,
  });
  return { code, stdout, stderr };
}
