import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { splitText } from "./answer.ts";

describe("splitText", () => {
  it("loses nothing and cuts no character in two", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), (text) => {
        const chunks = [...splitText(text)];
        expect(chunks.join("")).toBe(text);
        for (const chunk of chunks) expect(chunk).not.toMatch(/\p{Cs}/u);
      }),
    );
    expect([...splitText("x".repeat(15) + "🧭🧭")]).toEqual(["x".repeat(15) + "🧭", "🧭"]);
  });

  it("makes many chunks of a text, but not too many of a long one", () => {
    expect([...splitText("x".repeat(100))]).toHaveLength(7);
    expect([...splitText("x".repeat(1_000_000))]).toHaveLength(256);
    expect([...splitText("")]).toEqual([]);
  });
});
