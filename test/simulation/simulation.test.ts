import { expect, test } from "vitest";
import { FAULTS } from "./faulty-wire.ts";
import { runScenario, type ScenarioReport } from "./simulation.ts";

const SEED = process.env["STINT_SIM_SEED"];
/** However slow the machine, these are run: together they see every command and every fault. */
const SCENARIOS_MIN = 40;
const SECONDS = Number(process.env["STINT_SIM_SECONDS"] ?? 10);

/** Every command of the port that does more than watch. */
const COMMANDS = [
  ...["createSession", "findRepeated", "getSession", "listSessions", "getScript", "deleteSession"],
  ...["readEvents", "readEventRows", "readStateChanges", "readStats", "listWorkers"],
  ...["pauseSession", "resumeSession", "cancelSession", "sendMessage", "forceTransition"],
  ...["appendUnowned", "registerWorker", "heartbeat", "listPeers", "buryWorker", "removeWorker"],
  ...["claimSessions", "commit", "listInbox", "readCheckpoint", "recordActivity"],
  ...["sweepLostLeases", "sweepIdleSessions", "sweepControlRequests", "ping"],
];

test("a scenario runs the same way each time", async () => {
  for (const seed of [1, 2, 3]) {
    const first = await runScenario(seed);
    const second = await runScenario(seed);
    expect([second.hash, second.steps]).toEqual([first.hash, first.steps]);
  }
});

test("every promise holds in random scenarios of faults, deaths and users", async () => {
  const reports: ScenarioReport[] = [];
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  const firstSeed = SEED === undefined ? 1 : Number(SEED);
  const scenariosMin = SEED === undefined ? SCENARIOS_MIN : 1;
  const isDue = (): boolean =>
    reports.length < scenariosMin ||
    (SEED === undefined && performance.now() - startedAt < SECONDS * 1_000);
  for (let seed = firstSeed; isDue(); seed++) reports.push(await runScenario(seed));
  const { user, system } = process.cpuUsage(cpu);
  const sum = (read: (report: ScenarioReport) => number): number =>
    reports.reduce((total, report) => total + read(report), 0);
  const calls = new Set(reports.flatMap((report) => [...report.calls.keys()]));
  const faults = new Set(reports.flatMap((report) => [...report.faults.keys()]));
  const ends: Record<string, number> = {};
  for (const [state, count] of reports.flatMap((report) => [...report.ends])) {
    ends[state] = (ends[state] ?? 0) + count;
  }
  console.log(
    `simulation: ${reports.length} scenarios, ${sum((one) => one.deaths)} deaths,`,
    `${sum((one) => one.freezes)} freezes, ${sum((one) => one.commands)} commands of users,`,
    `${sum((one) => [...one.calls.values()].reduce((a, b) => a + b, 0))} statements,`,
    `${sum((one) => [...one.faults.values()].reduce((a, b) => a + b, 0))} faults,`,
    `${new Set(reports.map(({ hash }) => hash)).size} distinct schedules,`,
    `${(reports.length / ((user + system) / 1e6)).toFixed(1)} scenarios a CPU-second,`,
    `${sum((one) => one.effects)} effects, sessions`,
    ends,
  );
  for (const { workers, commands, deaths } of reports) {
    expect(workers).toBeGreaterThanOrEqual(2);
    expect(commands).toBeGreaterThanOrEqual(10);
    expect(deaths).toBeGreaterThanOrEqual(1);
  }
  if (SEED !== undefined) return;
  expect(ends["completed"]).toBeGreaterThan(0);
  expect(COMMANDS.filter((command) => !calls.has(command))).toEqual([]);
  expect(FAULTS.filter((fault) => !faults.has(fault))).toEqual([]);
}, 600_000);
