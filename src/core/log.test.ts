import { expect, it } from "vitest";
import { LOG_MESSAGES, silentLogger } from "./log.ts";

it("keeps the messages that dashboards and alerts are built on", () => {
  expect(LOG_MESSAGES).toEqual({
    transition: "Session state transition",
    completed: "Session completed",
    failed: "Session failed",
    expired: "Session expired",
  });
});

it("keeps silent when it is told to", () => {
  for (const level of ["debug", "info", "warn", "error"] as const) {
    expect(silentLogger[level]({ sessionId: "s" }, "x")).toBeUndefined();
  }
});
