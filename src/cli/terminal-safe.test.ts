import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toSafeLine, toSafeText } from "./terminal-safe.ts";

const ESC = "\u001B";
const COLOUR = new RegExp(`${ESC}\\[[0-9;]+m`, "g");
/** Everything that a terminal acts on, or that turns or hides text. */
const UNSAFE = new RegExp(
  [
    "(?![\\n\\t])\\p{Cc}|\\p{Surrogate}|[\\u{E0000}-\\u{E007F}]",
    "[\\u061C\\u200B\\u200E\\u200F\\u2028-\\u202E\\u2060-\\u206F\\uFEFF\\uFFF9-\\uFFFB]",
  ].join("|"),
  "u",
);

const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ESC,
        `${ESC}[`,
        `${ESC}]0;`,
        `${ESC}P`,
        "\u0007",
        "\u009B",
        "\u009D",
        "\u009C",
        "31",
        "m",
        "8",
        ";",
        ":",
        "38;5;",
        "2J",
        "H",
        "\\",
        "\r",
        "\n",
        "\u202E",
        "\uD800",
        "\uDC00",
        "text",
      ),
      fc.string({ unit: "binary", maxLength: 4 }),
      fc.string({ unit: "grapheme", maxLength: 4 }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(""));

describe("toSafeText", () => {
  it("lets nothing pass that a terminal acts on", () => {
    fc.assert(
      fc.property(hostile, (text) => {
        expect(toSafeText(text)).not.toMatch(UNSAFE);
      }),
      { numRuns: 2_000 },
    );
  });

  it("with colour lets nothing pass but complete colour sequences, and resets them", () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const safe = toSafeText(text, { color: true });
        expect(safe.replace(COLOUR, "")).not.toMatch(UNSAFE);
        const isColoured = safe.includes(ESC);
        expect(!isColoured || safe.endsWith(`${ESC}[0m`)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it("does not put a sequence together from what it leaves of others", () => {
    const inner = `${ESC}${ESC}[2J[2J`;
    expect(toSafeText(inner, { color: true })).toBe("\u241B[2J");
    expect(toSafeText(`${ESC}${ESC}[0m[31m`, { color: true })).toBe(`\u241B${ESC}[0m[31m${ESC}[0m`);
  });

  it.each([
    ["plain", "äöü 日本 👩‍👧 \t x\ny", "äöü 日本 👩‍👧 \t x\ny"],
    ["title", `a${ESC}]0;owned\u0007b`, "ab"],
    ["clipboard", `a${ESC}]52;c;ZXZpbA==${ESC}\\b`, "ab"],
    ["hyperlink", `${ESC}]8;;http://evil${ESC}\\click${ESC}]8;;${ESC}\\`, "click"],
    ["cursor", `a${ESC}[2J${ESC}[Hb${ESC}[1A`, "ab"],
    ["without an end", `a${ESC}]0;title`, "a\u241B]0;title"],
    ["C1", "a\u009B31mb", "a<009B>31mb"],
    ["bidi", "if \u202E{ evil", "if <202E>{ evil"],
    ["progress", "10%\r20%\r\ndone", "10%\n20%\ndone"],
    ["bell and backspace", "a\u0007\bb\u0000\u007F", "a\u2407\u2408b\u2400\u2421"],
    ["half a pair", "a\uD800b", "a\uFFFDb"],
    ["colour without permission", `${ESC}[31mred${ESC}[0m`, "red"],
  ])("makes %s safe", (_, text, safe) => expect(toSafeText(text)).toBe(safe));

  it.each([
    ["31", "31"],
    ["1;31", "1;31"],
    ["38;5;8", "38;5;8"],
    ["38;2;1;2;3;8", "38;2;1;2;3"],
    ["38:5:200", "38;5;200"],
    ["", "0"],
  ])("keeps the style %j as %j", (given, kept) => {
    const text = toSafeText(`${ESC}[${given}mx`, { color: true });
    expect(text).toBe(`${ESC}[${kept}mx${ESC}[0m`);
  });

  it.each(["8", "5", "38;5", "38;5;999", "38;9;1", "11"])("drops the style %j", (given) => {
    expect(toSafeText(`${ESC}[${given}mx`, { color: true })).toBe("x");
  });

  it("is fast on long hostile text", () => {
    const text = `${ESC}]`.repeat(100_000) + `${ESC}[`.repeat(100_000) + "\u202E".repeat(100_000);
    expect(toSafeText(text).length).toBeGreaterThan(100_000);
  });
});

describe("toSafeLine", () => {
  it("makes one line of many", () => {
    expect(toSafeLine(` a\r\n\tb${ESC}[31m c\u2028d `)).toBe("a b c<2028>d");
  });
});
