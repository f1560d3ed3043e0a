import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { isProcessRunning, type ProcessTable, readHostIdentity } from "./host-identity.ts";

const isLinux = process.platform === "linux";

test("a process knows its pid and, on Linux, its start, the boot and its pid namespace", async () => {
  const identity = await readHostIdentity();
  expect(identity.pid).toBe(process.pid);
  if (!isLinux) return;
  expect(identity.pidStartTime).toMatch(/^\d+$/);
  expect(identity.bootId).toMatch(/^[0-9a-f-]{36} pid:\[\d+\]$/);
});

test("a process runs while it has its start time, and no longer when it is killed", async (context) => {
  if (!isLinux) context.skip("[needs Linux] nothing else tells processes apart");
  const { pid, pidStartTime } = await readHostIdentity();
  expect(await isProcessRunning(pid, pidStartTime)).toBe(true);
  expect(await isProcessRunning(pid, `${Number(pidStartTime) + 1}`)).toBe(false);

  const child = spawn("sleep", ["300"], { stdio: "ignore" });
  await once(child, "spawn");
  const childPid = child.pid ?? 0;
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(await isProcessRunning(childPid, pidStartTime)).toBe(false);
  expect(await isProcessRunning(childPid, "")).toBe(true);
});

function fail(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/** A system whose `/proc` answers so, and where the pid is taken, another user's, or free. */
function createTable(stat: string | Error, signal: "EPERM" | "ESRCH" | null): ProcessTable {
  return {
    readStat: () => (stat instanceof Error ? Promise.reject(stat) : Promise.resolve(stat)),
    probe: () => {
      if (signal) throw fail(signal);
    },
  };
}

const statOf = (state: string, start: string): string =>
  `7 (a ) name) ${state} ${Array.from({ length: 18 }, () => "0").join(" ")} ${start} 0`;

test.each([
  ["too many files are open", fail("EMFILE"), "EPERM"],
  ["it may not be read", fail("EACCES"), null],
  ["other users' processes are hidden", fail("ENOENT"), "EPERM"],
  ["what is read is cut off", "7 (node", "EPERM"],
] as const)(
  "a process of which nothing is known counts as running: %s",
  async (_, stat, signal) => {
    expect(await isProcessRunning(7, "42", createTable(stat, signal))).toBe(true);
  },
);

test.each([
  ["nobody has its pid", fail("ENOENT"), "ESRCH"],
  ["its pid is free, and its file went while it was read", fail("ESRCH"), "ESRCH"],
  ["another process has its pid", statOf("S", "43"), null],
  ["it is a zombie", statOf("Z", "42"), null],
] as const)("a process is gone with proof: %s", async (_, stat, signal) => {
  expect(await isProcessRunning(7, "42", createTable(stat, signal))).toBe(false);
  expect(await isProcessRunning(7, "42", createTable(statOf("R", "42"), null))).toBe(true);
});
