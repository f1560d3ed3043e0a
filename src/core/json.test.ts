import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeOutput,
  isStorableText,
  type Json,
  JSON_DEPTH_MAX,
  type JsonObject,
  toStorable,
  truncateText,
} from "./json.ts";

/** The inverse of `toStorable`, as a reader writes it. */
function fromStorable(stored: Json): Json {
  if (stored === null || typeof stored !== "object") return stored;
  if (Array.isArray(stored)) return stored.map((item: Json) => fromStorable(item));
  const entries = Object.entries(stored as JsonObject);
  const [only] = entries;
  if (entries.length === 1 && only?.[0] === "jsonBase64" && typeof only[1] === "string") {
    return JSON.parse(Buffer.from(only[1], "base64").toString()) as Json;
  }
  const object = Object.create(null) as Record<string, Json>;
  for (const [key, item] of entries) {
    const text = key.endsWith("Base64") && typeof item === "string" ? readNulText(item) : null;
    if (text === null) object[key] = fromStorable(item as Json);
    else object[key.slice(0, -"Base64".length)] = text;
  }
  return object;
}

/** The text of a `…Base64` property, or null when it is a property that came with that name. */
function readNulText(base64: string): string | null {
  const bytes = Buffer.from(base64, "base64");
  const text = bytes.toString();
  const isOurs = bytes.includes(0) && bytes.toString("base64") === base64;
  return isOurs && Buffer.from(text).equals(bytes) ? text : null;
}

/** As it looks after a trip through JSON text: the equality that a reader can see. */
const seen = (value: Json): string => JSON.stringify(sortKeys(value));

function sortKeys(value: Json): Json {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item: Json) => sortKeys(item));
  const entries = Object.entries(value as JsonObject).sort(([a], [b]) => (a < b ? -1 : 1));
  const sorted = Object.create(null) as Record<string, Json | undefined>;
  for (const [key, item] of entries) sorted[key] = item === undefined ? item : sortKeys(item);
  return sorted;
}

function* walkTexts(value: Json): Generator<string> {
  if (typeof value === "string") yield value;
  if (value === null || typeof value !== "object") return;
  for (const [key, item] of Object.entries(value)) {
    yield key;
    yield* walkTexts(item as Json);
  }
}

function depthOf(value: Json): number {
  if (value === null || typeof value !== "object") return 0;
  return 1 + Math.max(0, ...Object.values(value).map((item) => depthOf(item as Json)));
}

/** What an agent may say: any UTF-16, with the nasty characters often. */
const anyText = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.string({ unit: "binary", maxLength: 6 }) },
      fc.constantFrom("\u0000", "\ud800", "\udfff", "\ufffd", "😀", "Base64", "\ufeff"),
    ),
    { maxLength: 5 },
  )
  .map((parts) => parts.join(""));
const anyKey = fc.oneof(
  anyText,
  fc.constantFrom("__proto__", "constructor", "x", "xBase64", "json", "jsonBase64", "toJSON", ""),
);
const anyNumber = fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }));
const anyJson: fc.Arbitrary<Json> = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    anyText,
    fc.constant(null),
    fc.boolean(),
    anyNumber,
    fc.array(tie("json"), { maxLength: 4 }),
    fc.dictionary(anyKey, tie("json"), { maxKeys: 4 }),
  ),
})).json;

const nest = (pairs: number, inner: string): string =>
  '{"a":['.repeat(pairs) + inner + "]}".repeat(pairs);

