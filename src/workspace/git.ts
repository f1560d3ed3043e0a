import { AsyncLocalStorage } from "node:async_hooks";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { StintError } from "../core/error.ts";
import { decodePath } from "./path-bytes.ts";
import { probeCustody } from "./probe.ts";
import type { CustodyProbe } from "./probe.ts";
import { wrapCommand } from "./wrapper.ts";

/** One call of git. */
export interface GitCall {
  readonly args: readonly string[];
  readonly cwd: string;
  /** Repository, work tree and index where they are not found from `cwd`. */
  readonly gitDir?: string;
  readonly workTree?: string;
  readonly indexFile?: string;
  /** A configuration file of ours in place of none. */
  readonly configFile?: string;
  /** Further environment, for transports. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Uint8Array | string;
  /** Output beyond this is cut off and the call ended. @default 268_435_456 (256 MiB) */
  readonly outputBytesMax?: number;
  /** @default 600_000 (10 min) */
  readonly timeoutMs?: number;
  /** Exit codes that are answers. @default [0] */
  readonly codes?: readonly number[];
  /** True for calls that start further processes: they are held in a namespace. @default false */
  readonly isTransport?: boolean;
}

/** What git said. */
export interface GitAnswer {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly truncated: boolean;
}

const OUTPUT_BYTES_MAX = 268_435_456;
const STDERR_CHARS_MAX = 8_192;
const TIMEOUT_MS = 600_000;
const IDENTITY = "Stint";
const EMAIL = "stint@localhost";

/**
 * Settings that win over those of any repository. A repository that is not ours may name programs
 * for git to run; these take the names away. Filters have no such switch: no call here makes git
 * convert content under a foreign configuration.
 */
const SETTINGS: readonly string[] = [
  ...["core.hooksPath=/dev/null", "core.fsmonitor=false", "core.untrackedCache=false"],
  ...["core.attributesFile=/dev/null", "core.excludesFile=/dev/null", "core.quotePath=false"],
  ...["core.pager=cat", "core.askPass=", "core.alternateRefsCommand=", "credential.helper="],
  ...["diff.external=", "gc.auto=0", "maintenance.auto=false", "safe.directory=*"],
  ...["submodule.recurse=false", "protocol.ext.allow=never", "advice.addEmbeddedRepo=false"],
];

let probing: Promise<CustodyProbe> | null = null;

function probeOnce(): Promise<CustodyProbe> {
  probing ??= probeCustody();
  return probing;
}

const abandonment = new AsyncLocalStorage<AbortSignal>();

/**
 * Runs work whose every git is killed when the signal aborts, with all that it has started; none is
 * started after that, and a copy ends at its next entry. What killed gits leave behind is what a
 * crash leaves.
 */
export function runAbandonable<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return abandonment.run(signal, work);
}

/** @throws the reason of the signal that has abandoned the present work. */
export function throwIfAbandoned(): void {
  abandonment.getStore()?.throwIfAborted();
}

/**
 * Runs git with its own identity and without any configuration of the user or the system, without
 * hooks, prompts and file system monitors. It dies with this process.
 * @throws {git_missing} when git is not installed.
 * @throws {GitFailure} when it ends otherwise than `codes` says. @throws the reason of a signal that
 * has abandoned it.
 */
