import type { Fault } from "./faulty-wire.ts";
import { keepCase, KEPT_CASES_DIR } from "./kept-cases.ts";
import { findBroken, shrinkScenario } from "./shrink-scenario.ts";
import { runScenario, type ScenarioReport, type Variant } from "./simulation.ts";

/** Which scenarios to simulate: at least `count` of them, and as many as there is time for. */
export interface SimulationRunOptions {
  readonly firstSeed: number;
  /** @default 0 */
  readonly count?: number;
  /** Wall-clock time. @default 0 */
  readonly seconds?: number;
  /** Ends the run early; what ran by then is counted. */
  readonly signal?: AbortSignal;
  /** A planted bug. @default none */
  readonly variant?: Variant | undefined;
  /** Where a case that breaks a promise is kept. @default KEPT_CASES_DIR */
  readonly keepIn?: string;
}

/** What a run was. */
export interface SimulationCounts {
  readonly scenarios: number;
  readonly deaths: number;
  readonly freezes: number;
  readonly statements: number;
  readonly effects: number;
  /** Different schedules among them. */
  readonly schedules: number;
  readonly workersMin: number;
  readonly commandsMin: number;
  readonly deathsMin: number;
  readonly calls: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<Fault, number>;
  readonly hostCalls: ReadonlyMap<string, number>;
  readonly hostFaults: ReadonlyMap<Fault, number>;
  readonly answers: ReadonlyMap<string, number>;
  readonly ends: ReadonlyMap<string, number>;
  readonly violations: readonly { readonly seed: number; readonly message: string }[];
  readonly scenariosPerCpuSecond: number;
}

/** Runs seeded scenarios one after the other, until one breaks a promise. Never rejects. */
export async function runSimulation(options: SimulationRunOptions): Promise<SimulationCounts> {
  const { firstSeed, count = 0, seconds = 0, signal, variant } = options;
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  const reports: ScenarioReport[] = [];
  const violations: { seed: number; message: string }[] = [];
  const isDue = (): boolean =>
    signal?.aborted !== true &&
    violations.length === 0 &&
    (reports.length < count || performance.now() - startedAt < seconds * 1_000);
  for (let seed = firstSeed; isDue(); seed++) {
    try {
      reports.push(await runScenario(seed, variant));
    } catch (error) {
      const { message } = error as Error;
      violations.push({ seed, message: `${message}; ${await keepShrunk(seed, options)}` });
    }
  }
  const { user, system } = process.cpuUsage(cpu);
  const scenariosPerCpuSecond = reports.length / ((user + system) / 1e6);
  return { ...summarize(reports), violations, scenariosPerCpuSecond };
}

/** One line that says what a run was. */
export function describeSimulation(counts: SimulationCounts, firstSeed: number): string {
  const { scenarios, deaths, faults, violations } = counts;
  return (
    `simulation: ${scenarios} scenarios, ${deaths} deaths, ${faults.size} kinds of fault, ` +
    `${violations.length} violations, seed ${firstSeed}`
  );
}

/** Runs the seed again, makes it as small as it gets, and keeps it for every later run. */
async function keepShrunk(
  seed: number,
  { variant, keepIn = KEPT_CASES_DIR }: SimulationRunOptions,
): Promise<string> {
  const failing = await findBroken(seed, null, variant);
  if (failing === null) return "a second run of the seed broke nothing";
  const shrunk = await shrinkScenario(failing, { variant });
  const path = keepCase(shrunk, null, keepIn);
  return `${shrunk.choices.length} of ${failing.choices.length} choices are enough, kept in ${path}`;
}

function summarize(
  reports: readonly ScenarioReport[],
): Omit<SimulationCounts, "violations" | "scenariosPerCpuSecond"> {
  const sum = (read: (report: ScenarioReport) => number): number =>
    reports.reduce((total, report) => total + read(report), 0);
  const least = (read: (report: ScenarioReport) => number): number =>
    reports.reduce((min, report) => Math.min(min, read(report)), Number.POSITIVE_INFINITY);
  const calls = addUp(reports.map((report) => report.calls));
  return {
    scenarios: reports.length,
    deaths: sum(({ deaths }) => deaths),
    freezes: sum(({ freezes }) => freezes),
    statements: [...calls.values()].reduce((total, one) => total + one, 0),
    effects: sum(({ effects }) => effects),
    schedules: new Set(reports.map(({ hash }) => hash)).size,
    workersMin: least(({ workers }) => workers),
    commandsMin: least(({ commands }) => commands),
    deathsMin: least(({ deaths }) => deaths),
    calls,
    faults: addUp(reports.map(({ faults }) => faults)),
    hostCalls: addUp(reports.map(({ hostCalls }) => hostCalls)),
    hostFaults: addUp(reports.map(({ hostFaults }) => hostFaults)),
    answers: addUp(reports.map(({ answers }) => answers)),
    ends: addUp(reports.map(({ ends }) => ends)),
  };
}

function addUp<K>(all: readonly ReadonlyMap<K, number>[]): Map<K, number> {
  const total = new Map<K, number>();
  for (const [key, count] of all.flatMap((one) => [...one])) {
    total.set(key, (total.get(key) ?? 0) + count);
  }
  return total;
}
