// `npm run crash:long`: the long sessions of the crash tests at their full size, one after the other.
// Names of tests as arguments choose among them. What comes out of each is printed by the test itself.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const LONG = {
  everything: { file: "test/crash/everything.test.ts", env: { STINT_TEST_KILLS: "50" } },
  "rolling-restart": {
    file: "test/crash/rolling-restart.test.ts",
    env: { STINT_TEST_ROLLING_SESSIONS: "200" },
  },
  "append-writers": {
    file: "test/crash/append-writers.test.ts",
    env: { TEST_APPEND_EVENTS: "100000" },
  },
  "power-cut": { file: "test/crash/system-faults.test.ts", env: { STINT_TEST_POWER_CUTS: "20" } },
};

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !(name in LONG));
if (unknown !== undefined) {
  console.error(`there is no long test "${unknown}"; there are ${Object.keys(LONG).join(", ")}`);
  process.exit(2);
}
const root = fileURLToPath(new URL("..", import.meta.url));
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
let failed = 0;
for (const [name, { file, env }] of Object.entries(LONG)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const { status } = spawnSync(process.execPath, [vitest, "run", file], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: "inherit",
  });
  if (status !== 0) failed++;
}
process.exitCode = failed === 0 ? 0 : 1;
