import { expect, test } from "vitest";
import { InvariantBroken } from "./invariants.ts";
import { keepCase, readKeptCases } from "./kept-cases.ts";
import { BUGS } from "./planted-bugs.ts";
import { type FailingCase, findBroken, shrinkScenario } from "./shrink-scenario.ts";
import { runScenario } from "./simulation.ts";

/** A bug must be found within so many scenarios. */
const SEEDS_MAX = 120;
/** Of these bugs, by comma, the shrunk cases are kept in the place of those that were. */
const KEPT_BUGS = process.env["STINT_SIM_KEEP"]?.split(",") ?? [];

for (const [name, variant] of Object.entries(BUGS)) {
  test(`the simulation finds ${name}`, async () => {
    let found: unknown = null;
    let seed = 0;
    while (found === null && ++seed <= SEEDS_MAX) {
      found = await runScenario(seed, variant).then(
        () => null,
        (error: unknown) => error,
      );
    }
    expect(found, `${seed} scenarios`).toBeInstanceOf(InvariantBroken);
    if (!KEPT_BUGS.includes(name)) return;
    const failing = (await findBroken(seed, null, variant)) as FailingCase;
    keepCase(await shrinkScenario(failing, { variant }), name);
  }, 300_000);
}

for (const [file, { bug, seed, invariant, choices }] of readKeptCases()) {
  if (bug === null) continue;
  test(`the kept case ${file} finds its bug again`, async () => {
    const found = await findBroken(seed, choices, BUGS[bug]);
    expect(found).toMatchObject({ invariant, choices });
  });
}
