import { BWRAP_ARGS, buildUnshareArgs } from "./probe.ts";
import type { CustodyProbe } from "./probe.ts";

/** A command as it is really started. */
export interface WrappedCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** True when the program tells the pid of the namespace's first process on descriptor 3. */
  readonly tellsInit: boolean;
  /** True when everything that the command starts dies with it, whatever it does. */
  readonly isNamespace: boolean;
}

/**
 * The first process of a namespace that `unshare` makes. The kernel drops signals with a default
 * action for that process, and nobody else reaps orphans there; so it is a shell that waits, not
 * the command itself. Its own words ("Terminated") go nowhere; the command's stderr is untouched.
 * The command comes as an absolute path, so no builtin can take its place.
 */
const INIT_SCRIPT = 'exec 3>&2 2>/dev/null; ("$@" 2>&3 3>&-); exit $?';

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
  options: { readonly tellsInit: boolean } = { tellsInit: false },
): WrappedCommand {
  if (probe.level === "bwrap" && probe.bwrap !== null) {
    const { tellsInit } = options;
    const own = [...BWRAP_ARGS, ...(tellsInit ? ["--info-fd", "3"] : []), "--chdir", cwd, "--"];
    return { file: probe.bwrap, args: [...own, file, ...args], tellsInit, isNamespace: true };
  }
  if (probe.level === "unshare" && probe.setpriv !== null && probe.unshare !== null) {
    const own = [...buildUnshareArgs(probe.unshare, probe.mapUser), "--", "/bin/sh", "-c"];
    const wrapped = [...own, INIT_SCRIPT, "init", file, ...args];
    return { file: probe.setpriv, args: wrapped, tellsInit: false, isNamespace: true };
  }
  if (probe.level === "pdeathsig" && probe.setpriv !== null) {
    const wrapped = ["--pdeathsig", "KILL", "--", file, ...args];
    return { file: probe.setpriv, args: wrapped, tellsInit: false, isNamespace: false };
  }
  return { file, args, tellsInit: false, isNamespace: false };
}
