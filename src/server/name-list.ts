import { suggestName } from "../core/suggestion.ts";
import { invalidField, shortenName } from "./validation.ts";

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
  const near = suggestName(unknown.slice(0, 60), known);
  const hint = near === null ? `known are ${known.join(", ")}` : `did you mean ${near}?`;
  throw invalidField(field, `"${shortenName(unknown)}" is unknown; ${hint}`);
}
