import { describe, expect, it } from "vitest";
import { toEvent } from "./event-row.ts";

describe("toEvent", () => {
  it("reads a row as a subscriber of the table gets it", () => {
    const row = {
      id: "e",
      session_id: "s",
      seq: "9007199254740991",
      event_type: "error",
      event_data: { code: "deadline" },
      created_at: "2025-06-15T15:06:40.123Z",
    };
    expect(toEvent(row)).toEqual({
      id: "e",
      sessionId: "s",
      seq: 9_007_199_254_740_991,
      type: "error",
      data: { code: "deadline" },
      createdAt: new Date(1_750_000_000_123),
    });
    expect(toEvent({ ...row, seq: 2, created_at: new Date(0) })).toMatchObject({
      seq: 2,
      createdAt: new Date(0),
    });
  });
});
