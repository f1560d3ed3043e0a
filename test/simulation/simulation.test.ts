import { expect, test } from "vitest";
import { FAULTS } from "./faulty-wire.ts";
import { describeSimulation, runSimulation } from "./run-simulation.ts";
import { readKeptCases } from "./kept-cases.ts";
import { findBroken } from "./shrink-scenario.ts";
import { runScenario } from "./simulation.ts";

const { STINT_SIM_SEED: SEED, STINT_SIM_SECONDS, CI } = process.env;
/** However slow the machine, these are run: together they see every command and every fault. */
const SCENARIOS_MIN = 40;
const SECONDS = Number(STINT_SIM_SECONDS ?? (CI ? 60 : 10));

/** Every command of the port that does more than watch. */
const COMMANDS = [
  ...["createSession", "findRepeated", "getSession", "listSessions", "getScript", "deleteSession"],
  ...["readEvents", "readEventRows", "readStateChanges", "readStats", "listWorkers"],
  ...["pauseSession", "resumeSession", "cancelSession", "sendMessage", "forceTransition"],
  ...["appendUnowned", "registerWorker", "heartbeat", "listPeers", "buryWorker", "removeWorker"],
  ...["claimSessions", "commit", "listInbox", "readCheckpoint", "recordActivity"],
  ...["sweepLostLeases", "sweepIdleSessions", "sweepControlRequests", "ping"],
];

test("no kept case breaks a promise again", async () => {
  const kept = readKeptCases();
  expect(kept.size).toBeGreaterThan(0);
  for (const [name, { seed, choices }] of kept) {
    expect([name, await findBroken(seed, choices)]).toEqual([name, null]);
  }
}, 180_000);

test("a scenario runs the same way each time", async () => {
  for (const seed of [1, 2, 3]) {
    const first = await runScenario(seed);
    const second = await runScenario(seed);
    expect([second.hash, second.steps]).toEqual([first.hash, first.steps]);
  }
});

test("every promise holds in random scenarios of faults, deaths and users", async () => {
  const firstSeed = SEED === undefined ? 1 : Number(SEED);
  const size = SEED === undefined ? { count: SCENARIOS_MIN, seconds: SECONDS } : { count: 1 };
  const counts = await runSimulation({ firstSeed, ...size });
  const { scenarios, schedules, violations, statements, freezes, effects } = counts;
  console.log(describeSimulation(counts, firstSeed));
  console.log(
    `${schedules} distinct schedules, ${freezes} freezes, ${statements} statements,`,
    `${effects} effects, ${counts.scenariosPerCpuSecond.toFixed(1)} scenarios a CPU-second, sessions`,
    Object.fromEntries(counts.ends),
  );
  expect(violations).toEqual([]);
  expect(schedules).toBe(scenarios);
  expect(counts.workersMin).toBeGreaterThanOrEqual(2);
  expect(counts.commandsMin).toBeGreaterThanOrEqual(10);
  expect(counts.deathsMin).toBeGreaterThanOrEqual(1);
  if (SEED !== undefined) return;
  expect(counts.ends.get("completed")).toBeGreaterThan(0);
  expect(COMMANDS.filter((command) => !counts.calls.has(command))).toEqual([]);
  expect(FAULTS.filter((fault) => !counts.faults.has(fault))).toEqual([]);
}, 600_000);
