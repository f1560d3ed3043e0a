/**
 * A script says, step by step, what the scripted model answers. It is a JSON array; each step is
 * an object with exactly one of the keys below.
 */
import { z } from "zod";
import { StintError } from "./error.ts";
import { isStorableText } from "./json.ts";

/** Most steps of one script. */
export const SCRIPT_STEPS_MAX = 1_000;

/** Largest script, in bytes of JSON. */
export const SCRIPT_BYTES_MAX = 1_048_576;

/** Longest delay of one step: 10 minutes. */
export const SCRIPT_DELAY_MS_MAX = 600_000;

/** Most times that one step fails. */
export const SCRIPT_FAIL_TIMES_MAX = 1_000;

const anyText = z
  .string()
  .refine(isStorableText, "must not hold a NUL character or half of a surrogate pair");
const someText = anyText.min(1, "must not be empty");
const path = someText.max(4_096, "must have at most 4096 characters");

/** The steps by their key, in the order in which messages list them. */
const STEP_SCHEMAS = {
  bash: z.strictObject({ bash: someText }),
  write: z.strictObject({ write: z.strictObject({ path, content: anyText }) }),
  edit: z.strictObject({ edit: z.strictObject({ path, find: someText, replace: anyText }) }),
  read: z.strictObject({ read: z.strictObject({ path }) }),
  text: z.strictObject({ text: someText }),
  think: z.strictObject({ think: someText }),
  delayMs: z.strictObject({ delayMs: z.int().min(0).max(SCRIPT_DELAY_MS_MAX) }),
  fail: z.strictObject({
    fail: z.strictObject({
      status: z.int().min(400).max(599),
      times: z.int().min(1).max(SCRIPT_FAIL_TIMES_MAX).default(1),
    }),
  }),
} as const;

/**
 * Schema of one step:
 * - `bash`: run a shell command.
 * - `write`, `edit`, `read`: write a file, replace text in one, read one.
 * - `text`, `think`: say something, think something.
 * - `delayMs`: wait before going on with the answer. Milliseconds, at most 10 minutes.
 * - `fail`: answer with this HTTP status, the first `times` times. @default times 1
 */
export const scriptStepSchema = z.union([
  STEP_SCHEMAS.bash,
  STEP_SCHEMAS.write,
  STEP_SCHEMAS.edit,
  STEP_SCHEMAS.read,
  STEP_SCHEMAS.text,
  STEP_SCHEMAS.think,
  STEP_SCHEMAS.delayMs,
  STEP_SCHEMAS.fail,
]);

/** Schema of a script, for API descriptions; `parseScript` gives the better messages. */
export const scriptSchema = z.array(scriptStepSchema).min(1).max(SCRIPT_STEPS_MAX);

/** One step of a script. */
export type ScriptStep = z.output<typeof scriptStepSchema>;

/** A checked script. */
export type Script = readonly ScriptStep[];

const STEP_KEYS = Object.keys(STEP_SCHEMAS) as (keyof typeof STEP_SCHEMAS)[];

const EXAMPLE =
  'Example: [{"think":"Look first."},{"bash":"ls"},' +
  '{"write":{"path":"hello.txt","content":"hello\\n"}},{"text":"Done."}]';

/**
 * Checks a script and fills in defaults. Parsing what was parsed changes nothing.
 * @throws {script_invalid} naming the step, counted from 0, and what is wrong with it.
 */
export function parseScript(input: unknown): Script {
  if (!Array.isArray(input)) throw invalid("A script is a JSON array of steps.");
  if (input.length === 0) throw invalid("The script has no steps.");
  if (input.length > SCRIPT_STEPS_MAX) {
    throw invalid(`The script has ${input.length} steps; the limit is ${SCRIPT_STEPS_MAX}.`);
  }
  const script = Array.from(input, parseStep);
  const bytes = new TextEncoder().encode(JSON.stringify(script)).length;
  if (bytes > SCRIPT_BYTES_MAX) {
    throw invalid(`The script has ${bytes} bytes; the limit is ${SCRIPT_BYTES_MAX}.`);
  }
  return script;
}

function parseStep(input: unknown, index: number): ScriptStep {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    throw invalidStep(index, `must be an object with one of ${STEP_KEYS.join(", ")}`);
  }
  const keys = Object.keys(input);
  const key = STEP_KEYS.find((known) => known === keys[0]);
  if (keys.length !== 1 || key === undefined) {
    const given = keys.length === 0 ? "none" : keys.slice(0, 8).map(shorten).join(", ");
    throw invalidStep(index, `must have exactly one of ${STEP_KEYS.join(", ")}; it has ${given}`);
  }
  const result = STEP_SCHEMAS[key].safeParse(input);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const place = issue?.path.map(String).join(".") ?? key;
  throw invalidStep(index, `${place}: ${issue?.message ?? "is invalid"}`);
}

function invalidStep(index: number, problem: string): StintError {
  return invalid(`Step ${index} of the script (counted from 0) is wrong: ${problem}.`, index);
}

function invalid(problem: string, step?: number): StintError {
  const fields = step === undefined ? {} : { step };
  return new StintError("script_invalid", `${problem} ${EXAMPLE}`, { fields });
}

function shorten(key: string): string {
  return JSON.stringify(key.slice(0, 40));
}
