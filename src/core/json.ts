/**
 * What an agent says may hold bytes that a database text cannot: NUL, halves of surrogate pairs,
 * invalid UTF-8. These functions carry them reversibly, and bound depth and size.
 */

/** Any JSON value. */
export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** A JSON object. */
export type JsonObject = { readonly [key: string]: Json | undefined };

/** Deepest nesting that is stored as it is. */
export const JSON_DEPTH_MAX = 64;

/** Largest payload of one event, in bytes of JSON. */
export const EVENT_BYTES_MAX = 1_048_576;

const NUL = "\u0000";

/** With the `u` flag whole pairs are one character, so this finds only halves. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Whether Postgres can store this string in text and jsonb exactly as it is. */
export function isStorableText(text: string): boolean {
  return !text.includes(NUL) && !LONE_SURROGATE.test(text);
}

/**
 * Decodes output of a program: as `{ [field]: text }` when the bytes are storable UTF-8, otherwise
 * as `{ [fieldBase64]: … }` with every byte kept.
 */
export function decodeOutput(field: string, bytes: Uint8Array): Record<string, string> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString("utf8");
  if (isStorableText(text) && Buffer.byteLength(text) === buffer.length && isSame(text, buffer)) {
    return { [field]: text };
  }
  return { [`${field}Base64`]: buffer.toString("base64") };
}

function isSame(text: string, buffer: Buffer): boolean {
  return !text.includes("\uFFFD") || Buffer.from(text).equals(buffer);
}

/**
 * Makes a payload storable without losing anything. A string property `x` that a database text
 * cannot hold becomes `xBase64` (its UTF-8 bytes); whatever cannot be carried that way (broken
 * keys, broken strings in arrays, lone surrogates, an `x` beside a property that has the name
 * `xBase64` already, nesting deeper than `JSON_DEPTH_MAX`) becomes `{ jsonBase64 }`, the base64 of
 * its JSON text, in which such characters are escapes. Numbers that JSON lacks become null.
 */
export function toStorable(value: Json): Json {
  return makeStorable(value, 0);
}

function makeStorable(value: Json, depth: number): Json {
  if (typeof value === "string") return isStorableText(value) ? value : wrapJson(value);
  if (value === null || typeof value !== "object") return value;
  if (depth >= JSON_DEPTH_MAX) return wrapJson(value);
  if (Array.isArray(value)) {
    return (value as readonly Json[]).map((item) => makeStorable(item, depth + 1));
  }
  return makeObjectStorable(value as JsonObject, depth);
}

function makeObjectStorable(object: JsonObject, depth: number): Json {
  const keys = Object.keys(object);
  if (!keys.every(isStorableText) || isLikeWrapper(object, keys)) return wrapJson(object);
  // Without a prototype, so that `__proto__` is a key like any other.
  const stored: Record<string, Json> = Object.create(null) as Record<string, Json>;
  for (const key of keys) {
    const item = object[key];
    if (item === undefined) continue;
    const nameOfBytes = `${key}Base64`;
    if (isTextWithNul(item) && key !== "json" && !Object.hasOwn(object, nameOfBytes)) {
      stored[nameOfBytes] = Buffer.from(item).toString("base64");
    } else {
      stored[key] = makeStorable(item, depth + 1);
    }
  }
  return stored;
}

/** Valid Unicode text whose only fault is a NUL: its UTF-8 bytes say all of it. */
function isTextWithNul(value: Json): value is string {
  return typeof value === "string" && value.includes(NUL) && !LONE_SURROGATE.test(value);
}

/** Whether a reader would take an object of somebody's for a wrapper of ours. */
function isLikeWrapper(object: JsonObject, keys: readonly string[]): boolean {
  return keys.length === 1 && typeof object["jsonBase64"] === "string";
}

function wrapJson(value: Json): Json {
  return { jsonBase64: Buffer.from(stringifyDeep(value)).toString("base64") };
}

/** JSON text of a value of any depth: an engine's own stringify overflows its stack on some. */
function stringifyDeep(value: Json): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    if (error instanceof RangeError) return stringifyWithoutStack(value);
    throw error;
  }
}

/** As `JSON.stringify`, with the work that is left in a list instead of on the stack. */
function stringifyWithoutStack(root: Json): string {
  const written: string[] = [];
  const left: (string | { readonly value: Json | undefined })[] = [{ value: root }];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (typeof next === "string") {
      written.push(next);
      continue;
    }
    const { value } = next;
    if (typeof value !== "object" || value === null) {
      written.push(JSON.stringify(value ?? null));
      continue;
    }
    const isArray = Array.isArray(value);
    written.push(isArray ? "[" : "{");
    left.push(isArray ? "]" : "}");
    const entries = Object.entries(value as JsonObject).filter(
      ([, item]) => isArray || item !== undefined,
    );
    for (const [index, [key, item]] of [...entries.entries()].reverse()) {
      const comma = index === 0 ? "" : ",";
      left.push({ value: item }, isArray ? comma : `${comma}${JSON.stringify(key)}:`);
    }
  }
  return written.join("");
}

/** Cuts text to at most `bytesMax` bytes of UTF-8 without splitting a character. */
export function truncateText(
  text: string,
  bytesMax: number,
): { text: string; omittedBytes: number } {
  const bytes = Buffer.from(text);
  if (bytes.length <= bytesMax) return { text, omittedBytes: 0 };
  let end = bytesMax;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return { text: bytes.subarray(0, end).toString("utf8"), omittedBytes: bytes.length - end };
}
