import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    setupFiles: ["./test/property-seed.ts"],
    // Each entry may export `setup` and `teardown`; they run once, in this order, before all tests.
    globalSetup: ["./test/machine.ts", "./test/postgres.ts"],
    reporters: ["default", "./test/reporter.ts"],
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
  },
});
