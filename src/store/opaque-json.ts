import { isStorableText, JSON_DEPTH_MAX, type Json } from "../core/json.ts";

const MARK = "jsonBase64";

/**
 * Makes a value storable that only Stint itself reads back: one that a database text cannot hold
 * (NUL, half a surrogate pair, deep nesting) is wrapped whole. `decodeOpaque` undoes it exactly.
 */
export function encodeOpaque(value: Json): Json {
  const json = JSON.stringify(value);
  if (isPlain(json, value) && !isWrapped(value)) return value;
  return { [MARK]: Buffer.from(json).toString("base64") };
}

/** The value that was given to `encodeOpaque`. */
export function decodeOpaque(stored: Json): Json {
  if (!isWrapped(stored)) return stored;
  return JSON.parse(Buffer.from(stored[MARK], "base64").toString("utf8")) as Json;
}

/** Replaces what a text column cannot hold by the visible sign for it. */
export function toStorableText(text: string): string {
  return isStorableText(text) ? text : text.toWellFormed().replaceAll("\u0000", "\u2400");
}

/** In JSON text NUL and lone surrogates are always escapes, so most values are cleared by a scan. */
function isPlain(json: string, value: Json): boolean {
  return !/\\u(0000|[dD][89a-fA-F])/.test(json) && depthOf(value) <= JSON_DEPTH_MAX;
}

function isWrapped(value: Json): value is { readonly [MARK]: string } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const keys = Object.keys(value);
  return keys.length === 1 && keys[0] === MARK;
}

/** Counts levels without recursion: the value may be deeper than the stack. */
function depthOf(value: Json): number {
  let level: readonly Json[] = [value];
  for (let depth = 0; ; depth++) {
    const next = level.flatMap((item) =>
      typeof item === "object" && item !== null ? (Object.values(item) as Json[]) : [],
    );
    if (next.length === 0 || depth > JSON_DEPTH_MAX) return depth;
    level = next;
  }
}
