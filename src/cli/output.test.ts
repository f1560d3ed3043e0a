import { describe, expect, it } from "vitest";
import { makeEvent } from "../client/fake-server.testsuite.ts";
import { StintError } from "../core/error.ts";
import { Output, wantsColor, type OutputOptions } from "./output.ts";

function open(options: Partial<OutputOptions> = {}) {
  const written = { stdout: "", stderr: "" };
  const output = new Output({
    stdout: { write: (text) => (written.stdout += text) },
    stderr: { write: (text) => (written.stderr += text) },
    json: false,
    quiet: false,
    color: false,
    columns: 80,
    ...options,
  });
  return { output, written };
}

const EVENT = makeEvent("s", 1, "completion", { message: "Done" });

describe("Output", () => {
  it("speaks to people in lines", () => {
    const { output, written } = open();
    output.step("database", "embedded", 400);
    output.event("ready", { url: "http://x" });
    output.line("hello");
    output.document({ a: 1 });
    output.sessionEvent(EVENT);
    const time = /\d\d:\d\d:\d\d/;
    expect(written.stdout.replace(time, "TIME")).toBe(
      "  ✓ database   embedded  400ms\nhello\nTIME ✓ Done\n",
    );
  });

  it("speaks to machines in JSON lines", () => {
    const { output, written } = open({ json: true });
    output.step("database", "embedded", 400);
    output.event("ready", { url: "http://x", token: "t" });
    output.line("hello");
    output.sessionEvent(EVENT);
    const lines = written.stdout.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { msg: "step", step: "database", detail: "embedded", ms: 400 },
      { msg: "ready", url: "http://x", token: "t" },
      EVENT,
    ]);
  });

  it("leaves nothing beside the document of a read", () => {
    const { output, written } = open({ json: true });
    const read = output.withoutEvents();
    read.event("progress", { step: "starting" });
    read.step("database", "embedded");
    read.document({ url: "u" });
    expect(JSON.parse(written.stdout)).toEqual({ url: "u" });
  });

  it("says of an error what, why and what next, without a stack", () => {
    const { output, written } = open();
    const problem = output.error(new StintError("port_taken", "port 4700 is in use\u001B[2J"));
    expect(problem.exitCode).toBe(3);
    expect(written.stderr).toBe(
      "✕ port 4700 is in use (port_taken)\n" +
        "  next: Choose another port, or leave --port out for the next free one.\n",
    );
    output.error(new TypeError("oops"));
    expect(written.stderr).toContain("✕ oops (internal)");
    expect(written.stderr).not.toMatch(/\n\s+at /);
  });

  it("keeps results and errors when quiet", () => {
    const { output, written } = open({ quiet: true });
    output.line("hello");
    output.notice("by the way");
    output.step("database", "embedded");
    output.result("7f3a");
    expect(written).toEqual({ stdout: "7f3a\n", stderr: "" });
  });

  it.each([
    [{}, true, true, true],
    [{}, false, true, false],
    [{ NO_COLOR: "1" }, true, true, false],
    [{ NO_COLOR: "" }, true, true, true],
    [{ FORCE_COLOR: "1" }, false, true, true],
    [{ FORCE_COLOR: "1" }, false, false, false],
    [{ TERM: "dumb" }, true, true, false],
  ])("decides on colour: %j, terminal %s, flag %s", (env, isTerminal, flag, expected) => {
    expect(wantsColor(env, isTerminal, flag)).toBe(expected);
  });

  it("colours where it is wanted", () => {
    expect(open({ color: true }).output.style("red", "x")).toBe("\u001B[31mx\u001B[39m");
  });
});
