import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../core/json.ts";
import {
  describeInput,
  identifyInput,
  isDescribed,
  listPossibleKinds,
  readCommandLine,
  readOutput,
  updateToolCall,
} from "./tool-call.ts";

const take = (...updates: JsonObject[]) =>
  updates.reduce<ReturnType<typeof updateToolCall> | null>(
    (call, update) => updateToolCall(call, "c", update, ["turn_id"]),
    null,
  ) ?? updateToolCall(null, "c", {});

describe("a tool call, as an agent tells of it", () => {
  it("comes together from updates in any order, wrong fields left out", () => {
    const call = take(
      { status: "in_progress", kind: 5, title: null },
      { kind: "execute", title: "ls", rawInput: { command: "ls", turn_id: "t" } },
      { status: "made up", rawInput: "no object", locations: [{ path: "a" }, { path: 1 }, null] },
    );
    expect(call).toEqual({
      toolCallId: "c",
      tool: "execute",
      title: "ls",
      kind: "execute",
      isKindTold: true,
      showsChange: false,
      status: "in_progress",
      input: { command: "ls" },
      paths: ["a"],
    });
  });

  it("is described once it is known what it will do", () => {
    expect(isDescribed(take({ kind: "execute", rawInput: { cwd: "/w" } }))).toBe(false);
    expect(isDescribed(take({ kind: "execute", rawInput: { command: "ls" } }))).toBe(true);
    expect(isDescribed(take({ kind: "edit" }))).toBe(false);
    expect(isDescribed(take({ kind: "edit", status: "completed" }))).toBe(true);
  });

  it("shows the script that a shell is given", () => {
    expect(readCommandLine({ command: ["/bin/bash", "-lc", "echo hi"] })).toBe("echo hi");
    expect(readCommandLine({ command: ["ls", "-l"] })).toBe("ls -l");
    expect(readCommandLine({ path: "x" })).toBe(null);
  });

  it("is of the kind that it looks like, where its agent tells none", () => {
    const command = take({ rawInput: { command: "rm -rf x" } });
    expect([command.kind, listPossibleKinds(command)]).toEqual(["execute", ["execute"]]);
    const named = take({ rawInput: { file_path: "a" } });
    expect([named.kind, listPossibleKinds(named)]).toEqual(["edit", ["edit"]]);
    const change = take({ content: [{ type: "diff", path: ".env", newText: "x" }] }, {});
    expect([change.kind, change.paths]).toEqual(["edit", [".env"]]);
    expect(listPossibleKinds(take({ rawInput: { url: "x" } }))).toContain("delete");
    expect(take({ rawInput: { command: "ls" } }, { kind: "read" }).kind).toBe("read");
  });

  it("may be more than its agent says, and is not guessed at where it looks like nothing else", () => {
    const disguised = take({ kind: "read", rawInput: { command: "rm -rf x" } });
    expect(listPossibleKinds(disguised)).toEqual(["execute"]);
    expect(listPossibleKinds(take({ kind: "read", rawInput: { file_path: "a" } }))).toEqual([]);
    expect(listPossibleKinds(take({ kind: "other", rawInput: { query: "a" } }))).toEqual([]);
  });

  it("is told from another one by what is shown of it, where it tells no input", () => {
    const call = take({ kind: "edit", title: "Write a.txt" });
    const PLACES = { workspace: "/workspace", home: "/home" };
    const edit = (newText: string) =>
      identifyInput(call, { content: [{ type: "diff", newText }] }, PLACES);
    expect(edit("one")).toEqual(edit("one"));
    expect(edit("one")).not.toEqual(edit("two"));
    expect(describeInput(take({ kind: "execute", title: "ls" }))).toEqual({ command: "ls" });
  });

  it("tells its output in any of the ways that agents have", () => {
    expect(readOutput({ _meta: { terminal_output: { data: "x" } } }).piece).toBe("x");
    expect(readOutput({ content: [{ type: "content", content: { text: "x" } }, 5] }).whole).toBe(
      "x",
    );
    expect(readOutput({ rawOutput: { output: "x", metadata: { exit: 3 } } })).toMatchObject({
      raw: "x",
      exitCode: 3,
    });
    expect(
      readOutput({ rawOutput: "x", _meta: { terminal_exit: { exit_code: 2 } } }),
    ).toMatchObject({ raw: "x", exitCode: 2 });
    expect(readOutput({ rawOutput: null, content: "no list", _meta: [] })).toEqual({
      ...{ piece: null, whole: null, raw: null, exitCode: null, changed: [] },
    });
  });
});
