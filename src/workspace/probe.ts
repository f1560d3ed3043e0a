import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import type { CustodyLevel } from "../core/attempt.ts";

/** What a trial command said. */
export interface ProbeOutcome {
  /** Null when it did not run or was killed. */
  readonly code: number | null;
  readonly output: string;
}

/** How a probe looks at the host; tests put their own in place. */
export interface ProbeRunner {
  /** Absolute path of a program, or null. */
  find(name: string): Promise<string | null>;
  run(command: string, args: readonly string[]): Promise<ProbeOutcome>;
  /** The effective user; null where the system has none. */
  uid(): number | null;
}

/** One way to hold processes, tried on this host. */
export interface ProbeTrial {
  readonly level: CustodyLevel;
  readonly usable: boolean;
  /** Why not, or which program. */
  readonly detail: string;
}

/** How strongly this host lets commands be held, and the programs for it. */
export interface CustodyProbe {
  readonly level: CustodyLevel;
  /** One sentence for people: the level, and what would make it better. */
  readonly detail: string;
  readonly trials: readonly ProbeTrial[];
  readonly bwrap: string | null;
  readonly setpriv: string | null;
  readonly unshare: string | null;
  /** Bounds what one file may grow to; null where it is missing. */
  readonly prlimit: string | null;
  /** Lets commands stand behind everything else that wants a core; null where it is missing. */
  readonly nice: string | null;
  /** True when a user namespace is needed to make a pid namespace. */
  readonly mapUser: boolean;
}

const TRIAL_TIMEOUT_MS = 5_000;
const OUTPUT_CHARS_MAX = 400;

const hostRunner: ProbeRunner = {
  async find(name) {
    const path = `${process.env["PATH"] ?? ""}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`;
    for (const folder of path.split(":").filter((entry) => entry.startsWith("/"))) {
      const candidate = join(folder, name);
      const found = await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (found) return candidate;
    }
    return null;
  },
  run(command, args) {
    return new Promise((resolve) => {
      const options = { timeout: TRIAL_TIMEOUT_MS, env: { PATH: "/usr/bin:/bin", LC_ALL: "C" } };
      execFile(command, [...args], options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : null;
        const said = `${stdout}${stderr}`.trim() || (error?.message ?? "");
        resolve({ code, output: said.slice(0, OUTPUT_CHARS_MAX) });
      });
    });
  },
  uid: () => process.geteuid?.() ?? null,
};

/** The arguments by which bubblewrap makes nothing but a pid namespace that dies with us. */
export const BWRAP_ARGS: readonly string[] = [
  ...["--dev-bind", "/", "/", "--proc", "/proc"],
  ...["--unshare-pid", "--die-with-parent", "--new-session"],
];

/** The arguments by which setpriv and unshare do the same. */
export function buildUnshareArgs(unshare: string, mapUser: boolean): string[] {
  const user = mapUser ? ["--user", "--map-current-user"] : [];
  return ["--pdeathsig", "KILL", unshare, ...user, "-pf", "--kill-child", "--mount-proc"];
}

/**
 * Finds the strongest custody that this host allows, by running each one. Never rejects: `none` is
 * an answer too. Costs a few processes; the caller keeps the result.
 */
export async function probeCustody(run: ProbeRunner = hostRunner): Promise<CustodyProbe> {
  const bwrap = await run.find("bwrap");
  const setpriv = await run.find("setpriv");
  const unshare = await run.find("unshare");
  const prlimit = await run.find("prlimit");
  const nice = await run.find("nice");
  const mapUser = run.uid() !== 0;
  const trials: ProbeTrial[] = [];
  const attempt = async (
    level: CustodyLevel,
    missing: string | null,
    program: string | null,
    args: readonly string[],
  ): Promise<boolean> => {
    if (missing !== null || program === null) {
      trials.push({ level, usable: false, detail: `${missing ?? level} is not installed` });
      return false;
    }
    const { code, output } = await run.run(program, [...args, "/bin/sh", "-c", "exit 0"]);
    const usable = code === 0;
    trials.push({ level, usable, detail: usable ? program : output || `exit code ${code}` });
    return usable;
  };
  const level = await (async (): Promise<CustodyLevel> => {
    if (await attempt("bwrap", bwrap === null ? "bwrap" : null, bwrap, BWRAP_ARGS)) return "bwrap";
    const missing = setpriv === null ? "setpriv" : unshare === null ? "unshare" : null;
    const args = buildUnshareArgs(unshare ?? "unshare", mapUser);
    if (await attempt("unshare", missing, setpriv, args)) return "unshare";
    const bare = ["--pdeathsig", "KILL"];
    if (await attempt("pdeathsig", setpriv === null ? "setpriv" : null, setpriv, bare)) {
      return "pdeathsig";
    }
    return "none";
  })();
  return {
    level,
    detail: describe(level, trials),
    trials,
    ...{ bwrap, setpriv, unshare, prlimit, nice, mapUser },
  };
}

function describe(level: CustodyLevel, trials: readonly ProbeTrial[]): string {
  const refused = trials
    .filter((trial) => !trial.usable)
    .map((trial) => `${trial.level}: ${trial.detail}`);
  const why = refused.length === 0 ? "" : ` (${refused.join("; ")})`;
  switch (level) {
    case "bwrap":
      return "commands run in a pid namespace made by bubblewrap and die with their worker";
    case "unshare":
      return `commands run in a pid namespace made by unshare and die with their worker${why}`;
    case "pdeathsig":
      return (
        `no pid namespaces here${why}: a command dies with its worker, ` +
        "daemons that it started are swept before the next attempt"
      );
    case "none":
      return (
        `nothing here holds processes${why}: ` +
        "after a crash of the worker its commands live until they are swept"
      );
  }
}
