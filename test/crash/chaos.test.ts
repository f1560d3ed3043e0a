import { existsSync, readdirSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { makeFolder, runStint } from "../e2e/stint-process.ts";

const folder = makeFolder("stint chaos test ");

afterEach(() => folder.dispose());

test("stint chaos kills a Stint of its own, tells what held, and leaves nothing behind", async () => {
  // A data folder and a database of the user's, which must not be touched.
  const env = { DATABASE_URL: "postgres://nobody@127.0.0.1:1/nothing" };
  const args = ["chaos", "--fault", "worker", "--rounds", "1"];
  const { code, stdout } = await runStint([...args, "--json"], {
    dataDir: folder.path,
    env,
  });
  const report = JSON.parse(stdout) as { ok: boolean; folders: string[]; rows: object[] };
  expect(report).toMatchObject({
    ok: true,
    rows: [
      { name: "worker", runs: 1, violations: 0, orphans: 0, resumeWorstMs: expect.any(Number) },
    ],
    totals: { points: 1, runs: 1, violations: 0, orphans: 0 },
  });
  expect(code).toBe(0);
  expect(report.folders).toHaveLength(1);
  expect(report.folders.filter((path) => existsSync(path))).toEqual([]);
  expect(readdirSync(folder.path)).toEqual([]);
}, 180_000);
