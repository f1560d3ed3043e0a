import { expect, test } from "vitest";
import type { Store } from "../../src/core/store.ts";
import { FAULTS } from "./faulty-wire.ts";
import { HOST_COMMANDS } from "./host-disk.ts";
import { describeSimulation, runSimulation } from "./run-simulation.ts";
import { readKeptCases } from "./kept-cases.ts";
import { findBroken } from "./shrink-scenario.ts";
import { runScenario } from "./simulation.ts";

const { STINT_SIM_SEED: SEED, STINT_SIM_SECONDS, CI } = process.env;
/** However slow the machine, these are run: together they see every command and every fault. */
const SCENARIOS_MIN = 40;
const SECONDS = Number(STINT_SIM_SECONDS ?? (CI ? 60 : 10));

/** Every command of the port, and whether it goes to the database. */
const STORE_COMMANDS = {
  ...{ createSession: true, findRepeated: true, getSession: true, listSessions: true },
  ...{ getScript: true, deleteSession: true, readEvents: true, readEventRows: true },
  ...{ readStateChanges: true, readStats: true, listWorkers: true, pauseSession: true },
  ...{ resumeSession: true, cancelSession: true, sendMessage: true, forceTransition: true },
  ...{ appendUnowned: true, registerWorker: true, heartbeat: true, listPeers: true },
  ...{ buryWorker: true, removeWorker: true, claimSessions: true, commit: true },
  ...{ listInbox: true, readCheckpoint: true, recordActivity: true, listPermissions: true },
  listAskingSessions: true,
  ...{ decidePermission: true, sweepPermissions: true, sweepLostLeases: true },
  ...{ sweepIdleSessions: true, sweepControlRequests: true, ping: true },
  ...{ watchSession: false, watchWork: false, close: false },
} satisfies Record<keyof Store, boolean>;

/** What the database must have said, of commands and of commits. */
const ANSWERS = [
  ...["ok", "fenced", "inbox_not_empty", "stale_epoch", "illegal_transition"],
  ...["session_not_found", "session_terminal", "session_not_terminal", "inbox_full"],
  ...["idempotency_key_reused", "workspace_busy", "permission_not_found", "permission_decided"],
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
    Object.fromEntries(counts.answers),
  );
  expect(violations).toEqual([]);
  expect(schedules).toBe(scenarios);
  expect(counts.workersMin).toBeGreaterThanOrEqual(2);
  expect(counts.commandsMin).toBeGreaterThanOrEqual(10);
  expect(counts.deathsMin).toBeGreaterThanOrEqual(1);
  if (SEED !== undefined) return;
  expect(counts.ends.get("completed")).toBeGreaterThan(0);
  const commands = Object.entries(STORE_COMMANDS).flatMap(([name, isSent]) => (isSent ? name : []));
  expect(commands.filter((command) => !counts.calls.has(command))).toEqual([]);
  expect(ANSWERS.filter((answer) => !counts.answers.has(answer))).toEqual([]);
  expect(FAULTS.filter((fault) => !counts.faults.has(fault))).toEqual([]);
  expect(HOST_COMMANDS.filter((command) => !counts.hostCalls.has(command))).toEqual([]);
  expect(FAULTS.filter((fault) => !counts.hostFaults.has(fault))).toEqual([]);
}, 600_000);
