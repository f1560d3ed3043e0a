// What a person waits for: the first start, the second one, `stint ls`; and what an idle `stint dev`
// keeps in memory beside Postgres. The limit in the same run is a bare `node -e 0`.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describeLoad, describeMachine, percentile, requireBar } from "./machine.mjs";

const BIN = fileURLToPath(new URL("../bin/stint.mjs", import.meta.url));
const ROUNDS = 15;
const IDLE_MS = 10_000;

const folder = mkdtempSync(join(tmpdir(), "stint-bench-"));
const { PATH, HOME } = process.env;
const env = { PATH, HOME, STINT_DATA: join(folder, "data"), STINT_PORT: "0" };

/** Starts `stint dev` and resolves when it is ready. */
async function startDev() {
  const startedMs = performance.now();
  const child = spawn(process.execPath, [BIN, "dev", "--json"], { env, cwd: folder });
  let text = "";
  await new Promise((resolve, reject) => {
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      if (text.includes('"msg":"ready"')) resolve();
    });
    child.on("close", () => reject(new Error(`stint dev ended: ${text}`)));
  });
  return { child, readyMs: performance.now() - startedMs };
}

async function stopDev(child) {
  child.removeAllListeners("close");
  const closed = new Promise((resolve) => child.on("close", resolve));
  child.kill("SIGTERM");
  await closed;
}

function time(args) {
  const startedMs = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { env, cwd: folder });
  if (status !== 0) throw new Error(String(stderr));
  return performance.now() - startedMs;
}

function report(name, values) {
  const figure = (share) => percentile(values, share).toFixed(0).padStart(5);
  console.log(`${name.padEnd(20)} p50 ${figure(0.5)} ms   worst ${figure(1)} ms`);
  return percentile(values, 0.5);
}

/** Proportional set size, which counts shared pages once; kB in the kernel's words. */
function readPssMb(pid) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss:\s+(\d+)/m.exec(text)?.[1]) / 1_024;
}

function readRssMb(pid) {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1]) / 1_024;
}

/** Supervisors carry no name of their folder: ours is the one that was not there before. */
function listSupervisors() {
  return readdirSync("/proc").filter((name) => {
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes("stint: supervisor");
    } catch {
      return false;
    }
  });
}

const foreign = new Set(listSupervisors());
console.log(`${describeMachine()}\nbefore: ${describeLoad()}`);
try {
  const first = await startDev();
  console.log(`first start          ${first.readyMs.toFixed(0)} ms (makes the database)`);
  await stopDev(first.child);
  const starts = [];
  for (let round = 0; round < 5; round++) {
    const { child, readyMs } = await startDev();
    starts.push(readyMs);
    await stopDev(child);
  }
  report("second start", starts);
  const { child } = await startDev();
  const listings = [];
  const bare = [];
  for (let round = 0; round < ROUNDS; round++) {
    bare.push(time(["-e", "0"]));
    listings.push(time([BIN, "ls"]));
  }
  const limit = report("node -e 0", bare);
  const listing = report("stint ls", listings);
  console.log(`ratio ${(listing / limit).toFixed(1)}`);
  requireBar("stint ls", listing, { max: 400 }, " ms");
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const dev = readRssMb(child.pid);
  const supervisor = listSupervisors().find((pid) => !foreign.has(pid));
  console.log(
    `idle memory          dev ${dev.toFixed(0)} MB RSS (${readPssMb(child.pid).toFixed(0)} MB PSS)` +
      (supervisor
        ? `, supervisor ${readRssMb(supervisor).toFixed(0)} MB RSS (${readPssMb(supervisor).toFixed(0)} MB PSS)`
        : ""),
  );
  requireBar("idle memory of dev", dev, { max: 150 }, " MB");
  await stopDev(child);
} finally {
  console.log(`after: ${describeLoad()}`);
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