describe("toStorable", () => {
  it("keeps any JSON reversibly, and in a form that a database text can hold", () => {
    fc.assert(
      fc.property(anyJson, (value) => {
        const stored = JSON.parse(JSON.stringify(toStorable(value))) as Json;
        expect(seen(fromStorable(stored))).toBe(seen(value));
        for (const text of walkTexts(stored)) expect(isStorableText(text)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("leaves storable JSON as it is", () => {
    const value = { a: [1, "é😀\ufffd", null, { b: true }], outputBase64: "aGk=", c: "" };
    expect(toStorable(value)).toEqual(value);
  });

  it("says a text with NUL in base64 under a name that tells", () => {
    expect(toStorable({ output: "a\u0000é" })).toEqual({ outputBase64: "YQDDqQ==" });
  });

  it("overwrites no property that has the name already", () => {
    const value = { xBase64: "kept", x: "a\u0000" };
    const stored = toStorable(value) as JsonObject;
    expect(stored["xBase64"]).toBe("kept");
    expect(seen(fromStorable(stored))).toBe(seen(value));
  });

  it("keeps a key named __proto__ without touching a prototype", () => {
    const value = JSON.parse('{"__proto__": {"polluted": true}, "a": {"__proto__": 1}}') as Json;
    const stored = toStorable(value) as JsonObject;
    expect(JSON.stringify(stored)).toBe('{"__proto__":{"polluted":true},"a":{"__proto__":1}}');
    expect(({} as JsonObject)["polluted"]).toBeUndefined();
  });

  it.each([
    ["in an array", ["a\u0000"]],
    ["in a key", { "a\u0000": 1 }],
    ["by itself", "a\u0000"],
    ["half of a pair in a property", { x: "\ud83d" }],
    ["half of a pair beside a NUL", { x: "\ud83d\u0000" }],
    ["an object like a wrapper", { jsonBase64: "aGk=" }],
    ["a property json, whose bytes would look like a wrapper", { json: "1\u0000" }],
  ] satisfies [string, Json][])("wraps what has no name of its own: %s", (_, value) => {
    const stored = toStorable(value);
    expect(JSON.stringify(stored)).toContain("jsonBase64");
    expect(seen(fromStorable(stored))).toBe(seen(value));
  });

  it("writes numbers that JSON lacks as null, and drops what is undefined", () => {
    const value = { a: Number.NaN, b: Number.POSITIVE_INFINITY, c: undefined, d: -0 };
    expect(JSON.stringify(toStorable(value))).toBe('{"a":null,"b":null,"d":0}');
  });

  it.each([JSON_DEPTH_MAX - 2, JSON_DEPTH_MAX, JSON_DEPTH_MAX + 2, 3_000, 200_000])(
    "bounds a nesting of %d levels and loses none of it",
    (levels) => {
      const text = nest(levels / 2, '"\\u0000"');
      const stored = toStorable(JSON.parse(text) as Json);
      expect(depthOf(stored)).toBeLessThanOrEqual(JSON_DEPTH_MAX + 1);
      const inner = Buffer.from(findWrapper(stored).jsonBase64, "base64").toString();
      expect(nest(Math.min(levels, JSON_DEPTH_MAX) / 2, inner) === text).toBe(true);
    },
  );

  it("takes ten megabytes of one line without trouble", () => {
    const value = { output: "x".repeat(10_000_000), other: `${"y".repeat(10_000_000)}\u0000` };
    const stored = toStorable(value) as JsonObject;
    expect(Object.keys(stored)).toEqual(["output", "otherBase64"]);
  });
});

function findWrapper(value: Json): { jsonBase64: string } {
  let at = value as Record<string, Json>;
  while (typeof at["jsonBase64"] !== "string") at = Object.values(at)[0] as Record<string, Json>;
  return at as { jsonBase64: string };
}

function readBack({ output, outputBase64 }: Record<string, string>): Buffer {
  return output === undefined ? Buffer.from(outputBase64 ?? "", "base64") : Buffer.from(output);
}

describe("decodeOutput", () => {
  it("keeps any bytes, as storable text where they are that", () => {
    const anyBytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      anyText.map((text) => new Uint8Array(Buffer.from(text))),
    );
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const decoded = decodeOutput("output", bytes);
        expect(readBack(decoded).equals(bytes)).toBe(true);
        expect(Object.keys(decoded)).toHaveLength(1);
        expect(Object.values(decoded).every(isStorableText)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["plain text", Buffer.from("total 4\n"), "output"],
    ["a replacement character that was there", Buffer.from("a\ufffdb"), "output"],
    ["a byte order mark", Buffer.from("\ufeffa"), "output"],
    ["nothing", Buffer.alloc(0), "output"],
    ["a NUL", Buffer.from("a\u0000b"), "outputBase64"],
    ["a broken byte", Buffer.from([0x61, 0xff]), "outputBase64"],
    ["a broken byte beside a true U+FFFD", Buffer.from([0xef, 0xbf, 0xbd, 0xff]), "outputBase64"],
    ["half of a pair in three bytes", Buffer.from([0xed, 0xa0, 0x80]), "outputBase64"],
    ["half a character", Buffer.from("é").subarray(0, 1), "outputBase64"],
  ])("gives %s its field", (_, bytes, field) => {
    expect(Object.keys(decodeOutput("output", bytes))).toEqual([field]);
  });

  it("reads only its own part of a larger buffer", () => {
    const large = Buffer.from("xxhixx");
    expect(decodeOutput("output", large.subarray(2, 4))).toEqual({ output: "hi" });
  });
});

describe("truncateText", () => {
  it("splits no character, stays within the bound and counts what it left out", () => {
    const wholeText = fc.string({ unit: "grapheme", maxLength: 30 });
    fc.assert(
      fc.property(wholeText, fc.nat(80), (text, bytesMax) => {
        const { text: kept, omittedBytes } = truncateText(text, bytesMax);
        expect(text.startsWith(kept)).toBe(true);
        expect(isStorableText(kept.replaceAll("\u0000", ""))).toBe(true);
        expect(Buffer.byteLength(kept)).toBeLessThanOrEqual(Math.max(bytesMax, 0));
        expect(Buffer.byteLength(kept) + omittedBytes).toBe(Buffer.byteLength(text));
        const [next = ""] = text.slice(kept.length);
        const hasRoom = Buffer.byteLength(kept + next) <= bytesMax;
        expect(hasRoom && omittedBytes > 0).toBe(false);
      }),
    );
  });

  it("leaves a short text alone", () => {
    expect(truncateText("😀", 4)).toEqual({ text: "😀", omittedBytes: 0 });
    expect(truncateText("😀", 3)).toEqual({ text: "", omittedBytes: 4 });
  });
});
