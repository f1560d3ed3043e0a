import { describe, expect, it } from "vitest";
import type { Session } from "../client.ts";
import { formatInstant } from "./duration.ts";
import {
  describeBudget,
  describeRemedy,
  describeWait,
  needsPerson,
  nextCommand,
} from "./session-text.ts";

const NOW = Date.parse("2025-11-08T11:30:00");
const AT = "2025-11-08T12:03:00";

const away = (parts: Partial<Session> = {}): Session =>
  ({
    ...{ status: "paused", reason: "backoff", waitingFor: null, resumeAt: AT },
    error: { code: "model_unavailable", message: "The provider answered HTTP 429: slow down" },
    ...parts,
  }) as unknown as Session;

describe("a session that waits by itself", () => {
  it("says for what, until when and why", () => {
    expect(describeWait(away(), NOW)).toBe("the model until 12:03 (429)");
    const error = { code: "database_unavailable", message: "no answer" };
    expect(describeWait(away({ error }), NOW)).toBe("the database until 12:03");
    expect(describeWait(away({ error: null }), NOW)).toBe("another try until 12:03");
  });

  it("asks nothing of a person, unless somebody holds it or its time is over", () => {
    expect([needsPerson(away()), nextCommand(away())]).toEqual([false, null]);
    const held = away({ resumeAt: null });
    expect([needsPerson(held), describeWait(held, NOW)]).toEqual([true, null]);
    expect(describeWait(away({ reason: "shutdown" }), NOW)).toBeNull();
    expect(describeWait(away({ status: "active" }), NOW)).toBeNull();
  });
});

describe("a session that has used up a budget", () => {
  const stats = { inputTokens: 2_000, outputTokens: 100, costUsd: 0.5, modelCalls: 2 };
  const spent = (limits: object, code: string): Session =>
    away({
      ...{ id: "7f3a1c", reason: "budget_reached", resumeAt: null },
      error: { code, message: "…" },
      limits: { tokensMax: null, costUsdMax: null, modelCallsMax: null, ...limits },
      stats,
    } as Partial<Session>);

  it("says what it has spent of which limit, and how to raise that", () => {
    const session = spent({ tokensMax: 2_000, modelCallsMax: 9 }, "budget_reached");
    expect(describeBudget(session)).toBe("2100 of 2000 tokens · 2 of 9 model calls");
    expect(nextCommand(session)).toBe("stint resume 7f3a1c --max-tokens 4000");
    const dollars = spent({ costUsdMax: 0.4 }, "budget_reached");
    expect(describeBudget(dollars)).toBe("$0.5000 of $0.4");
    expect(nextCommand(dollars)).toBe("stint resume 7f3a1c --max-cost 0.8");
    expect(describeBudget(spent({}, "budget_reached"))).toBeNull();
  });

  it("is led to the prices where one is not known: no budget would help", () => {
    const next = nextCommand(spent({ costUsdMax: 1 }, "price_unknown"));
    expect(next).toMatch(/in prices .* then stint resume 7f3a1c$/);
    expect(next).not.toContain("--max-cost");
  });
});

it("names the day of an instant that is not near", () => {
  expect(formatInstant(AT, NOW)).toBe("12:03");
  expect(formatInstant(AT, NOW - 2 * 86_400_000)).toBe("Nov 08 12:03");
  expect(formatInstant("soon", NOW)).toBe("soon");
});

const ended = (code: string, status = "failed"): Session =>
  ({ id: "7f3a1c", status, error: { code, message: "x" } }) as unknown as Session;

describe("a session that has ended badly", () => {
  it("says what can be done about it, with its own id", () => {
    expect(describeRemedy(ended("agent_version"))).toMatch(/Install the version/);
    expect(describeRemedy(ended("agent_error"))).toContain("`stint logs 7f3a1c`");
    expect(describeRemedy(ended("deadline", "expired"))).toContain("limits.deadlineMs");
  });

  it("says nothing where nothing is known, or is over", () => {
    expect(describeRemedy(ended("made_up"))).toBeNull();
    expect(describeRemedy(ended("constructor"))).toBeNull();
    expect(describeRemedy(ended("agent_crashed", "active"))).toBeNull();
    expect(describeRemedy({ ...ended("x"), error: null })).toBeNull();
  });
});
