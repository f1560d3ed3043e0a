import { describe, expect, it } from "vitest";
import { StintError } from "./error.ts";
import { parseScript, SCRIPT_BYTES_MAX, SCRIPT_STEPS_MAX, scriptSchema } from "./script.ts";

const EVERY_STEP = [
  { think: "Look first." },
  { bash: "ls" },
  { write: { path: "a.txt", content: "" } },
  { edit: { path: "a.txt", find: "a", replace: "" } },
  { read: { path: "a.txt" } },
  { delayMs: 600_000 },
  { fail: { status: 529, times: 2 } },
  { text: "Done." },
];

function problemOf(input: unknown): StintError {
  try {
    parseScript(input);
  } catch (error) {
    if (error instanceof StintError) return error;
    throw error;
  }
  throw new Error("the script was accepted");
}

describe("parseScript", () => {
  it("accepts every kind of step, and its own result again", () => {
    const script = parseScript(EVERY_STEP);
    expect(script).toEqual(EVERY_STEP);
    expect(parseScript(script)).toEqual(script);
    expect(scriptSchema.parse(EVERY_STEP)).toEqual(script);
  });

  it("lets a failing step fail once where it does not say how often", () => {
    expect(parseScript([{ fail: { status: 429 } }])).toEqual([{ fail: { status: 429, times: 1 } }]);
  });

  it.each([
    ["no array", { bash: "ls" }, /is a JSON array/],
    ["a text", "ls", /is a JSON array/],
    ["no steps", [], /no steps/],
    ["too many steps", Array(SCRIPT_STEPS_MAX + 1).fill({ text: "x" }), /1001 steps.*1000/],
    ["too many bytes", [{ text: "x".repeat(SCRIPT_BYTES_MAX) }], /bytes; the limit is 1048576/],
  ])("refuses %s, with an example", (_name, input, message) => {
    const problem = problemOf(input);
    expect(problem.code).toBe("script_invalid");
    expect(problem.message).toMatch(message);
    expect(problem.message).toContain('Example: [{"think"');
  });

  it.each([
    ["a step that is no object", "ls", /must be an object with one of bash, write/],
    ["a hole", undefined, /must be an object/],
    ["an empty step", {}, /exactly one of .*; it has none/],
    ["two keys", { bash: "ls", text: "x" }, /it has "bash", "text"/],
    ["an unknown key", { shell: "ls" }, /it has "shell"/],
    ["a key of the prototype", JSON.parse('{"__proto__":"x"}'), /it has "__proto__"/],
    ["an empty command", { bash: "" }, /bash: must not be empty/],
    ["a command with NUL", { bash: "a\u0000" }, /bash: must not hold a NUL/],
    ["half of a surrogate pair", { text: "\ud800" }, /text: must not hold/],
    ["a missing path", { write: { content: "x" } }, /write\.path: /],
    ["an unknown property", { read: { path: "a", lines: 3 } }, /read: .*lines/],
    ["a delay that is too long", { delayMs: 600_001 }, /delayMs: .*600000/],
    ["a broken delay", { delayMs: 0.5 }, /delayMs: /],
    ["a status that is no failure", { fail: { status: 200 } }, /fail\.status: .*400/],
    ["no times", { fail: { status: 500, times: 0 } }, /fail\.times: /],
  ])("refuses %s and names the step", (_name, step, message) => {
    const problem = problemOf([{ text: "fine" }, step]);
    expect(problem.message).toMatch(/^Step 1 of the script/);
    expect(problem.message).toMatch(message);
    expect(problem.message).toContain("Example: ");
    expect(problem.fields).toEqual({ step: 1 });
  });
});
