// What a sandbox costs a command: `true` in each level, in turns, so that all have the same load.
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultBounds, probeResourceControl } from "../dist/workspace/cgroup.js";
import { createCustody } from "../dist/workspace/custody.js";
import { probeCustody } from "../dist/workspace/probe.js";
import { createSandbox } from "../dist/workspace/sandbox.js";
import { describeLoad, describeMachine, percentile, requireBar } from "./machine.mjs";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 60);
const LEVELS = ["none", "workspace", "strict"];

const clock = {
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

console.log(describeMachine());
const probe = await probeCustody();
const control = await probeResourceControl(defaultBounds());
const root = realpathSync(mkdtempSync(join(tmpdir(), "stint-bench-")));
const folders = { tree: join(root, "tree"), home: join(root, "home"), scratch: join(root, "tmp") };
for (const folder of Object.values(folders)) mkdirSync(folder);
const host = { readable: [], hidden: [], hasNetwork: false };
const custodies = new Map();
for (const level of LEVELS) {
  const attemptCookie = `bench-${randomUUID()}`;
  custodies.set(level, {
    latencies: [],
    custody: createCustody({
      ...{ probe, attemptCookie, clock, env: { PATH: process.env.PATH } },
      sandbox: createSandbox(level, folders, host),
      group: level === "none" ? null : ((await control?.create(attemptCookie)) ?? null),
    }),
  });
}
console.log(`custody ${probe.level}, limits ${control ? "cgroup" : "none"}, ${describeLoad()}`);
for (let round = 0; round < ROUNDS; round++) {
  for (const { custody, latencies } of custodies.values()) {
    const startMs = performance.now();
    const started = await custody.spawn({ command: "true", args: [] });
    const { code } = await started.exited;
    if (code !== 0) throw new Error(`exit code ${code}`);
    latencies.push(performance.now() - startMs);
  }
}
const base = percentile(custodies.get("none").latencies, 0.5);
for (const [level, { latencies, custody }] of custodies) {
  const p50 = percentile(latencies, 0.5);
  const figures = [p50, percentile(latencies, 0.95), p50 - base].map((ms) => ms.toFixed(1));
  console.log(
    `${level.padEnd(10)} p50 ${figures[0]} ms  p95 ${figures[1]} ms  more ${figures[2]} ms`,
  );
  requireBar(`${level}: more than without`, p50 - base, { max: 15 }, " ms");
  await custody.close();
}
rmSync(root, { recursive: true, force: true });
