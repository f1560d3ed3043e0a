import { expect, it } from "vitest";
import { suggestName } from "./suggestion.ts";

const KNOWN = ["builtin", "command", "acp"];

it.each([
  ["buildin", "builtin"],
  ["BUILTIN", "builtin"],
  ["bultn", "builtin"],
  ["comand", "command"],
  ["apc", "acp"],
])("takes %s for a slip of %s", (written, name) => {
  expect(suggestName(written, KNOWN)).toBe(name);
});

it.each(["", "claude-code", "x".repeat(7)])("does not guess at %j", (written) => {
  expect(suggestName(written, KNOWN)).toBeNull();
});

it("prefers the nearest name, and the first of equals", () => {
  expect(suggestName("aab", ["abb", "aab"])).toBe("aab");
  expect(suggestName("ab", ["ax", "ay"])).toBe("ax");
});

it("spends no time on what is far too long", () => {
  expect(suggestName("builtin".repeat(1_000_000), KNOWN)).toBeNull();
});
