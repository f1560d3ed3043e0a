import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Json, toStorable } from "../../../src/core/json.ts";
import { StoreHarness } from "./harness.ts";

let harness: StoreHarness;
beforeAll(async () => {
  harness = await StoreHarness.create({});
});
afterAll(() => harness.close());

/** What jsonb makes of a payload. */
async function store(payload: Json): Promise<Json> {
  const json = JSON.stringify(toStorable(payload));
  const [row] = (await harness.sql("select $1::jsonb::text as stored", [json])) as {
    stored: string;
  }[];
  return JSON.parse(row?.stored ?? "") as Json;
}

const anyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 6 }),
      fc.constantFrom("\u0000", "\ud800", "\udfff", "\\u0000", "\\", "\uffff"),
    ),
    { maxLength: 4 },
  )
  .map((parts) => parts.join(""));
const anyNumber = fc
  .double({ noNaN: true, noDefaultInfinity: true })
  .map((number) => (number === 0 ? 0 : number));
const anyJson = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { depthSize: "small" },
    anyText,
    anyNumber,
    fc.array(tie("json"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(anyText, fc.constantFrom("__proto__", "x", "xBase64")), tie("json"), {
      maxKeys: 4,
    }),
  ),
})).json;

describe("a payload made storable", () => {
  it("is taken by jsonb, whatever it was, and comes back the same", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyJson, { minLength: 20, maxLength: 20 }), async (payload) => {
        const expected = JSON.parse(JSON.stringify(toStorable(payload))) as Json;
        expect(await store(payload)).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  it("is taken at any depth, which jsonb itself would refuse", async () => {
    const text = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    await expect(harness.sql("select $1::jsonb", [text])).rejects.toThrow(/stack depth/);
    await expect(store(JSON.parse(text) as Json)).resolves.toBeTruthy();
  });
});
