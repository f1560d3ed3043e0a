import { describe, expect, it } from "vitest";
import { applyEdit } from "./exact-edit.ts";

describe("applyEdit", () => {
  it("replaces the one place, with no special meaning of any character", () => {
    expect(applyEdit("a.b\nc", { find: ".", replace: "$&$1" })).toEqual({
      text: "a$&$1b\nc",
      count: 1,
    });
  });

  it("replaces every place when asked to", () => {
    expect(applyEdit("aaa", { find: "a", replace: "b", all: true })).toEqual({
      text: "bbb",
      count: 3,
    });
  });

  it("refuses a text that stands at several places and names their lines", () => {
    expect(() => applyEdit("x\ny\nx\n", { find: "x", replace: "z" })).toThrow(
      "find stands at 2 places (lines 1, 3)",
    );
  });

  it.each([
    ["a\r\nb\r\n", "a\nb", "CRLF"],
    ["one\n", "     1\tone", "line numbers"],
    ["if (a) {\n\tb\n}", "if (a) {\n  b\n}", "spaces, tabs or line breaks differ"],
    ["a", "b", "may have changed"],
  ])("says what may be wrong when %j does not hold %j", (text, find, hint) => {
    expect(() => applyEdit(text, { find, replace: "" })).toThrow(hint);
  });

  it("refuses to replace a text by itself", () => {
    expect(() => applyEdit("a", { find: "a", replace: "a" })).toThrow("nothing to do");
  });
});
