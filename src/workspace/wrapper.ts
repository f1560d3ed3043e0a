import { BWRAP_ARGS, buildUnshareArgs } from "./probe.ts";
import type { CustodyProbe } from "./probe.ts";

/** A command as it is really started. */
export interface WrappedCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** True when the program tells the pid of the namespace's first process on descriptor 3. */
  readonly tellsInit: boolean;
  /** True when the program writes the command's exit code on descriptor 4. */
  readonly tellsExit: boolean;
  /** True when everything that the command starts dies with it, whatever it does. */
  readonly isNamespace: boolean;
  /** True when the program waits for a byte on descriptor 5. */
  readonly waits: boolean;
}

/**
 * The first process of a namespace that `unshare` makes. The kernel drops signals with a default
 * action for that process, and nobody else reaps orphans there; so it is a shell that waits, not
 * the command itself. Its own words ("Terminated") go nowhere; the command's stderr is untouched.
 * The command comes as an absolute path, so no builtin can take its place.
 */
const INIT_SCRIPT = 'exec 3>&2 2>/dev/null; ("$@" 2>&3 3>&-); exit $?';

/** The same, and it says on descriptor 4 how the command ended; the command does not have it. */
const TELLING_INIT_SCRIPT =
  'exec 3>&2 2>/dev/null; ("$@" 2>&3 3>&- 4>&-); code=$?; ' +
  'echo "{ \\"exit-code\\": $code }" >&4; exit $code';

/** A tenth of what others get when all want the same core. */
const NICENESS = 10;

/** What the wrapper is to tell, where it can. */
export interface WrapOptions {
  /** The first process of the namespace, on descriptor 3. */
  readonly tellsInit: boolean;
  /** The command's exit code, on descriptor 4, as soon as it has ended. */
  readonly tellsExit?: boolean;
  /** Arguments of bubblewrap in place of those that make nothing but a pid namespace. */
  readonly sandbox?: readonly string[] | null;
  /** Bubblewrap waits for a byte on descriptor 5 before it starts the command. */
  readonly waits?: boolean;
  /** Largest file that the command may write, in bytes; needs `prlimit`. */
  readonly fileBytesMax?: number;
}

/**
 * Wraps a command so that it dies with this process: a pid namespace where the host allows one,
 * else a parent-death signal. No shell stands between us and the wrapper. `file` is absolute. With
 * `tellsInit`, descriptor 3 must be a pipe where the answer says so: bubblewrap stops halfway, for
 * ever, where it cannot write to it.
 */
export function wrapCommand(
  probe: CustodyProbe,
  file: string,
  args: readonly string[],
  cwd: string,
  options: WrapOptions = { tellsInit: false },
): WrappedCommand {
  const held = holdCommand(probe, file, args, cwd, options);
  return lowerPriority(probe, limitFiles(probe, options, held));
}

function holdCommand(
  probe: CustodyProbe,
  file: string,
  args: readonly string[],
  cwd: string,
  options: WrapOptions,
): WrappedCommand {
  if (probe.level === "bwrap" && probe.bwrap !== null) {
    const { tellsInit, tellsExit = false, sandbox, waits = false } = options;
    const info = tellsInit ? ["--info-fd", "3"] : [];
    const status = tellsExit ? ["--json-status-fd", "4"] : [];
    const gate = waits ? ["--block-fd", "5"] : [];
    const own = [...(sandbox ?? BWRAP_ARGS), ...info, ...status, ...gate, "--chdir", cwd, "--"];
    const wrapped = [...own, file, ...args];
    return { file: probe.bwrap, args: wrapped, tellsInit, tellsExit, waits, isNamespace: true };
  }
  if (probe.level === "unshare" && probe.setpriv !== null && probe.unshare !== null) {
    const own = [...buildUnshareArgs(probe.unshare, probe.mapUser), "--", "/bin/sh", "-c"];
    const { tellsExit = false } = options;
    const script = tellsExit ? TELLING_INIT_SCRIPT : INIT_SCRIPT;
    const wrapped = [...own, script, "init", file, ...args];
    return { ...SILENT, file: probe.setpriv, args: wrapped, tellsExit, isNamespace: true };
  }
  if (probe.level === "pdeathsig" && probe.setpriv !== null) {
    const wrapped = ["--pdeathsig", "KILL", "--", file, ...args];
    return { ...SILENT, file: probe.setpriv, args: wrapped };
  }
  return { ...SILENT, file, args };
}

/** prlimit becomes the wrapper that it starts: nothing stands between. */
function limitFiles(
  { prlimit }: CustodyProbe,
  { fileBytesMax }: WrapOptions,
  wrapped: WrappedCommand,
): WrappedCommand {
  if (prlimit === null || fileBytesMax === undefined) return wrapped;
  const own = [`--fsize=${fileBytesMax}`, "--core=0", "--", wrapped.file];
  return { ...wrapped, file: prlimit, args: [...own, ...wrapped.args] };
}

/**
 * The worker, the server and the database come first, whatever a command does. The kernel takes the
 * order in which the disk serves it from the same number. It needs no right, and cannot be undone
 * without one.
 */
function lowerPriority({ nice }: CustodyProbe, wrapped: WrappedCommand): WrappedCommand {
  if (nice === null) return wrapped;
  const own = ["-n", String(NICENESS), "--", wrapped.file];
  return { ...wrapped, file: nice, args: [...own, ...wrapped.args] };
}

const SILENT = { waits: false, tellsInit: false, tellsExit: false, isNamespace: false } as const;
