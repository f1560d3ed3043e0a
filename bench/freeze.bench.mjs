// What a frozen agent costs: CPU of a program that never rests, while it runs and while it is frozen.
import { randomUUID } from "node:crypto";
import { readFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { probeResourceControl } from "../dist/workspace/cgroup.js";
import { createCustody } from "../dist/workspace/custody.js";
import { probeCustody } from "../dist/workspace/probe.js";
import { createSandbox } from "../dist/workspace/sandbox.js";
import { listBearers } from "../dist/workspace/sweep.js";
import { describeLoad, describeMachine, percentile, requireBar } from "./machine.mjs";

const LOOK_MS = Number(process.env.BENCH_LOOK_MS ?? 3_000);
const ROUNDS = 20;
const TICK_MS = 10;

const clock = {
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** CPU time of all processes of the attempt so far, in ms. */
async function sumCpuMs(cookie) {
  let sum = 0;
  for (const { pid } of await listBearers("STINT_ATTEMPT", cookie)) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    sum += (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  }
  return sum;
}

console.log(describeMachine());
const probe = await probeCustody();
const control = await probeResourceControl(null);
if (probe.level !== "bwrap" || !control?.canFreeze) {
  console.log("nothing can be frozen here");
  process.exit(0);
}
const root = realpathSync(mkdtempSync(join(tmpdir(), "stint-bench-")));
const folders = { tree: join(root, "tree"), home: join(root, "home"), scratch: join(root, "tmp") };
for (const folder of Object.values(folders)) mkdirSync(folder);
const attemptCookie = `bench-${randomUUID()}`;
const group = await control.create(attemptCookie);
const custody = createCustody({
  ...{ probe, attemptCookie, clock, group, env: { PATH: process.env.PATH } },
  sandbox: createSandbox("strict", folders, {
    readable: [],
    writable: [],
    hidden: [],
    hasNetwork: false,
  }),
});
await custody.spawn({ command: "sh", args: ["-c", "while :; do :; done"] });
await delay(500);
const look = async (what) => {
  const before = await sumCpuMs(attemptCookie);
  const startMs = performance.now();
  await delay(LOOK_MS);
  const usedMs = (await sumCpuMs(attemptCookie)) - before;
  const wallMs = performance.now() - startMs;
  console.log(
    `${what.padEnd(8)} ${usedMs} ms of CPU in ${wallMs.toFixed(0)} ms, ${describeLoad()}`,
  );
  return usedMs;
};
await look("running");
if (!(await group.freeze())) throw new Error("it could not be frozen");
requireBar("CPU while frozen", await look("frozen"), { max: 0 }, " ms");
await group.thaw();
await look("thawed");
const latencies = [];
for (let round = 0; round < ROUNDS; round++) {
  const startMs = performance.now();
  await group.freeze();
  latencies.push(performance.now() - startMs);
  await group.thaw();
}
const figures = [0.5, 0.95].map((share) => percentile(latencies, share).toFixed(1));
console.log(`freezing p50 ${figures[0]} ms  p95 ${figures[1]} ms`);
await custody.close();
await group.close();
rmSync(root, { recursive: true, force: true });
