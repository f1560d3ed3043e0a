import { createHash } from "node:crypto";
import type { Json, JsonObject } from "../core/json.ts";
import type { PermissionRequest } from "../core/permission.ts";

/** Folders of an attempt, as its agent sees them: on another host they may lie elsewhere. */
export interface RequestPlaces {
  readonly workspace: string;
  readonly home: string;
}

/** What may follow the path of a folder: with anything else it is the path of another. */
const END = "(?![^/\\s\"'`;:,()&|<>])";

/**
 * The same tool, input and directory have the same hash, whatever the order of the keys and wherever
 * the workspace lies: a decision holds on every host.
 */
export function hashRequest(
  { tool, input, cwd }: Pick<PermissionRequest, "tool" | "input" | "cwd">,
  places: RequestPlaces,
): string {
  const identity = [tool, namePlaces(cwd, places), namePlaces(input, places)];
  return createHash("sha256").update(JSON.stringify(identity)).digest("hex");
}

/** A value with its keys in order, and names in place of the folders in its texts. Reversible. */
export function namePlaces(value: Json | undefined, places: RequestPlaces): unknown {
  if (typeof value === "string") return nameInText(value, places);
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((one: Json) => namePlaces(one, places));
  const fields = Object.entries(value as JsonObject).map(
    ([key, one]) => [key, namePlaces(one, places)] as const,
  );
  return { fields: fields.toSorted(([a], [b]) => (a < b ? -1 : 1)) };
}

/** An object, which nothing else becomes here: no text of an agent can look like a name. */
function nameInText(text: string, { workspace, home }: RequestPlaces): unknown {
  const folders = [workspace, home].filter((folder) => folder.length > 1);
  if (!folders.some((folder) => text.includes(folder))) return text;
  const pattern = folders.toSorted((a, b) => b.length - a.length).map(escapePattern);
  const parts = text.split(new RegExp(`(${pattern.join("|")})${END}`));
  if (parts.length === 1) return text;
  const named = parts.map((part, at) =>
    at % 2 === 0 ? part : part === home ? "home" : "workspace",
  );
  return { parts: named };
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}
