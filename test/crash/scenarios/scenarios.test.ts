import { expect, test } from "vitest";
import { describeCrashRun, runCrashScenarios } from "./run-scenarios.ts";
import { COMMAND_KINDS, drawPlan, FAULT_KINDS, hashPlan } from "./scenario-plan.ts";

const { STINT_CRASH_SEED, STINT_CRASH_SCENARIOS, STINT_CRASH_RESTART_EVERY, CI } = process.env;
const FIRST_SEED = Number(STINT_CRASH_SEED ?? 1);
const SCENARIOS = Number(STINT_CRASH_SCENARIOS ?? (CI ? 1_500 : 120));
const RESTART_EVERY = Number(STINT_CRASH_RESTART_EVERY ?? 100);
/** From so many on, together they see everything. */
const COVERING_MIN = 150;
/** Where nobody asked for a number, as many run as there is time for beside all other tests. */
const MUST_RUN_ALL = STINT_CRASH_SCENARIOS !== undefined;
const SECONDS_MAX = MUST_RUN_ALL ? 3_600 : CI ? 180 : 120;
const SCENARIOS_MIN = MUST_RUN_ALL ? SCENARIOS : CI ? COVERING_MIN : 1;

/** Every answer of the database beside the usual one. */
const ANSWERS = [
  ...["commit: fenced", "commit: gone", "commit: rejected inbox_not_empty"],
  ...["commit: rejected message_taken", "commit: rejected call_not_open"],
  ...["commit: rejected event_rejected", "heartbeat: lease lost", "createSession: replay"],
  ...["findRepeated: idempotency_key_reused", "claimSessions: database_unavailable"],
  ...["sendMessage: inbox_full", "sendMessage: session_terminal", "sendMessage: session_not_found"],
  ...["pauseSession: illegal_transition", "resumeSession: illegal_transition"],
  ...["cancelSession: session_terminal", "forceTransition: illegal_transition"],
  ...["appendUnowned: stale_epoch", "appendUnowned: session_terminal"],
  ...["deleteSession: session_not_terminal", "deleteSession: session_not_found"],
];

/** Commands of the port that workers and sweeps send by themselves. */
const CALLS = [
  ...["registerWorker", "heartbeat", "claimSessions", "commit", "listInbox", "readCheckpoint"],
  ...["recordActivity", "listPeers", "buryWorker", "removeWorker", "sweepLostLeases"],
  ...["sweepControlRequests", "sweepIdleSessions", "readEvents", "getSession", "deleteSession"],
];

test("the plan of a scenario follows from its seed", () => {
  const hashes = Array.from({ length: 500 }, (_, seed) => hashPlan(drawPlan(seed, false)));
  expect(Array.from({ length: 500 }, (_, seed) => hashPlan(drawPlan(seed, false)))).toEqual(hashes);
  expect(new Set(hashes).size).toBe(500);
});

test("a scenario comes to its end although its workers die before they work", async () => {
  const atRegistration = { direction: "up", atByte: 500, passes: "none" } as const;
  const death = { kind: "death before a statement", at: atRegistration } as const;
  const counts = await runCrashScenarios({
    ...{ firstSeed: 1, count: 3, lanes: 3, scenarioMsMax: 60_000 },
    changePlan: (plan) => ({
      ...plan,
      processes: plan.processes.map((process, place) =>
        place < plan.workers ? { ...process, faults: [death] } : process,
      ),
    }),
  });
  expect(counts).toMatchObject({ violations: [], brokenOff: [], scenarios: 3 });
  expect(counts.faults.get("death before a statement")).toBeGreaterThanOrEqual(6);
}, 120_000);

test("every promise holds when workers, connections and Postgres die at any point", async () => {
  const counts = await runCrashScenarios({
    ...{ firstSeed: FIRST_SEED, count: SCENARIOS, restartEvery: RESTART_EVERY },
    signal: AbortSignal.timeout(SECONDS_MAX * 1_000),
  });
  const { violations, scenarios, schedules, seconds, deathsAtWork, restarts, acknowledged } =
    counts;
  console.log(describeCrashRun(counts, FIRST_SEED));
  console.log(
    `${schedules} distinct plans, ${deathsAtWork} deaths of workers that held a session,`,
    `${restarts} shutdowns of Postgres, ${acknowledged} acknowledged writes,`,
    `${seconds.toFixed(0)} s, sessions`,
    Object.fromEntries(counts.ends),
  );
  for (const { message, command } of violations) console.log(`${message}\nrerun: ${command}`);
  expect(violations).toEqual([]);
  expect(counts.brokenOff).toEqual([]);
  expect(scenarios).toBeGreaterThanOrEqual(SCENARIOS_MIN);
  expect(schedules).toBe(scenarios);
  const { workersMin, commandsMin, deathsMin } = counts;
  expect(workersMin).toBeGreaterThanOrEqual(2);
  expect(commandsMin).toBeGreaterThanOrEqual(10);
  expect(deathsMin).toBeGreaterThanOrEqual(1);
  if (scenarios < COVERING_MIN) return;
  expect(COMMAND_KINDS.filter((kind) => !counts.commands.has(kind as never))).toEqual([]);
  expect(FAULT_KINDS.filter((kind) => !counts.faults.has(kind))).toEqual([]);
  expect(CALLS.filter((name) => !counts.calls.has(name))).toEqual([]);
  expect(ANSWERS.filter((answer) => !counts.answers.has(answer))).toEqual([]);
}, 3_700_000);
