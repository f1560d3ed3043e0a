import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createClient } from "../../src/client/client.ts";
import { stopPostgres } from "../postgres.ts";

/** The compiled entry of the command line. */
export const BIN = fileURLToPath(new URL("../../dist/bin.js", import.meta.url));

/** A line of a service: `{"msg": "ready", …}`. */
export type ServiceLine = Readonly<Record<string, unknown>> & { readonly msg: string };

/** What a child sees of our environment: nothing of Stint, no keys. */
function buildEnvironment(dataDir: string, env: Record<string, string>): Record<string, string> {
  const { PATH = "", HOME = "/root", LANG = "C.UTF-8" } = process.env;
  return { PATH, HOME, LANG, TMPDIR: tmpdir(), STINT_DATA: dataDir, STINT_PORT: "0", ...env };
}

/** A folder for one test's data; `dispose` ends the Postgres of it and removes it. */
export function makeFolder(prefix = "stint e2e "): { path: string; dispose(): Promise<void> } {
  const path = mkdtempSync(join(tmpdir(), prefix));
  return {
    path,
    dispose: async () => {
      await stopPostgres(path);
      await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}

/** A running `stint dev`, `server` or `worker`. */
export class StintProcess {
  readonly child: ChildProcess;
  readonly lines: ServiceLine[] = [];
  stderr = "";
  readonly exited: Promise<number | null>;
  readonly #waiting = new Set<() => void>();

  /** `within` is a command line that becomes the process, such as `nsenter --net=… --`. */
  constructor(
    args: readonly string[],
    dataDir: string,
    env: Record<string, string> = {},
    within: readonly string[] = [],
  ) {
    const [program = process.execPath, ...programArgs] = [
      ...within,
      process.execPath,
      BIN,
      ...args,
    ];
    this.child = spawn(program, programArgs, {
      env: buildEnvironment(dataDir, env),
      stdio: ["ignore", "pipe", "pipe"],
      cwd: dataDir,
    });
    let rest = "";
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) if (part.startsWith("{")) this.lines.push(JSON.parse(part));
      this.#wake();
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.exited = new Promise((resolve) => {
      this.child.on("close", (code) => {
        resolve(code);
        this.#wake();
      });
    });
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /** The first line for which `matches` holds; rejects when the process ends before. */
  async waitForLine(matches: (line: ServiceLine) => boolean): Promise<ServiceLine> {
    for (;;) {
      const found = this.lines.find(matches);
      if (found) return found;
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`stint ended before: ${this.stderr} ${JSON.stringify(this.lines)}`);
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Resolves with url and token once the service is ready. */
  async ready(): Promise<{ url: string; token: string }> {
    const line = await this.waitForLine(({ msg }) => msg === "ready");
    return { url: String(line["url"]), token: String(line["token"]) };
  }

  async connect(): Promise<ReturnType<typeof createClient>> {
    return createClient(await this.ready());
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    return this.exited;
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

/** Runs one command line to its end. */
export async function runStint(
  args: readonly string[],
  options: { dataDir: string; cwd?: string; env?: Record<string, string> },
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [BIN, ...args], {
    env: buildEnvironment(options.dataDir, options.env ?? {}),
    stdio: ["ignore", "pipe", "pipe"],
    cwd: options.cwd ?? options.dataDir,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}

/** Pids of living processes whose environment holds this text; zombies excepted. */
export function findProcesses(environmentText: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`).includes(environmentText)) return false;
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
      } catch {
        return false; // gone meanwhile
      }
    });
}

/** Until a condition holds: work, on however busy a machine, and no promise. */
const PATIENCE_MS = 60_000;

/** Asks again and again until the answer is neither null nor undefined. */
export async function poll<T>(
  ask: () => Promise<T | null | undefined>,
  boundMs = PATIENCE_MS,
): Promise<T> {
  const deadline = performance.now() + boundMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null && answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error("the condition did not come true in time");
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
