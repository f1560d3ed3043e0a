import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { hashText } from "./choices.ts";
import type { FailingCase } from "./shrink-scenario.ts";

/** Where cases are kept. */
export const KEPT_CASES_DIR = fileURLToPath(new URL("./seeds", import.meta.url));

const keptCaseSchema = z.strictObject({
  /** The planted bug that it finds; null: it was found without one. */
  bug: z.string().nullable(),
  seed: z.number().int(),
  invariant: z.string(),
  choices: z.array(z.string()),
});

/** A case that once broke a promise; without its bug it must not. */
export type KeptCase = z.infer<typeof keptCaseSchema>;

/** All kept cases, by file name. */
export function readKeptCases(folder = KEPT_CASES_DIR): Map<string, KeptCase> {
  const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
  return new Map(
    names.sort().map((name) => {
      return [name, keptCaseSchema.parse(JSON.parse(readFileSync(join(folder, name), "utf8")))];
    }),
  );
}

/** Writes a case down for every later run. Returns its path. */
export function keepCase(
  { seed, invariant, choices }: FailingCase,
  bug: string | null,
  folder = KEPT_CASES_DIR,
): string {
  mkdirSync(folder, { recursive: true });
  const place = hashText(invariant).toString(16).padStart(8, "0");
  const name = bug === null ? `seed-${seed}-${place}` : bug.replaceAll(/[^a-z0-9]+/gi, "-");
  const path = join(folder, `${name}.json`);
  writeFileSync(path, `${JSON.stringify({ bug, seed, invariant, choices }, null, 2)}\n`);
  return path;
}
