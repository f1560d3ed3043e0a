import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { StintError } from "../../core/error.ts";
import { NOBODY_UID, type SandboxProbe, UNSHARE_FLAGS } from "./sandbox-probe.ts";

/**
 * How Postgres programs are started here. Postgres refuses to run as root, so root needs one of
 * the other two ways.
 *
 *     direct          as the user we are
 *     user_namespace  as the user we are, who appears as nobody to the program; files stay ours
 *     other_user      as another user of this host; files belong to that user
 */
export interface Launch {
  readonly mode: "direct" | "user_namespace" | "other_user";
  /** Who owns the files of the cluster. */
  readonly uid: number;
  readonly gid: number;
  /** The program gets a signal when its parent dies. */
  readonly hasDeathSignal: boolean;
}

/** One program to start. */
export interface LaunchRequest {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly stdio: StdioOptions;
  /** Sent to the program when this process dies. */
  readonly deathSignal: "INT" | "KILL";
}

/**
 * Chooses how to start Postgres. A cluster that belongs to some other user is run by root as that
 * user, so that its owner can use it again. @throws {database_unavailable} root outside Linux
 */
export function chooseLaunch(probe: SandboxProbe, clusterOwner?: LaunchOwner): Launch {
  const own = { uid: probe.uid, gid: process.getgid?.() ?? -1, hasDeathSignal: probe.hasSetpriv };
  if (probe.uid !== 0) {
    const mode = !probe.hasAccountName && probe.hasUserNamespaces ? "user_namespace" : "direct";
    return { ...own, mode };
  }
  if (probe.platform !== "linux") {
    throw new StintError("database_unavailable", "Postgres does not run as root", {
      remedy: "Run stint as a normal user, or set DATABASE_URL.",
    });
  }
  const isForeign = clusterOwner !== undefined && ![0, NOBODY_UID].includes(clusterOwner.uid);
  if (isForeign) return { ...own, ...clusterOwner, mode: "other_user" };
  if (probe.hasUserNamespaces) return { ...own, mode: "user_namespace" };
  return { ...own, mode: "other_user", uid: NOBODY_UID, gid: NOBODY_UID };
}

/** The user and group that a cluster's files belong to. */
export interface LaunchOwner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * How a program is told its data directory: by its working directory where another user runs it,
 * because that user may not walk through the folders above it (`/root`, a private home).
 */
export function describeDataDirectory(launch: Launch, clusterDir: string): string {
  return launch.mode === "direct" ? clusterDir : "/proc/self/cwd";
}

/** The command line that starts the program in the given way. */
export function buildCommand(
  launch: Launch,
  { program, args, deathSignal }: Pick<LaunchRequest, "program" | "args" | "deathSignal">,
): readonly string[] {
  const isOther = launch.mode === "other_user" && launch.hasDeathSignal;
  const ids = isOther ? [`--reuid=${launch.uid}`, `--regid=${launch.gid}`, "--clear-groups"] : [];
  const guard = launch.hasDeathSignal ? ["setpriv", ...ids, "--pdeathsig", deathSignal, "--"] : [];
  const namespace = launch.mode === "user_namespace" ? ["unshare", ...UNSHARE_FLAGS, "--"] : [];
  return [...guard, ...namespace, program, ...args];
}

/**
 * Starts a Postgres program. Its environment holds nothing of ours: no keys, no `PG…` variables
 * that would change what it does.
 */
export function launchProgram(launch: Launch, request: LaunchRequest): ChildProcess {
  const [file = request.program, ...args] = buildCommand(launch, request);
  const isOther = launch.mode === "other_user" && !launch.hasDeathSignal;
  return spawn(file, args, {
    cwd: request.cwd ?? "/",
    stdio: request.stdio,
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C", HOME: "/" },
    ...(isOther ? { uid: launch.uid, gid: launch.gid } : {}),
  });
}

/** What a program that ran to its end left behind. */
export interface ProgramResult {
  /** Exit code; null when a signal ended it or it could not be started. */
  readonly exitCode: number | null;
  /** The end of what it wrote to both outputs, up to 16 kB. */
  readonly output: string;
}

const OUTPUT_CHARS_MAX = 16_384;

/** Runs a program to its end, with `input` on its standard input. Never rejects. */
export function runProgram(
  launch: Launch,
  request: Omit<LaunchRequest, "stdio" | "deathSignal"> & { readonly input?: string },
): Promise<ProgramResult> {
  const child = launchProgram(launch, { ...request, stdio: "pipe", deathSignal: "KILL" });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-OUTPUT_CHARS_MAX);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  child.stdin?.on("error", () => {
    // The program ended without reading its input; its exit code tells the story.
  });
  child.stdin?.end(request.input ?? "");
  return new Promise((resolve) => {
    child.once("error", (error) => resolve({ exitCode: null, output: error.message }));
    child.once("close", (exitCode) => resolve({ exitCode, output }));
  });
}
