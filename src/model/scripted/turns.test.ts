import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Script, ScriptStep } from "../../core/script.ts";
import { findFailure, groupTurns, scriptedUsage } from "./turns.ts";

const fail = (status: number, times: number): ScriptStep => ({ fail: { status, times } });

describe("groupTurns", () => {
  it("lets what stands before a call belong to its turn, and the rest be the closing turn", () => {
    const script: Script = [
      { think: "a" },
      { text: "b" },
      { bash: "ls" },
      { write: { path: "p", content: "c" } },
      { delayMs: 5 },
      { text: "d" },
      { text: "e" },
    ];
    expect(groupTurns(script)).toEqual([
      { failures: [], prose: [{ think: "a" }, { text: "b" }], call: { bash: "ls" } },
      { failures: [], prose: [], call: { write: { path: "p", content: "c" } } },
      { failures: [], prose: [{ delayMs: 5 }, { text: "d" }, { text: "e" }], call: null },
    ]);
  });

  it("has no closing turn when the script ends with a call", () => {
    expect(groupTurns([{ bash: "a" }, { read: { path: "b" } }])).toHaveLength(2);
  });

  it("keeps failures with the turn in which they stand", () => {
    const [first, second] = groupTurns([{ bash: "a" }, { text: "b" }, fail(529, 2), { bash: "c" }]);
    expect(first?.failures).toEqual([]);
    expect(second?.failures).toEqual([{ status: 529, times: 2 }]);
  });

  it("loses no step and changes no order", () => {
    const step = fc.oneof(
      fc.record({ bash: fc.string() }),
      fc.record({ text: fc.string() }),
      fc.record({ think: fc.string() }),
      fc.record({ delayMs: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(step), (script) => {
        const flat = groupTurns(script).flatMap((turn) => [
          ...turn.prose,
          ...(turn.call ? [turn.call] : []),
        ]);
        expect(flat).toEqual(script);
      }),
    );
  });
});

describe("findFailure", () => {
  it("fails each step its times, one after the other, and then no more", () => {
    const [turn] = groupTurns([fail(529, 2), fail(429, 1), { text: "x" }]);
    expect([0, 1, 2, 3, 9].map((failed) => turn && findFailure(turn, failed))).toEqual([
      529,
      529,
      429,
      null,
      null,
    ]);
  });
});

describe("scriptedUsage", () => {
  it("sums up to 3300 in and 150 out over three turns", () => {
    const usages = [0, 1, 2].map(scriptedUsage);
    expect(usages.reduce((sum, usage) => sum + usage.inputTokens, 0)).toBe(3_300);
    expect(usages.reduce((sum, usage) => sum + usage.outputTokens, 0)).toBe(150);
  });
});
