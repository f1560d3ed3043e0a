/** What an agent asks leave for, as people are shown it before they decide. */
import type { Permission } from "../client.ts";
import { formatInstant } from "./duration.ts";
import { toSafeLine } from "./terminal-safe.ts";
import { truncateLine } from "./text-width.ts";

const VALUE_COLUMNS_MAX = 400;
const FIELDS_MAX = 12;
const PATHS_MAX = 20;

/**
 * All that a decision binds to, and what it would touch: the title is the agent's own word, the input
 * is what is done. Long values are cut, and it says so.
 */
export function describePermission(permission: Permission, nowMs: number): string[] {
  const { tool, kind, title, cwd, paths, input, expiresAt, id } = permission;
  const fields = Object.entries(input);
  const shownPaths = paths.slice(0, PATHS_MAX).map(toSafeLine).join(", ");
  const more = paths.length > PATHS_MAX ? ` and ${paths.length - PATHS_MAX} more` : "";
  return [
    `${truncateLine(toSafeLine(title), VALUE_COLUMNS_MAX)}  ${id.slice(0, 8)}`,
    `  tool  ${toSafeLine(tool)} (${kind}) in ${toSafeLine(cwd)}`,
    ...fields.slice(0, FIELDS_MAX).map(([name, value]) => `  ${describeField(name, value)}`),
    ...(fields.length > FIELDS_MAX ? [`  … ${fields.length - FIELDS_MAX} fields more`] : []),
    ...(shownPaths === "" ? [] : [`  paths  ${shownPaths}${more}`]),
    `  until  ${formatInstant(expiresAt, nowMs)}`,
  ];
}

function describeField(name: string, value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const line = toSafeLine(text);
  const shown = truncateLine(line, VALUE_COLUMNS_MAX);
  const cut = shown === line ? "" : ` (${text.length} characters)`;
  return `${toSafeLine(name)}  ${shown}${cut}`;
}
