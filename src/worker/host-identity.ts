import { readFile, readlink } from "node:fs/promises";
import { hostname } from "node:os";

/** What tells this process from every other one, also after a reboot or a reused pid. */
export interface HostIdentity {
  readonly host: string;
  /**
   * Differs after each boot of the host and between its pid namespaces (containers), in which the
   * same number names another process; empty where the system does not say.
   */
  readonly bootId: string;
  readonly pid: number;
  /** Start of the process in kernel ticks since boot; empty where the system does not say. */
  readonly pidStartTime: string;
}

/** Reads the identity of this process. */
export async function readHostIdentity(): Promise<HostIdentity> {
  return {
    host: hostname(),
    bootId: await readBootId(),
    pid: process.pid,
    pidStartTime: await readStartTime(process.pid),
  };
}

/**
 * Whether the process with this pid and start time still runs here. A zombie does not: it can write
 * nothing any more.
 */
export async function isProcessRunning(pid: number, startTime: string): Promise<boolean> {
  // Of a process whose start was never known nothing can be proved.
  return startTime === "" || (await readStartTime(pid)) === startTime;
}

async function readBootId(): Promise<string> {
  const boot = (await readSystemFile("/proc/sys/kernel/random/boot_id")).trim();
  try {
    const namespace = await readlink("/proc/self/ns/pid");
    return boot === "" ? "" : `${boot} ${namespace}`;
  } catch {
    // Without it a pid may be another process's: then nobody is proved dead.
    return "";
  }
}

/** Start of a living process, in ticks; empty when it is gone or a zombie. */
async function readStartTime(pid: number): Promise<string> {
  const stat = await readSystemFile(`/proc/${pid}/stat`);
  // The second field, a name in parentheses, may itself hold spaces; state and start are the 3rd
  // and the 22nd.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const isDead = fields[0] === "Z" || fields[0] === "X";
  return isDead ? "" : (fields[19] ?? "");
}

async function readSystemFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    // Only Linux has these files; elsewhere takeover waits for the lease.
    return "";
  }
}
