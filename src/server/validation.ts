/** Checks of what a request says: every refusal names the field. */
import type { z } from "zod";
import { StintError } from "../core/error.ts";
import { suggestName } from "../core/suggestion.ts";

type Issue = z.core.$ZodIssue;

const NAME_CHARS_MAX = 60;

/**
 * Reads a value by its schema.
 * @throws {invalid_request} naming the first wrong field, with "did you mean" for an unknown key.
 */
export function checkInput<S extends z.ZodType>(
  schema: S,
  value: unknown,
  place: "body" | "query",
): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw toInvalidRequest(parsed.error.issues[0], schema, value, place);
}

/**
 * Reads names separated by commas; undefined when none were given.
 * @throws {invalid_request} for a name that is not known, with "did you mean".
 */
export function checkNames<Name extends string>(
  field: string,
  text: string | undefined,
  known: readonly Name[],
): readonly Name[] | undefined {
  if (text === undefined) return undefined;
  const names = [...new Set(text.split(",", 100).map((name) => name.trim()))];
  const unknown = names.find((name) => !known.includes(name as Name));
  if (unknown === undefined) return names as Name[];
  const near = suggestName(unknown.slice(0, NAME_CHARS_MAX), known);
  const hint = near === null ? `known are ${known.join(", ")}` : `did you mean ${near}?`;
  throw invalidField(field, `"${shortenName(unknown)}" is unknown; ${hint}`);
}

/** The refusal of one field. */
export function invalidField(field: string, problem: string): StintError {
  return new StintError("invalid_request", `${field}: ${problem}`, { fields: { field } });
}

function toInvalidRequest(
  issue: Issue | undefined,
  schema: z.ZodType,
  value: unknown,
  place: "body" | "query",
): StintError {
  if (issue === undefined) return invalidField(place, "is invalid");
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return refuseUnknownKey(issue.keys[0] ?? "", path, knownKeys(schema, path));
  }
  const field = path.join(".") || place;
  if (issue.code === "invalid_type" && readPath(value, path) === undefined) {
    return invalidField(field, "is required");
  }
  if (issue.code === "too_small" && issue.origin === "number") {
    return invalidField(
      field,
      `must be ${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`,
    );
  }
  if (issue.code === "too_big" && issue.origin === "number") {
    return invalidField(
      field,
      `must be ${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`,
    );
  }
  return invalidField(field, issue.message.replace(/^Invalid input: /, ""));
}

function refuseUnknownKey(
  key: string,
  path: readonly string[],
  known: readonly string[],
): StintError {
  const field = [...path, shortenName(key)].join(".");
  const near = suggestName(key.slice(0, NAME_CHARS_MAX), known);
  const hint = near === null ? `known are ${known.join(", ")}` : `did you mean ${near}?`;
  return invalidField(field, `is unknown; ${hint}`);
}

/** A name that a client made up, fit to stand in a message. */
export function shortenName(name: string): string {
  return name.slice(0, NAME_CHARS_MAX).replace(/\p{C}/gu, "?");
}

function readPath(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (at as Record<string, unknown> | null | undefined)?.[key],
    value,
  );
}

/** The keys of the object schema that lies at a path, whatever is wrapped around it. */
function knownKeys(schema: z.ZodType, path: readonly string[]): readonly string[] {
  let shape = shapeOf(schema);
  for (const key of path) {
    const inner = shape?.[key];
    shape = inner === undefined ? undefined : shapeOf(inner);
  }
  return Object.keys(shape ?? {});
}

function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> | undefined {
  let at: unknown = schema;
  while (typeof at === "object" && at !== null) {
    const { shape } = at as { shape?: Readonly<Record<string, z.ZodType>> };
    if (shape !== undefined) return shape;
    const def = (at as { def?: { innerType?: unknown; in?: unknown } }).def;
    at = def?.innerType ?? def?.in;
  }
  return undefined;
}
