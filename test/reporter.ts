import type { TestCase, TestModule } from "vitest/node";
import type { Reporter } from "vitest/reporters";

/** How one test ended, as far as the closing line cares. `reason` is a skip's note or title. */
export interface Ending {
  readonly state: "passed" | "failed" | "skipped" | "pending";
  readonly title: string;
  readonly reason: string;
}

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Marks a skip for want of a program; `requireTool` writes it. */
const MISSING_TOOL = /\[needs [^\]]+\]/;

/**
 * Counts tests. Under continuous integration a test skipped for want of a program counts as failed:
 * there the programs are installed, and a skip would hide that a promise went unproved.
 * A test that never finished counts as failed too.
 */
export function tallyEndings(endings: readonly Ending[], isCi: boolean): Tally {
  const states = endings.map((ending) =>
    ending.state === "pending" || (isCi && lacksTool(ending)) ? "failed" : ending.state,
  );
  const count = (state: string) => states.filter((each) => each === state).length;
  return { passed: count("passed"), failed: count("failed"), skipped: count("skipped") };
}

/** The closing line of every run; programs read it. */
export function formatTally({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

function lacksTool({ state, reason }: Ending): boolean {
  return state === "skipped" && MISSING_TOOL.test(reason);
}

function endingOf(test: TestCase): Ending {
  const result = test.result();
  const note = result.state === "skipped" ? (result.note ?? "") : "";
  return { state: result.state, title: test.fullName, reason: note || test.fullName };
}

/** Names what was skipped for want of a program and closes the output with the tally. */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const endings = modules.flatMap((module) => Array.from(module.children.allTests(), endingOf));
    const tally = tallyEndings(endings, isCi());
    const unloaded = modules.filter((module) => hasOwnFailure(module)).length;
    const failed = tally.failed + unloaded + unhandledErrors.length;
    for (const ending of endings.filter(lacksTool)) {
      process.stdout.write(`${isCi() ? "FAILED" : "skipped"}: ${ending.title}: ${ending.reason}\n`);
    }
    if (failed > 0) process.exitCode = 1;
    // Vitest and the teardown still print after this hook; at exit nobody does.
    process.once("exit", () => process.stdout.write(`${formatTally({ ...tally, failed })}\n`));
  }
}

/** A file that did not load, or whose own hooks failed, has failed even if no test of it did. */
function hasOwnFailure(module: TestModule): boolean {
  if (module.errors().length > 0) return true;
  return Array.from(module.children.allSuites()).some((suite) => suite.errors().length > 0);
}

function isCi(): boolean {
  return /^(1|true)$/i.test(process.env["CI"] ?? "");
}
