import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { probeResourceControl, type ResourceBounds } from "./cgroup.ts";

const BOUNDS: ResourceBounds = { memoryBytesMax: 104_857_600, processesMax: 20, cpusMax: 1 };
/** Enough that each moment of making a group and entering it is met. */
const ROUNDS = 300;
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

function sleep(): number {
  const child = spawn("sleep", ["60"], { stdio: "ignore" });
  children.push(child);
  return child.pid ?? 0;
}

const groupsOf = (pid: number): string => readFileSync(`/proc/${pid}/cgroup`, "utf8");

test("a host whose control groups cannot be written has none", async () => {
  const empty = await mkdtemp(join(tmpdir(), "stint-cgroup-"));
  expect(await probeResourceControl(BOUNDS, join(empty, "missing"))).toBeNull();
  await rm(empty, { recursive: true });
});

test("a process is taken into its group, also when another worker has removed it while empty", async (context) => {
  const control = await probeResourceControl(BOUNDS);
  if (control === null) context.skip("[needs control groups] they cannot be written here");
  const name = `test-${randomUUID()}`;
  const group = await control?.create(name);
  await probeResourceControl(BOUNDS); // a worker that starts takes what is empty for abandoned
  const pid = sleep();
  await group?.enter([pid]);
  expect(groupsOf(pid)).toContain(`/stint/${name}`);
  await probeResourceControl(BOUNDS);
  expect(groupsOf(pid)).toContain(`/stint/${name}`);
  children.splice(0).map((child) => child.kill("SIGKILL"));
  await group?.close();
  expect(existsSync(`/sys/fs/cgroup/pids/stint/${name}`)).toBe(false);
});

test("processes are taken in whatever moment another worker starts and removes what is empty", async (context) => {
  const control = await probeResourceControl(BOUNDS);
  if (control === null) context.skip("[needs control groups] they cannot be written here");
  let isOver = false;
  const starting = (async (): Promise<void> => {
    while (!isOver) await probeResourceControl(BOUNDS);
  })();
  try {
    const pid = sleep();
    for (let round = 0; round < ROUNDS; round++) {
      const name = `test-${randomUUID()}`;
      const group = await control?.create(name);
      await group?.enter([pid]);
      expect(groupsOf(pid)).toContain(`/stint/${name}`);
    }
  } finally {
    isOver = true;
    await starting;
  }
});

test("a process that has ended already is no error", async (context) => {
  const control = await probeResourceControl(BOUNDS);
  if (control === null) context.skip("[needs control groups] they cannot be written here");
  const group = await control?.create(`test-${randomUUID()}`);
  await group?.enter([2 ** 22 - 1]);
  await group?.close();
});
