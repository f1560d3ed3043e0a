import { spawn } from "node:child_process";
import { once } from "node:events";
import { randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import type { ChildProcess, StdioOptions } from "node:child_process";
import type { CustodyLevel, CustodyProcess, SpawnSpec } from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import { narrowPath, resolveCommand, resolveCwd, showExposed } from "./command.ts";
import type { ResourceGroup } from "./cgroup.ts";
import { ATTEMPT_COOKIE, COMMAND_COOKIE, addToEnvironment } from "./environment.ts";
import type { ExitRecord, ExitRecords } from "./exit-record.ts";
import type { FrozenTime } from "./frozen-time.ts";
import { holdProcess } from "./held-process.ts";
import type { CustodyProbe } from "./probe.ts";
import type { Sandbox } from "./sandbox.ts";
import { sweepAttempt } from "./sweep.ts";
import { startInTerminal } from "./terminal.ts";
import { wrapCommand, type WrappedCommand } from "./wrapper.ts";

/** What the custody of one attempt is made of. */
export interface CustodyOptions {
  /** What this host allows; probed once per worker. */
  readonly probe: CustodyProbe;
  /** Value of STINT_ATTEMPT in every process; unique to the attempt. */
  readonly attemptCookie: string;
  /** What commands see; they run in its workspace unless they say otherwise. */
  readonly sandbox: Sandbox;
  /** The allow-listed environment, see `buildAgentEnvironment`. */
  readonly env: Readonly<Record<string, string>>;
  readonly clock: Pick<Clock, "setTimer">;
  /** Where the ends of commands that are calls are recorded. @default they are not */
  readonly exits?: Pick<ExitRecords, "begin">;
  /** What its commands are bounded by together, where this host allows it. */
  readonly group?: Pick<ResourceGroup, "enter" | "thaw"> | null;
  /** Time that counts for no limit of a command. @default none */
  readonly frozenTime?: Pick<FrozenTime, "read" | "totalMs">;
  /** Told of a command that was killed before it started, as its group could not be entered. */
  readonly onRefused?: (cause: unknown) => void;
  /** Reads how large a file a command that starts now may write, in bytes. @default no bound */
  readonly readFileBytesMax?: () => Promise<number>;
}

/** A program and what it is started by. */
export interface HeldSpec extends SpawnSpec {
  /** A command line that is given the program's as its further arguments. @default none */
  readonly within?: readonly string[];
}

/** Holds every process of one attempt. */
export interface Custody {
  readonly level: CustodyLevel;
  /**
   * Starts a program. What it starts itself ends with it: nothing of a command outlives it.
   * @throws {command_not_found} when there is no such program.
   * @throws {workspace_missing} when there is no such directory.
   * @throws {invalid_request} when arguments or environment cannot be given to a process.
   * @throws {custody_unavailable} after `close`, or when the host starts no more processes.
   */
  spawn(spec: HeldSpec): Promise<CustodyProcess>;
  /**
   * Kills all and resolves when nothing of the attempt is alive. Idempotent.
   * @throws {custody_unavailable} when something survives SIGKILL.
   */
  close(): Promise<void>;
}

/**
 * Makes the custody of one attempt. Must run on the main thread: a parent-death signal follows the
 * thread that started the process, and a worker thread may end before its process does.
 *
 * Exit codes: the command's own, at every level. A command that a signal ended shows as 128 + the
 * signal's number, as in a shell, since the wrappers tell no more; only where the custody itself
 * (or the kernel, in its stead) killed everything, `code` is null and `signal` is SIGKILL.
 *
 * Custody bounds the life of processes; what they may read, write and reach is the sandbox's.
 */
export function createCustody(options: CustodyOptions): Custody {
  const { probe, clock, sandbox, group = null } = options;
  const held = new Set<CustodyProcess>();
  let isClosed = false;

  return {
    level: probe.level,
    async spawn(spec) {
      const cwd = await resolveCwd(sandbox, spec.cwd);
      const own = { ...options.env, ...sandbox.env, HOME: sandbox.home };
      const env = addToEnvironment(own, spec.env ?? {});
      const hostPath = env["PATH"] ?? "";
      const path = narrowPath(sandbox, hostPath, spec.exposes);
      const view = showExposed(sandbox, spec.exposes);
      const found = await resolveCommand(view, spec.command, cwd.inside, hostPath, path);
      env["PATH"] = path;
      const [file = found, ...args] = [...(spec.within ?? []), found, ...spec.args];
      const terminal = spec.pty ? startInTerminal(spec.pty, file, args) : null;
      const target = terminal ?? { file, args };
      const commandCookie = randomUUID();
      env[ATTEMPT_COOKIE] = options.attemptCookie;
      env[COMMAND_COOKIE] = commandCookie;
      const fileBytesMax = await options.readFileBytesMax?.();
      const record = await beginRecord(options, spec);
      const wrapped = wrapCommand(probe, target.file, target.args, cwd.inside, {
        ...{ tellsInit: true, tellsExit: record !== null, waits: group !== null },
        sandbox: listMounts(sandbox, [...(spec.exposes ?? []), ...(terminal?.folders ?? [])]),
        ...(fileBytesMax !== undefined && { fileBytesMax }),
      });
      if (isClosed) {
        await record?.release();
        throw new StintError("custody_unavailable", "this attempt has ended");
      }
      const stdio = layOutStreams(spec, wrapped, record);
      let child: ChildProcess;
      try {
        const { host } = cwd;
        child = startChild(wrapped.file, wrapped.args, { cwd: host, env, stdio });
      } finally {
        void record?.release().catch(() => undefined); // the descriptor is gone either way
      }
      const { tellsInit, isNamespace } = wrapped;
      const limit = spec.timeoutMs === undefined ? {} : { timeoutMs: spec.timeoutMs };
      const started = once(child, "spawn");
      const process = holdProcess({
        child,
        clock,
        commandCookie,
        tellsInit,
        isNamespace,
        ...(wrapped.waits && group && { group }),
        ...(options.frozenTime && { frozenTime: options.frozenTime }),
        ...(options.onRefused && { onRefused: options.onRefused }),
        ...limit,
        ...(record && { record }),
      });
      held.add(process);
      void process.exited.then(() => held.delete(process));
      await started.catch((cause: unknown) => {
        throw refuseStart(spec.command, cause);
      });
      return terminal ? { ...process, hasTerminal: true } : process;
    },
    async close() {
      isClosed = true;
      const stopped = [...held].map((process) => process.stop(0));
      // Some freezers let nothing die before it is thawed.
      await group?.thaw();
      await Promise.all(stopped);
      await sweepAttempt(options.attemptCookie);
    },
  };
}

function listMounts({ args, seal }: Sandbox, exposes: readonly string[]): string[] | null {
  return args && [...args, ...exposes.flatMap(expose), ...seal];
}

/** A socket must be reachable; of anything else only the content is shown. */
function expose(path: string): string[] {
  const isSocket = statSync(path, { throwIfNoEntry: false })?.isSocket() === true;
  return [isSocket ? "--bind" : "--ro-bind", path, path];
}

function beginRecord({ exits }: CustodyOptions, spec: SpawnSpec): Promise<ExitRecord | null> {
  if (exits === undefined || spec.callId === undefined) return Promise.resolve(null);
  return exits.begin(spec.callId);
}

function layOutStreams(
  spec: SpawnSpec,
  { tellsInit, tellsExit, waits }: WrappedCommand,
  record: ExitRecord | null,
): StdioOptions {
  const streams = [spec.stdin ?? "ignore", "pipe", "pipe"] as const;
  const info = tellsInit ? "pipe" : "ignore";
  const exit = record !== null && tellsExit ? record.fd : "ignore";
  const all = [...streams, info, exit, waits ? "pipe" : "ignore"] as const;
  return all.slice(0, all.findLastIndex((stream) => stream !== "ignore") + 1);
}

function startChild(
  file: string,
  args: readonly string[],
  options: { cwd: string; env: Record<string, string>; stdio: StdioOptions },
): ChildProcess {
  try {
    // A session of its own: Ctrl-C in the worker's terminal is ours to handle, not the agent's.
    return spawn(file, args, { ...options, detached: true, shell: false });
  } catch (cause) {
    throw refuseStart(file, cause);
  }
}

function refuseStart(command: string, cause: unknown): StintError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const isOurs = code === "E2BIG" || code === "ERR_INVALID_ARG_VALUE";
  return new StintError(
    isOurs ? "invalid_request" : "custody_unavailable",
    `${command} could not be started: ${message}`,
    { cause, fields: { command } },
  );
}
