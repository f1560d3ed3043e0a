import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type KeptCase, readKeptCases } from "./kept-cases.ts";
import { BUGS } from "./planted-bugs.ts";
import { runSimulation } from "./run-simulation.ts";
import { findBroken } from "./shrink-scenario.ts";

const folder = mkdtempSync(join(tmpdir(), "stint-kept-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a seed that breaks a promise is shrunk to what is needed for it, and kept", async () => {
  const variant = BUGS["a pause that dies with its worker"];
  const size = { firstSeed: 1, count: 120 };
  const { violations } = await runSimulation({ ...size, variant, keepIn: folder });
  const [kept] = [...readKeptCases(folder).values()] as [KeptCase];
  expect(violations).toEqual([expect.objectContaining({ seed: kept.seed })]);
  expect(violations[0]?.message).toContain(`STINT_SIM_SEED=${kept.seed}: `);

  const whole = await findBroken(kept.seed, null, variant);
  expect(kept.choices.length).toBeLessThan((whole?.choices.length ?? 0) / 2);
  const again = await findBroken(kept.seed, kept.choices, variant);
  expect(again).toMatchObject({ invariant: whole?.invariant, choices: kept.choices });
  expect(await findBroken(kept.seed, kept.choices, variant)).toEqual(again);
  expect(await findBroken(kept.seed, kept.choices)).toBeNull();
}, 300_000);
