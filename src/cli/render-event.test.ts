import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeEvent } from "../client/fake-server.testsuite.ts";
import type { SessionEvent } from "../client.ts";
import type { JsonObject } from "../core/json.ts";
import { EventRenderer } from "./render-event.ts";

const plain = (_: unknown, text: string) => text;
const makeRenderer = () => new EventRenderer({ style: plain, color: false });

/** The lines of these events without the column of times. */
function render(...events: [SessionEvent["type"], JsonObject][]): string[] {
  const renderer = makeRenderer();
  return events.flatMap(([type, data], index) =>
    renderer.render(makeEvent("s", index + 1, type, data)).map((line) => line.slice(9)),
  );
}

const piece = (data: JsonObject): [SessionEvent["type"], JsonObject] => [
  "terminal",
  { command: "make", callId: "a", final: false, ...data },
];

const end = (data: JsonObject): string[] =>
  render(["terminal", { callId: "a", output: "", exitCode: null, final: true, ...data }]);

describe("EventRenderer", () => {
  it("shows the life of a session", () => {
    expect(
      render(
        ["user_message", { text: "Fix it\nplease" }],
        ["state_changed", { from: "pending", to: "active", reason: "started", epoch: 1 }],
        ["thinking", { iteration: 1, toolsUsed: ["bash"] }],
        ["thinking", { iteration: 2, toolsUsed: [], text: "I see", reasoning: "hm" }],
        [
          "file_change",
          { path: "a.ts", action: "modified", diff: "--- a\n+++ b\n@@ -1 +1,2 @@\n-x\n+y\n+z" },
        ],
        ["file_change", { path: "b", oldPath: "c", action: "renamed" }],
        ["tool", { callId: "1", name: "read", input: { path: "a" }, status: "finished" }],
        ["tool", { callId: "2", name: "read", isError: true }],
        ["error", { code: "model_error", message: "no answer" }],
        ["error", { code: "model_unavailable", message: "busy", retryAt: "2025-11-08T12:03:00" }],
        [
          "state_changed",
          { from: "active", to: "paused", reason: "backoff", error: { message: "HTTP 429" } },
        ],
        ["completion", { message: "Done" }],
      ),
    ).toEqual([
      "› Fix it",
      "  please",
      "● pending → active  started",
      "· step 1: bash",
      "… hm",
      "· I see",
      "M a.ts +2 −1",
      "│ -x",
      "│ +y",
      "│ +z",
      "R c → b",
      '◇ read {"path":"a"}',
      "◇ read   failed",
      "✕ model_error: no answer",
      "… waits until 12:03: model_unavailable: busy",
      "● active → paused  backoff: HTTP 429",
      "✓ Done",
    ]);
  });

  it("joins pieces of output into lines, per command", () => {
    expect(
      render(
        ["terminal", { command: "npm test", output: "one\ntw", callId: "a", final: false }],
        ["terminal", { command: "ls", output: "x", callId: "b", final: false }],
        ["terminal", { output: "o\nthr", callId: "a", final: false }],
        ["terminal", { output: "ee", callId: "a", final: true, exitCode: 2, omittedBytes: 7 }],
        ["terminal", { callId: "b", final: true, exitCode: 0, error: "timed out" }],
      ),
    ).toEqual([
      "$ npm test",
      "│ one",
      "$ ls",
      "│ two",
      "│ three",
      "│ … 7 bytes of output left out",
      "│ exit code 2",
      "│ x",
      "│ timed out",
    ]);
  });

  it("shows what a command writes to stderr as it comes, apart from its stdout, and as safe text", () => {
    expect(
      render(
        piece({ output: "building\nhal" }),
        piece({ output: "", error: "a.c:1: no such \u001B]0;x\u0007fi" }),
        piece({ output: "f\n", error: "le\u001B[2J\nstop" }),
        piece({ errorBase64: Buffer.from([0xff, 0x00]).toString("base64") }),
        [
          "terminal",
          { callId: "a", output: "", error: "it was interrupted", exitCode: 2, final: true },
        ],
      ),
    ).toEqual([
      "$ make",
      "│ building",
      "│ half",
      "┃ a.c:1: no such file",
      "┃ stop\uFFFD\u2400",
      "│ it was interrupted",
      "│ exit code 2",
    ]);
  });

  it("says that an exit code is not known, instead of nothing", () => {
    expect(end({ exitCodeKnown: false })).toEqual(["│ ended; exit code not told"]);
    expect(end({ isError: true })).toEqual(["│ failed, as the agent says; exit code not told"]);
    expect(end({ agentExitCode: 0 })).toEqual(["│ exit code not known; the agent says 0"]);
    expect(end({ error: "ended by SIGKILL" })).toEqual(["│ ended by SIGKILL"]);
    expect(end({ exitCode: 0 })).toEqual([]);
  });

  it("says of a changed file that it is binary", () => {
    expect(render(["file_change", { path: "a.dat", action: "created", binary: true }])).toEqual([
      "A a.dat binary",
    ]);
  });

  it("shows bytes that are no text, and a long line that does not end", () => {
    const outputBase64 = Buffer.from([0x61, 0xff, 0x00, 0x62]).toString("base64");
    expect(render(["terminal", { outputBase64 }])).toEqual(["│ a\uFFFD\u2400b"]);
    const long = "x".repeat(10_000);
    expect(render(["terminal", { output: long, callId: "a", final: false }])).toEqual([
      `│ ${long}`,
    ]);
  });

  it("keeps the colours of output where colour is wanted, each within its line", () => {
    const renderer = new EventRenderer({ style: plain, color: true });
    const output = "a\u001B[31mred\u001B[0m\n\n\u001B[2Jb\n";
    const lines = renderer.render(makeEvent("s", 1, "terminal", { output }));
    const reset = "\u001B[0m";
    expect(lines.map((line) => line.slice(9))).toEqual([
      `│ a\u001B[31mred${reset}${reset}`,
      "│",
      "│ b",
    ]);
  });

  it("shows of a question what would be done beside the agent's word for it", () => {
    const asked = { permissionId: "p", status: "requested", title: "deploy", tool: "execute" };
    const input = { command: "./deploy.sh\u001B[2J --all" };
    expect(render(["permission", { ...asked, input, paths: ["a"] }])).toEqual([
      "◆ asks leave: deploy",
      "  execute: ./deploy.sh --all",
    ]);
    const edit = { ...asked, tool: "write_file", input: { content: "x" }, paths: ["a.txt", "b"] };
    expect(render(["permission", edit])[1]).toBe("  write_file: a.txt, b");
    expect(render(["permission", asked])[1]).toBe("  execute");
  });

  it("tells a person's no from the silence of all", () => {
    const answer = { permissionId: "p", status: "denied", title: "deploy", tool: "execute" };
    expect(
      render(
        ["permission", { ...answer, by: "user", note: "Not now." }],
        ["permission", { ...answer, by: "expiry" }],
        ["permission", { ...answer, by: "expiry", status: "allowed" }],
      ),
    ).toEqual([
      "◆ denied: deploy · Not now.",
      "◆ nobody answered in time, denied: deploy",
      "◆ nobody answered in time, allowed: deploy",
    ]);
  });

  it("bounds what it shows of one event", () => {
    const [line] = render(["completion", { message: "x".repeat(300_000) }]);
    expect(line!.length).toBeLessThan(210_000);
  });

  it("shows an object that brings its own toString, and calls nothing of it", () => {
    const [line] = render(["state_changed", { from: { toString: 0 }, to: "active" }]);
    expect(line).toContain('{"toString":0}');
  });

  it("never breaks, and lets no control character pass, whatever the payload", () => {
    const type = fc.constantFrom<SessionEvent["type"]>(
      ...(["state_changed", "thinking", "terminal", "file_change", "completion", "error"] as const),
      ...(["user_message", "permission", "tool", "new_type" as "tool"] as const),
    );
    const keys = fc.constantFrom(
      ...["from", "to", "reason", "text", "reasoning", "toolsUsed", "iteration", "command"],
      ...["output", "outputBase64", "error", "errorBase64", "exitCode", "callId", "final"],
      ...["omittedBytes", "agentExitCode", "isError", "binary"],
      ...["path", "oldPath", "action", "diff", "message", "code", "name", "input", "status"],
    );
    const text = fc.string({ unit: "binary", maxLength: 20 });
    const value = fc.oneof(
      text,
      fc.jsonValue(),
      fc.constantFrom("\u001B[2J", "\u009B1A", "\u202E"),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(type, fc.dictionary(keys, value)), { maxLength: 8 }),
        (events) => {
          for (const line of render(...(events as [SessionEvent["type"], JsonObject][]))) {
            expect(line).not.toMatch(/(?!\t)\p{Cc}|[\u202A-\u202E]/u);
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
