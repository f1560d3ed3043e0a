import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { StintError } from "./error.ts";
import {
  assertTransition,
  isReasonFor,
  isSessionState,
  isTerminal,
  isValidTransition,
  REASON_CODES,
  REASONS,
  SESSION_STATES,
  type SessionState,
  VALID_TRANSITIONS,
} from "./state.ts";

const ALLOWED = new Set([
  "pending → active",
  "pending → expired",
  "active → paused",
  "active → completed",
  "active → failed",
  "active → expired",
  "paused → active",
  "paused → expired",
  "paused → failed",
]);

const PAIRS = SESSION_STATES.flatMap((from) => SESSION_STATES.map((to) => [from, to] as const));

function problemOf(step: () => void): unknown {
  try {
    step();
    return null;
  } catch (error) {
    const { code, message, fields } = error as StintError;
    return { code, message, fields };
  }
}

describe("the transition table", () => {
  it("has the six states and no seventh", () => {
    expect(SESSION_STATES).toEqual([
      "pending",
      "active",
      "paused",
      "completed",
      "failed",
      "expired",
    ]);
    expect(Object.keys(VALID_TRANSITIONS).sort()).toEqual([...SESSION_STATES].sort());
  });

  it.each(PAIRS)("decides %s → %s", (from, to) => {
    const isAllowed = ALLOWED.has(`${from} → ${to}`);
    expect(isValidTransition(from, to)).toBe(isAllowed);
    const refusal = {
      code: "illegal_transition",
      message: `Invalid state transition: ${from} → ${to}`,
      fields: { from, to },
    };
    expect(problemOf(() => assertTransition(from, to))).toEqual(isAllowed ? null : refusal);
  });

  it("refuses a step back with the text that users look for", () => {
    expect(() => assertTransition("active", "pending")).toThrow(
      "Invalid state transition: active → pending",
    );
  });

  it("lets nobody leave a terminal state", () => {
    expect(SESSION_STATES.filter(isTerminal)).toEqual(["completed", "failed", "expired"]);
  });

  it("knows a state from anything else", () => {
    expect(SESSION_STATES.every(isSessionState)).toBe(true);
    expect(["ACTIVE", "running", "", null, 1, "toString"].some(isSessionState)).toBe(false);
  });
});

describe("the reasons", () => {
  it.each(["active", "paused"] as const)("tells a reason of %s by the state alone", (state) => {
    const others = REASON_CODES.filter(
      (reason) => reason !== "external" && isReasonFor(reason, state),
    );
    expect(others.length).toBeGreaterThan(0);
    for (const reason of others) expect(REASONS[reason]).toEqual([state]);
  });

  it("gives every state that can be entered a reason of its own, pending only that of creation", () => {
    for (const state of SESSION_STATES) {
      expect(REASON_CODES.some((reason) => isReasonFor(reason, state))).toBe(true);
    }
    expect(REASON_CODES.filter((reason) => isReasonFor(reason, "pending"))).toEqual(["created"]);
  });

  it("allows an unnamed reason for every transition", () => {
    const entered = new Set(Object.values(VALID_TRANSITIONS).flat());
    expect(new Set(REASONS.external)).toEqual(entered);
  });

  it("lets a cancelled session expire when it never ran and fail when it did", () => {
    expect(REASONS.cancelled).toEqual(["expired", "failed"]);
  });
});

/** The texts of an SQL list. */
function readNames(list = ""): string[] {
  return [...list.matchAll(/'(\w+)'/g)].map(([, name]) => name ?? "");
}

describe("the guard of the database", () => {
  const sql = readFileSync(
    new URL("../../sql/migrations/000002_guard.sql", import.meta.url),
    "utf8",
  );

  it("holds the same transition table", () => {
    const rows = readCases("is_valid_transition", "p_to");
    const expected = SESSION_STATES.filter((state) => !isTerminal(state));
    expect([...rows.keys()]).toEqual(expected);
    for (const [from, to] of rows) expect(to).toEqual(VALID_TRANSITIONS[from as SessionState]);
  });

  it("holds the same reasons", () => {
    const rows = readCases("is_reason_for", "p_reason");
    const entered = SESSION_STATES.filter((state) => state !== "pending");
    expect([...rows.keys()]).toEqual(entered);
    for (const [to, reasons] of rows) {
      const ours = REASON_CODES.filter((reason) => isReasonFor(reason, to as SessionState));
      expect([...reasons].sort()).toEqual([...ours].sort());
    }
  });

  it("knows the same terminal states", () => {
    const list = /function stint\.is_terminal[^$]*\$\$[^(]*in \(([^)]*)\)/.exec(sql)?.[1];
    expect(readNames(list)).toEqual(SESSION_STATES.filter(isTerminal));
  });

  /** The rows of `when 'a' then p_x in ('b', …)` in one function. */
  function readCases(name: string, parameter: string): Map<string, string[]> {
    const body = new RegExp(`function stint\\.${name}\\([^$]*\\$\\$(.*?)\\$\\$`, "s").exec(
      sql,
    )?.[1];
    const row = new RegExp(`when '(\\w+)' then ${parameter} in \\(([^)]*)\\)`, "g");
    return new Map(
      [...(body ?? "").matchAll(row)].map(([, key, list]) => [key ?? "", readNames(list)]),
    );
  }
});
