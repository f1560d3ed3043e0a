// What every benchmark prints first: figures without their machine and its load mean nothing.
import { cpus, loadavg, release, totalmem } from "node:os";
import { readFileSync } from "node:fs";

/** One line about the machine. */
export function describeMachine() {
  const [first, ...others] = cpus();
  const gigabytes = Math.round(totalmem() / 2 ** 30);
  const model = first?.model.trim() ?? "unknown";
  return `${others.length + 1} × ${model}, ${gigabytes} GiB, Linux ${release()}, Node ${process.version}`;
}

/** Load averages, as text. */
export function describeLoad() {
  return `load ${loadavg()
    .map((load) => load.toFixed(2))
    .join(" ")}`;
}

/** Nanoseconds of CPU that a process and all its children have used. */
export function readTreeCpuNs(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return [String(pid), ...children].filter(Boolean).reduce((sum, id) => sum + readCpuNs(id), 0);
}

function readCpuNs(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]);
  } catch {
    return 0; // It has ended meanwhile.
  }
}

/** The value below which a share of the values lies. */
export function percentile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** Says what does not keep to its bar, and lets the process fail for it. */
export function requireBar(what, value, { min = -Infinity, max = Infinity }, unit = "") {
  if (value >= min && value <= max) return;
  const bar = value < min ? `at least ${min}` : `at most ${max}`;
  console.log(`missed: ${what} ${Number(value.toFixed(1))}${unit}, wanted ${bar}${unit}`);
  process.exitCode = 1;
}
