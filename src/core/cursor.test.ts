import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatListCursor, parseListCursor, parseSeq } from "./cursor.ts";

const refused = expect.objectContaining({ code: "cursor_invalid" });

describe("parseSeq", () => {
  it.each([
    [undefined, 0],
    [null, 0],
    ["", 0],
    ["0", 0],
    ["42", 42],
    ["007", 7],
    ["999999999999999", 999_999_999_999_999],
  ])("reads %j as %d", (text, seq) => expect(parseSeq(text)).toBe(seq));

  it.each(["-1", "1.5", "1e3", " 1", "0x10", "NaN", "x", "1".repeat(16), "9".repeat(100_000)])(
    "refuses %.20j",
    (text) => expect(() => parseSeq(text)).toThrow(refused),
  );
});

const write = (text: string): string => Buffer.from(text).toString("base64url");

describe("a list cursor", () => {
  const anyCursor = fc.record({
    createdAt: fc.bigInt({ min: 0n, max: 99_999_999_999_999_999n }).map(String),
    id: fc.uuid(),
  });

  it("comes back as it was, to the microsecond, and fits into an address", () => {
    fc.assert(
      fc.property(anyCursor, (cursor) => {
        const text = formatListCursor(cursor);
        expect(text).toMatch(/^[\w-]+$/);
        expect(parseListCursor(text)).toEqual(cursor);
      }),
    );
  });

  const ID = "01234567-89ab-4cde-8f01-23456789abcd";

  it.each([
    "",
    "x",
    "%%%",
    write("1"),
    write(`1|${"-".repeat(36)}`),
    write(`-1|${ID}`),
    write(`1|${ID}x`),
    write(`${"1".repeat(18)}|${ID}`),
    write(`1|'; drop table x; --`),
  ])("refuses %j", (text) => expect(() => parseListCursor(text)).toThrow(refused));

  it("never fails in another way, whatever is sent", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        let thrown: unknown = null;
        try {
          parseListCursor(text);
        } catch (error) {
          thrown = error;
        }
        expect([null, refused]).toContainEqual(thrown);
      }),
    );
  });
});