export async function runGit(call: GitCall): Promise<GitAnswer> {
  const signal = abandonment.getStore();
  const git = await findGit();
  if (git === null) throw new StintError("git_missing", "git is not installed on this host");
  const probe = await probeOnce();
  const level =
    call.isTransport === true ? probe.level : probe.setpriv === null ? "none" : "pdeathsig";
  const args = [...SETTINGS.flatMap((setting) => ["-c", setting]), ...call.args];
  const wrapped = wrapCommand({ ...probe, level }, git, args, call.cwd);
  signal?.throwIfAborted();
  const child = spawn(wrapped.file, wrapped.args, {
    cwd: call.cwd,
    env: buildGitEnvironment(call),
    stdio: [call.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    detached: true,
    timeout: call.timeoutMs ?? TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const abandon = (): void => killGroup(child);
  signal?.addEventListener("abort", abandon, { once: true });
  const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  const bytesMax = call.outputBytesMax ?? OUTPUT_BYTES_MAX;
  const chunks: Buffer[] = [];
  let size = 0;
  let truncated = false;
  child.stdout?.on("data", (chunk: Buffer) => {
    if (size < bytesMax) chunks.push(chunk.subarray(0, bytesMax - size));
    size += chunk.length;
    if (size <= bytesMax || truncated) return;
    truncated = true;
    child.kill("SIGKILL");
  });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    if (stderr.length < STDERR_CHARS_MAX) stderr += chunk.toString("utf8");
  });
  child.stdin?.on("error", () => undefined); // git ended early: its exit code tells
  child.stdin?.end(call.input);
  const [code, killedBy] = await closed.finally(() =>
    signal?.removeEventListener("abort", abandon),
  );
  signal?.throwIfAborted();
  const stdout = Buffer.concat(chunks);
  if (truncated) return { code: 0, stdout, stderr, truncated };
  if (code === null) stderr += `git was ended by ${killedBy}`;
  if (code === null || !(call.codes ?? [0]).includes(code)) {
    throw new GitFailure(call.args, code, stderr);
  }
  return { code, stdout, stderr, truncated };
}

/** Git and what it has started; a namespace dies with its wrapper. */
function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}

/** Runs git and returns the first line of its output. */
export async function readGitLine(call: GitCall): Promise<string> {
  const { stdout } = await runGit(call);
  return stdout.toString("utf8").split("\n", 1)[0] ?? "";
}

/** Runs git and splits its output at NUL; what stands in it as a path is one. */
export async function readGitFields(call: GitCall): Promise<string[]> {
  const { stdout } = await runGit(call);
  const fields = decodePath(stdout).split("\0");
  if (fields.at(-1) === "") fields.pop();
  return fields;
}

/** New versions say this of a setting that old versions need. */
const DEPRECATED = /^warning: core\.fsyncObjectFiles is deprecated.*\n?/gm;

/** Git ended with an error. */
export class GitFailure extends Error {
  readonly exitCode: number | null;
  readonly stderr: string;

  constructor(args: readonly string[], exitCode: number | null, stderr: string) {
    const words = stderr.replace(DEPRECATED, "").trim().slice(0, 2_000);
    super(`git ${args.slice(0, 2).join(" ")} failed (${exitCode ?? "killed"}): ${words}`);
    this.name = "GitFailure";
    this.exitCode = exitCode;
    this.stderr = words;
  }
}

let finding: Promise<string | null> | null = null;

/** The absolute path of git, or null; looked for once. */
export function findGit(): Promise<string | null> {
  finding ??= findOnPath("git");
  return finding;
}

async function findOnPath(name: string): Promise<string | null> {
  const { resolveCommand } = await import("./command.ts");
  const { HOST_VIEW } = await import("./sandbox.ts");
  const path = `${process.env["PATH"] ?? ""}:/usr/local/bin:/usr/bin:/bin`;
  return resolveCommand(HOST_VIEW, name, "/", path).catch(() => null); // missing: an answer
}

function buildGitEnvironment(call: GitCall): Record<string, string> {
  const env: Record<string, string> = {
    PATH: process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin",
    HOME: "/nonexistent",
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: call.configFile ?? "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_LITERAL_PATHSPECS: "1",
    GIT_ALLOW_PROTOCOL: "file:git:http:https:ssh",
    GIT_AUTHOR_NAME: IDENTITY,
    GIT_AUTHOR_EMAIL: EMAIL,
    GIT_COMMITTER_NAME: IDENTITY,
    GIT_COMMITTER_EMAIL: EMAIL,
    ...call.env,
  };
  if (call.gitDir !== undefined) env["GIT_DIR"] = call.gitDir;
  if (call.workTree !== undefined) env["GIT_WORK_TREE"] = call.workTree;
  if (call.indexFile !== undefined) env["GIT_INDEX_FILE"] = call.indexFile;
  return env;
}
