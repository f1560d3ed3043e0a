import { spawnSync } from "node:child_process";
import type { CustodyLevel } from "../core/attempt.ts";
import { BWRAP_ARGS, buildUnshareArgs, type CustodyProbe } from "./probe.ts";

/** Levels of custody that this host allows, each tried by itself: the probe stops at the best. */
export function listUsableLevels(probe: CustodyProbe): ReadonlySet<CustodyLevel> {
  const { bwrap, setpriv, unshare, mapUser } = probe;
  const levels = new Set<CustodyLevel>(["none"]);
  if (bwrap !== null && succeeds(bwrap, BWRAP_ARGS)) levels.add("bwrap");
  if (setpriv !== null && succeeds(setpriv, ["--pdeathsig", "KILL"])) levels.add("pdeathsig");
  if (canUnshare(setpriv, unshare, mapUser)) levels.add("unshare");
  return levels;
}

/** Whether a plain user of this host may make a pid namespace by unshare. */
export function canPlainUserUnshare({ setpriv, unshare }: CustodyProbe): boolean {
  return canUnshare(setpriv, unshare, true);
}

function canUnshare(setpriv: string | null, unshare: string | null, mapUser: boolean): boolean {
  if (setpriv === null || unshare === null) return false;
  return succeeds(setpriv, buildUnshareArgs(unshare, mapUser));
}

function succeeds(program: string, args: readonly string[]): boolean {
  return spawnSync(program, [...args, "true"], { stdio: "ignore", timeout: 5_000 }).status === 0;
}
