import { describe, expect, it } from "vitest";
import type { Session } from "../client.ts";
import { formatInstant } from "./duration.ts";
import { describeRemedy, describeWait, needsPerson, nextCommand } from "./session-text.ts";

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
