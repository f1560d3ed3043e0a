import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { isProcessRunning, readHostIdentity } from "./host-identity.ts";

const isLinux = process.platform === "linux";

test("a process knows its pid and, on Linux, its start, the boot and its pid namespace", async () => {
  const identity = await readHostIdentity();
  expect(identity.pid).toBe(process.pid);
  if (!isLinux) return;
  expect(identity.pidStartTime).toMatch(/^\d+$/);
  expect(identity.bootId).toMatch(/^[0-9a-f-]{36} pid:\[\d+\]$/);
});

test("a process runs while it has its start time, and no longer when it is killed", async (context) => {
  if (!isLinux) context.skip("only Linux tells processes apart");
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
