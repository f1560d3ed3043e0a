import { readFile } from "node:fs/promises";
import { hostname } from "node:os";

/** What tells this process from every other one, also after a reboot or a reused pid. */
export interface HostIdentity {
  readonly host: string;
  /** Differs after each boot of the host; empty where the system does not say. */
  readonly bootId: string;
  readonly pid: number;
  /** Start of the process in kernel ticks since boot; empty where the system does not say. */
  readonly pidStartTime: string;
}

/** Reads the identity of this process. */
export async function readHostIdentity(): Promise<HostIdentity> {
  return {
    host: hostname(),
    bootId: (await readSystemFile("/proc/sys/kernel/random/boot_id")).trim(),
    pid: process.pid,
    pidStartTime: readStartTime(await readSystemFile("/proc/self/stat")),
  };
}

/** The 22nd field; the second one, a name in parentheses, may itself hold spaces. */
function readStartTime(stat: string): string {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

async function readSystemFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    // Only Linux has these files; elsewhere takeover waits for the lease.
    return "";
  }
}
