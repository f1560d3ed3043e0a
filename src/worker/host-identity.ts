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
    pidStartTime: await readOwnStart(),
  };
}

/** What the system says of processes. */
export interface ProcessTable {
  /** The text of `/proc/PID/stat`. Rejects as `readFile` does. */
  readStat(pid: number): Promise<string>;
  /** Throws as `process.kill(pid, 0)` does: `ESRCH` where no process has this pid. */
  probe(pid: number): void;
}

const SYSTEM: ProcessTable = {
  readStat: (pid) => readFile(`/proc/${pid}/stat`, "utf8"),
  probe: (pid) => void process.kill(pid, 0),
};

/**
 * Whether the process with this pid and start time may still run here. It is gone only with proof:
 * no process has its pid, one of another start has, or it is a zombie, which can write nothing any
 * more. What cannot be read (too many open files, a `/proc` that hides other users' processes)
 * proves nothing.
 */
export async function isProcessRunning(
  pid: number,
  startTime: string,
  system: ProcessTable = SYSTEM,
): Promise<boolean> {
  // Of a process whose start was never known nothing can be proved.
  if (startTime === "") return true;
  try {
    const { state, start } = parseStat(await system.readStat(pid));
    if (start === "") return true;
    return start === startTime && state !== "Z" && state !== "X";
  } catch {
    // Whatever hid it: only a pid that nobody has is proof.
    return !isPidFree(pid, system);
  }
}

function isPidFree(pid: number, system: ProcessTable): boolean {
  try {
    system.probe(pid);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
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

/** The start of this process, in ticks; empty where the system does not say. */
async function readOwnStart(): Promise<string> {
  return parseStat(await readSystemFile("/proc/self/stat")).start;
}

function parseStat(stat: string): { readonly state: string; readonly start: string } {
  // The second field, a name in parentheses, may itself hold spaces; state and start are the 3rd
  // and the 22nd.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", start: fields[19] ?? "" };
}

async function readSystemFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    // Only Linux has these files; elsewhere takeover waits for the lease.
    return "";
  }
}
