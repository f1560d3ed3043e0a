import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** What takes longest, the longest first: begun last, it would keep everybody waiting. */
const LONG = [
  ...["crash/takeover", "crash/attempt-points", "crash/scenarios/scenarios", "e2e/stream"],
  ...["docs-examples", "embedded/attach", "simulation/simulation", "crash/system-faults"],
  ...["simulation/differential", "e2e/bad-input", "e2e/hostile-agent"],
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

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    setupFiles: ["./test/property-seed.ts"],
    // Each entry may export `setup` and `teardown`; they run once, in this order, before all tests.
    globalSetup: ["./test/machine.ts", "./test/postgres.ts"],
    reporters: ["default", "./test/reporter.ts"],
    maxWorkers: Math.max(2, availableParallelism() - 1),
    sequence: { sequencer: LongFirst },
    // Bounds, and no promises: on a busy machine everything takes several times as long.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    teardownTimeout: 20_000,
  },
});
