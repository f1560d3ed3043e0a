import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type InlineConfig, type TestSpecification } from "vitest/node";

/** What takes longest, the longest first: begun last, it would keep everybody waiting. */
const LONG = [
  ...["crash/attempt-points", "crash/takeover", "crash/scenarios/scenarios", "e2e/stream"],
  ...["docs-examples", "embedded/attach", "simulation/simulation", "crash/system-faults"],
  ...["simulation/differential", "e2e/bad-input", "crash/rolling-restart"],
  ...["e2e/bad-agents", "crash/everything", "crash/scenarios/planted-bugs", "e2e/other-host"],
];

function placeOf({ moduleId }: TestSpecification): number {
  const place = LONG.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
  return place < 0 ? LONG.length : place;
}

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((a, b) => placeOf(a) - placeOf(b));
  }
}

/**
 * One process runs many of these files: their tests leave nothing behind that others would see, and its
 * start and imports cost more than what most of them do.
 */
const PLAIN = ["src/core", "src/client", "src/model", "src/agents", "src/server", "src/worker"].map(
  (folder) => `${folder}/**/*.test.ts`,
);

/** It takes all that it can get of the machine, and measures what is left to others: after all the rest. */
const ALONE = ["test/e2e/hostile-agent.test.ts"];

/** Bounds, and no promises: on a busy machine everything takes several times as long. */
const BOUNDS = {
  testTimeout: 60_000,
  hookTimeout: 120_000,
  expect: { poll: { timeout: 30_000 } },
};

function describeProject(name: string, include: string[], own: Partial<InlineConfig> = {}) {
  const setupFiles = ["./test/property-seed.ts"];
  return { test: { name, include, setupFiles, ...BOUNDS, ...own } };
}

export default defineConfig({
  test: {
    // Each entry may export `setup` and `teardown`; they run once, in this order, before all tests.
    globalSetup: ["./test/machine.ts", "./test/postgres.ts"],
    reporters: ["default", "./test/reporter.ts"],
    maxWorkers: Math.max(2, availableParallelism() - 1),
    sequence: { sequencer: LongFirst },
    teardownTimeout: 20_000,
    projects: [
      describeProject("whole", ["src/**/*.test.ts", "test/**/*.test.ts"], {
        exclude: [...PLAIN, ...ALONE],
      }),
      describeProject("plain", PLAIN, { isolate: false }),
      describeProject("alone", ALONE, { sequence: { groupOrder: 1 } }),
    ],
  },
});
