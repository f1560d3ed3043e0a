import { describe, expect, it } from "vitest";
import { formatTally, tallyEndings, type Ending } from "./reporter.ts";

const passed: Ending = { state: "passed", title: "a", reason: "a" };
const failed: Ending = { state: "failed", title: "b", reason: "b" };
const skipped: Ending = { state: "skipped", title: "c", reason: "not on Windows" };
const toolless: Ending = {
  state: "skipped",
  title: "d",
  reason: "[needs bwrap] it is not installed",
};

describe("the closing tally", () => {
  it("counts tests by their ending", () => {
    const line = formatTally(tallyEndings([passed, passed, failed, skipped, toolless], false));
    expect(line).toBe("2 passed, 1 failed, 2 skipped");
  });

  it("counts a skip for want of a program as failed under continuous integration, others not", () => {
    const line = formatTally(tallyEndings([passed, skipped, toolless], true));
    expect(line).toBe("1 passed, 1 failed, 1 skipped");
  });

  it("counts a test that never finished as failed", () => {
    expect(tallyEndings([{ ...passed, state: "pending" }], false).failed).toBe(1);
  });
});
