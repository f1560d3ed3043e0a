import { setTimeout as delay } from "node:timers/promises";
import { CrashPostgres, type Lane } from "./crash-postgres.ts";
import { type CrashReport, runCrashScenario } from "./scenario.ts";
import { type CommandKind, drawPlan, type FaultKind, type ScenarioPlan } from "./scenario-plan.ts";

/** Which scenarios to run. */
export interface CrashRunOptions {
  readonly firstSeed: number;
  readonly count: number;
  /** Ends the run early; what ran by then is counted. */
  readonly signal?: AbortSignal;
  /** Postgres is shut down in one of so many scenarios. @default 100 */
  readonly restartEvery?: number;
  /** Scenarios at a time, each on a database of its own with backends that stay warm. @default 6 */
  readonly lanes?: number;
  /** Plans with which no seed comes up. @default as they are drawn */
  readonly changePlan?: (plan: ScenarioPlan) => ScenarioPlan;
  /** Beyond it a scenario is broken off. @default 120_000 */
  readonly scenarioMsMax?: number;
  /** Changes a lane's database before its first scenario: for bugs that must be found. */
  readonly prepareLane?: (lane: Lane) => Promise<void>;
}

/** What a run was. */
export interface CrashCounts {
  readonly scenarios: number;
  /** Different plans among them. */
  readonly schedules: number;
  readonly deaths: number;
  /** Deaths of workers that held a session. */
  readonly deathsAtWork: number;
  readonly workersMin: number;
  readonly commandsMin: number;
  readonly deathsMin: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
  readonly commands: ReadonlyMap<CommandKind, number>;
  readonly calls: ReadonlyMap<string, number>;
  readonly answers: ReadonlySet<string>;
  readonly ends: ReadonlyMap<string, number>;
  readonly acknowledged: number;
  readonly restarts: number;
  readonly violations: readonly CrashViolation[];
  /** Seeds of scenarios that came to no end: they are counted nowhere else. */
  readonly brokenOff: readonly number[];
  readonly seconds: number;
}

/** A promise that was broken. */
export interface CrashViolation {
  readonly seed: number;
  readonly message: string;
  /** Runs exactly this scenario. */
  readonly command: string;
}

const LANES = 6;
const SCENARIO_MS_MAX = 120_000;
const RESTART_EVERY = 100;

/**
 * Runs seeded scenarios of crashes on a Postgres of their own, several at a time. Rejects only when
 * that Postgres cannot be had: what the scenarios find wrong is in `violations`, and ends the run.
 */
export async function runCrashScenarios(options: CrashRunOptions): Promise<CrashCounts> {
  const { firstSeed, count, signal, restartEvery = RESTART_EVERY, lanes = LANES } = options;
  const { changePlan = (plan) => plan, scenarioMsMax = SCENARIO_MS_MAX } = options;
  const startedAt = performance.now();
  const postgres = await CrashPostgres.start();
  const reports: CrashReport[] = [];
  const violations: CrashViolation[] = [];
  const brokenOff: number[] = [];
  let next = firstSeed;
  const isDone = (): boolean =>
    next >= firstSeed + count || signal?.aborted === true || violations.length > 0;
  const runLane = async (lane: Lane): Promise<void> => {
    while (!isDone()) {
      const seed = next++;
      const restarts = seed % restartEvery === Math.floor(restartEvery / 2);
      const restartsBefore = postgres.restarts;
      try {
        const plan = changePlan(drawPlan(seed, restarts));
        const report = await withinLimit(runCrashScenario(lane, seed, plan), scenarioMsMax);
        if (report === null) {
          // What still lives in this database would take part in its next scenario.
          brokenOff.push(seed);
          return;
        }
        reports.push(report);
        await lane.tidy();
      } catch (error) {
        const sawRestart = postgres.restarts > restartsBefore;
        violations.push(describeViolation(seed, error as Error, sawRestart));
      }
    }
    await lane.close();
  };
  try {
    const opened: Lane[] = [];
    for (let place = 0; place < Math.min(lanes, count); place++) {
      const lane = await postgres.createDatabase(`lane_${place}`);
      await options.prepareLane?.(lane);
      opened.push(lane);
    }
    await Promise.all(opened.map(runLane));
  } finally {
    await postgres.stop();
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const { restarts } = postgres;
  return { ...summarize(reports), restarts, violations, brokenOff, seconds };
}

/** One line that says what a run was. */
export function describeCrashRun(counts: CrashCounts, firstSeed: number): string {
  const { scenarios, deaths, faults, violations, brokenOff } = counts;
  const left = brokenOff.length === 0 ? "" : `, broken off at seeds ${brokenOff.join(", ")}`;
  return (
    `crash scenarios on Postgres: ${scenarios} scenarios, ${deaths} deaths, ` +
    `${faults.size} kinds of fault, ${violations.length} violations, seed ${firstSeed}${left}`
  );
}

/** Null when it takes longer than any scenario may. */
async function withinLimit<T>(work: Promise<T>, limitMs: number): Promise<T | null> {
  const over = new AbortController();
  const limit = delay(limitMs, null, { signal: over.signal }).catch(() => null);
  try {
    return await Promise.race([work, limit]);
  } finally {
    over.abort();
    work.catch(() => undefined); // nobody waits for what was left behind
  }
}

function describeViolation(seed: number, error: Error, sawRestart: boolean): CrashViolation {
  const range = `STINT_CRASH_SEED=${seed} STINT_CRASH_SCENARIOS=1`;
  const restart = sawRestart ? " STINT_CRASH_RESTART_EVERY=1" : "";
  const command = `${range}${restart} npx vitest run test/crash/scenarios/scenarios.test.ts`;
  const isPromise = error.constructor.name === "InvariantBroken";
  return { seed, message: isPromise ? error.message : String(error.stack), command };
}

function summarize(
  reports: readonly CrashReport[],
): Omit<CrashCounts, "restarts" | "violations" | "brokenOff" | "seconds"> {
  const least = (read: (report: CrashReport) => number): number =>
    reports.reduce((min, report) => Math.min(min, read(report)), Number.POSITIVE_INFINITY);
  const total = <K>(read: (report: CrashReport) => ReadonlyMap<K, number>): Map<K, number> => {
    const totals = new Map<K, number>();
    for (const report of reports) {
      for (const [key, count] of read(report)) totals.set(key, (totals.get(key) ?? 0) + count);
    }
    return totals;
  };
  return {
    scenarios: reports.length,
    schedules: new Set(reports.map(({ hash }) => hash)).size,
    deaths: sum(reports, ({ deaths }) => deaths),
    deathsAtWork: sum(reports, ({ deathsAtWork }) => deathsAtWork),
    workersMin: least(({ workers }) => workers),
    commandsMin: least(({ commands }) => [...commands.values()].reduce((a, b) => a + b, 0)),
    deathsMin: least(({ deaths }) => deaths),
    faults: total(({ faults }) => faults),
    commands: total(({ commands }) => commands),
    calls: total(({ calls }) => calls),
    answers: new Set(reports.flatMap(({ answers }) => [...answers])),
    ends: total(({ ends }) => ends),
    acknowledged: sum(reports, ({ acknowledged }) => acknowledged),
  };
}

function sum(reports: readonly CrashReport[], read: (report: CrashReport) => number): number {
  return reports.reduce((total, report) => total + read(report), 0);
}
