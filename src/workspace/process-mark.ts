import { readFile, readlink } from "node:fs/promises";
import { readProcess } from "./process-table.ts";

const MARK = /^(\d+)\.(\d*)\.([\da-f-]*)\.(\d*)$/;

/** What became of a process: `unknown` where nothing of it can be proved from here. */
export type MarkedProcess = "running" | "gone" | "unknown";

/**
 * Names a process for ever, as part of a file name: pid, start, boot of the host, pid namespace.
 * What the system does not tell is left empty.
 */
export async function markProcess(pid: number = process.pid): Promise<string> {
  const startTicks = (await readProcess(pid))?.startTicks ?? "";
  return [pid, startTicks, await readBootId(), await readPidNamespace()].join(".");
}

/**
 * Whether the process of a mark still runs. Gone is one of an earlier boot, and one of our own pid
 * namespace whose pid is free, or another's now; in any other namespace its pid says nothing here.
 */
export async function lookUpProcess(mark: string): Promise<MarkedProcess> {
  const [, pid = "", startTicks = "", bootId = "", namespace = ""] = MARK.exec(mark) ?? [];
  const ownBootId = await readBootId();
  if (pid === "" || bootId === "" || ownBootId === "") return "unknown";
  if (bootId !== ownBootId) return "gone";
  const isOurs = namespace !== "" && namespace === (await readPidNamespace());
  if (!isOurs || startTicks === "") return "unknown";
  const now = await readProcess(Number(pid));
  // One that cannot be read may be hidden: only a pid that nobody has is proof.
  if (now === null) return isPidFree(Number(pid)) ? "gone" : "running";
  return now.startTicks === startTicks && !now.isZombie ? "running" : "gone";
}

function isPidFree(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/** Empty where the system does not say. */
export async function readBootId(): Promise<string> {
  const text = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  return text.trim();
}

/** Empty where the system does not say. */
async function readPidNamespace(): Promise<string> {
  const link = await readlink("/proc/self/ns/pid").catch(() => "");
  return /\d+/.exec(link)?.[0] ?? "";
}
