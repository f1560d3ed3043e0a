import { afterEach, expect, test } from "vitest";
import { makeDataFolder } from "../data-template.ts";
import { findProcesses, makeFolder, poll, StintProcess } from "../e2e/stint-process.ts";
import { describeTakeovers, runTakeovers, TAKEOVER_MS_MAX } from "./takeovers.ts";

/** Kills of a worker in the middle of a command. `npm run crash:release` does thousands. */
const KILLS = Number(process.env["STINT_TEST_TAKEOVERS"] ?? 60);

/** A short lease, so that a frozen worker is given up soon. */
const SHORT_LEASE = { STINT_LEASE_DURATION_MS: "2000", STINT_HEARTBEAT_INTERVAL_MS: "500" };

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test(
  "a killed worker's sessions are resumed at once, and nothing of it is alive or done twice",
  async () => {
    const { takeoverMs, violations, orphans } = await runTakeovers(KILLS);
    console.log(describeTakeovers(takeoverMs));
    expect(violations).toEqual([]);
    expect(orphans).toBe(0);
    expect(takeoverMs).toHaveLength(KILLS);
    expect(Math.max(...takeoverMs)).toBeLessThan(TAKEOVER_MS_MAX);
  },
  KILLS * 12_000,
);

test("a frozen worker's commands are killed, its session goes on elsewhere, and it wakes up harmless", async () => {
  const folder = makeFolder("stint frozen ");
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  const start = (role: string): StintProcess => {
    const started = new StintProcess([role, "--json"], folder.path, SHORT_LEASE);
    cleanups.push(() => started.stop("SIGKILL"));
    return started;
  };
  const server = start("server");
  const client = await server.connect();
  const frozen = start("worker");
  await frozen.ready();
  const { id } = await client.sessions.create({
    prompt: "tick",
    model: "scripted",
    script: [{ bash: "echo begun; while :; do date >> ticks; sleep 0.05; done" }, { text: "done" }],
  });
  await poll(async () => {
    const { events } = await client.sessions.events(id, { type: ["terminal"] });
    return events.find(({ data }) => data["output"] === "begun\n");
  });
  const other = start("worker");
  await other.ready();
  expect(findProcesses(`STINT_ATTEMPT=${id}.1`).length).toBeGreaterThan(0);
  process.kill(frozen.pid, "SIGSTOP");
  const session = await poll(async () => {
    const found = await client.sessions.get(id);
    return found.status === "completed" ? found : null;
  });
  expect(findProcesses(`STINT_ATTEMPT=${id}.1`)).toEqual([]);
  expect(session).toMatchObject({ attempts: 2, epoch: 4 });
  const before = await client.sessions.events(id, { limit: 1_000 });

  process.kill(frozen.pid, "SIGCONT");
  await frozen.waitForLine(({ msg }) => msg === "Worker lease lost");
  const registered = (): number =>
    frozen.lines.filter(({ msg }) => msg === "Worker registered").length;
  await poll(() => Promise.resolve(registered() === 2 ? true : null));
  const after = await client.sessions.events(id, { limit: 1_000 });
  expect(after.events).toEqual(before.events);
  const reasons = after.events.filter(({ type }) => type === "state_changed");
  expect(reasons.map(({ data }) => data["reason"])).toEqual([
    "started",
    "worker_lost",
    "resumed",
    "end_turn",
  ]);
}, 180_000);
