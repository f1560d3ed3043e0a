import { runSimulation } from "../../simulation/run-simulation.ts";
import { runCrashScenarios } from "../scenarios/run-scenarios.ts";
import { runTakeovers } from "../takeovers.ts";
import type { LaneKind } from "./lane-kind.ts";

/** What a slice found. */
export interface SliceFindings {
  /** Scenarios, or kills, that ran to their end: seeds from the first one on, without a gap. */
  readonly count: number;
  readonly deaths: number;
  /** Each with what it takes to see it again. */
  readonly violations: readonly string[];
  /** Of kills alone: from each SIGKILL to the `resumed` event. */
  readonly takeoverMs?: readonly number[];
}

/** One kind of long test, in slices. */
export interface Lane {
  readonly kind: LaneKind;
  /** Where the release wants to get. */
  readonly target: number;
  /** About a minute's worth. */
  readonly sliceSize: number;
  /** Ends early when the signal aborts; what ran by then counts. */
  run(firstSeed: number, count: number, signal: AbortSignal): Promise<SliceFindings>;
}

const simulation: Lane = {
  kind: "simulation",
  target: 1_000_000,
  sliceSize: 500,
  run: async (firstSeed, count, signal) => {
    const { scenarios, deaths, violations } = await runSimulation({ firstSeed, count, signal });
    // A seed that broke a promise has had its run too.
    const described = violations.map(({ message }) => message);
    return { count: scenarios + violations.length, deaths, violations: described };
  },
};

const postgres: Lane = {
  kind: "postgres",
  target: 100_000,
  sliceSize: 500,
  run: async (firstSeed, count, signal) => {
    const { scenarios, deaths, violations, brokenOff } = await runCrashScenarios({
      ...{ firstSeed, count, signal },
    });
    const described = [
      ...violations.map(({ seed, message, command }) => `seed ${seed}: ${message}; ${command}`),
      ...brokenOff.map((seed) => `seed ${seed}: the scenario came to no end`),
    ];
    return { count: scenarios + described.length, deaths, violations: described };
  },
};

const kills: Lane = {
  kind: "kills",
  target: 10_000,
  sliceSize: 40,
  run: async (_, count, signal) => {
    const { takeoverMs, violations } = await runTakeovers(count, signal);
    const killed = takeoverMs.length;
    return { count: killed, deaths: killed, violations, takeoverMs };
  },
};

/** The lanes of seeded scenarios. */
export const SCENARIO_LANES: readonly Lane[] = [simulation, postgres];

/** All lanes. */
export const LANES: readonly Lane[] = [...SCENARIO_LANES, kills];
