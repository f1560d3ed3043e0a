import { nameInvariant } from "./invariants.ts";
import { runScenario, type Variant } from "./simulation.ts";

/** A scenario that breaks a promise: a seed, and the part of what it draws that is needed for it. */
export interface FailingCase {
  readonly seed: number;
  readonly invariant: string;
  readonly choices: readonly string[];
}

/** How much is tried. */
export interface ShrinkOptions {
  readonly variant?: Variant | undefined;
  /** @default 150 */
  readonly runsMax?: number;
}

/**
 * Runs a scenario, or a part of it. Null when every promise holds, otherwise which is broken and what
 * had happened by then.
 */
export async function findBroken(
  seed: number,
  choices: readonly string[] | null,
  variant: Variant = {},
): Promise<(FailingCase & { readonly message: string }) | null> {
  const taken: string[] = [];
  try {
    await runScenario(seed, variant, { choices, taken });
    return null;
  } catch (error) {
    const { message } = error as Error;
    return { seed, invariant: nameInvariant(error), choices: taken, message };
  }
}

/**
 * Leaves out of a failing case whatever is not needed for the same promise to be broken: halves
 * first, single choices last. What is left is run again as it is.
 */
export async function shrinkScenario(
  failing: FailingCase,
  { variant = {}, runsMax = 150 }: ShrinkOptions = {},
): Promise<FailingCase> {
  let { choices } = failing;
  let runs = 0;
  const isEnough = async (some: readonly string[]): Promise<boolean> => {
    runs++;
    const found = await findBroken(failing.seed, some, variant);
    if (found?.invariant !== failing.invariant) return false;
    choices = found.choices;
    return true;
  };
  if (!(await isEnough(choices))) return failing;
  for (let size = Math.ceil(choices.length / 2); size > 0; size = Math.floor(size / 2)) {
    let isSmaller = true;
    while (isSmaller && runs < runsMax) {
      isSmaller = false;
      for (let from = choices.length - size; from > -size && runs < runsMax; from -= size) {
        const before = choices.slice(0, Math.max(0, from));
        const without = [...before, ...choices.slice(Math.max(0, from + size))];
        if (without.length < choices.length && (await isEnough(without))) isSmaller = true;
      }
      if (size > 1) break;
    }
  }
  return { seed: failing.seed, invariant: failing.invariant, choices };
}
