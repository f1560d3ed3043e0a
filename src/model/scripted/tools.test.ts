import { describe, expect, it } from "vitest";
import { readTool } from "./request.ts";
import { mapCall } from "./tools.ts";

const text = { type: "string" };
const builtin = [
  readTool("bash", { properties: { command: text }, required: ["command"] }),
  readTool("write_file", { properties: { path: text, content: text } }),
  readTool("edit_file", { properties: { path: text, find: text, replace: text } }),
  readTool("read_file", { properties: { path: text } }),
];
const claude = [
  readTool("Bash", { properties: { command: text, description: text } }),
  readTool("Write", {
    properties: { file_path: { ...text, description: "The absolute path" }, content: text },
  }),
  readTool("Edit", { properties: { file_path: text, old_string: text, new_string: text } }),
  readTool("Read", { properties: { file_path: text } }),
];
const opencode = [
  readTool("bash", {
    properties: { command: text, timeout: { type: "number" }, description: text },
    required: ["command", "description"],
  }),
  readTool("write", { properties: { content: text, filePath: text } }),
];
const gemini = [
  readTool("run_shell_command", { properties: { command: text } }),
  readTool("write_file", { properties: { file_path: text, content: text } }),
  readTool("replace", { properties: { file_path: text, old_string: text, new_string: text } }),
];
const codex = [
  readTool("exec_command", {
    properties: { cmd: text, login: { type: "boolean" } },
    required: ["cmd", "login"],
  }),
];
const write = { write: { path: "src/a.txt", content: "hello\n" } };

/** The command that writes a file where there is only a shell. */
const writeByShell = (path: string, content: string): unknown =>
  mapCall({ write: { path, content } }, codex)?.input["cmd"];

describe("mapCall", () => {
  it.each([
    ["builtin", builtin, { name: "bash", input: { command: "ls" } }],
    ["Claude Code", claude, { name: "Bash", input: { command: "ls" } }],
    [
      "opencode",
      opencode,
      { name: "bash", input: { command: "ls", description: "A step of the script" } },
    ],
    ["Gemini CLI", gemini, { name: "run_shell_command", input: { command: "ls" } }],
    ["Codex", codex, { name: "exec_command", input: { cmd: "ls", login: false } }],
  ])("runs a command with the tool of %s", (_agent, tools, call) => {
    expect(mapCall({ bash: "ls" }, tools)).toEqual(call);
  });

  it("gives a shell that takes a list its command as one", () => {
    const shell = readTool("shell", { properties: { command: { type: "array" } } });
    expect(mapCall({ bash: "a b" }, [shell])?.input).toEqual({ command: ["bash", "-c", "a b"] });
  });

  it("writes with the writer at hand", () => {
    expect(mapCall(write, builtin)).toEqual({ name: "write_file", input: write.write });
    expect(mapCall(write, opencode)).toEqual({
      name: "write",
      input: { filePath: "src/a.txt", content: "hello\n" },
    });
    expect(mapCall(write, gemini)?.input).toEqual({ file_path: "src/a.txt", content: "hello\n" });
  });

  it("writes by the shell where the writer wants an absolute path that a script cannot know", () => {
    expect(mapCall(write, claude)?.name).toBe("Bash");
    const absolute = { write: { path: "/workspace/a.txt", content: "x" } };
    expect(mapCall(absolute, claude)?.input).toEqual({
      file_path: "/workspace/a.txt",
      content: "x",
    });
  });

  it("writes by the shell where there is no writer, with exactly the content", () => {
    expect(writeByShell("src/a.txt", "hello\n")).toBe(
      "mkdir -p -- src && cat > src/a.txt <<'EOF'\nhello\nEOF",
    );
    expect(writeByShell("it's", "EOF\nEOF_\n")).toBe(
      "cat > 'it'\\''s' <<'EOF__'\nEOF\nEOF_\nEOF__",
    );
    expect(writeByShell("a", "it's")).toBe("printf %s 'it'\\''s' > a");
    expect(writeByShell("/a", "")).toBe("printf %s '' > /a");
  });

  it("edits and reads with the tools at hand", () => {
    const edit = { edit: { path: "a", find: "b", replace: "c" } };
    expect(mapCall(edit, builtin)).toEqual({ name: "edit_file", input: edit.edit });
    expect(mapCall(edit, gemini)).toEqual({
      name: "replace",
      input: { file_path: "a", old_string: "b", new_string: "c" },
    });
    expect(mapCall(edit, codex)).toBeNull();
    expect(mapCall({ read: { path: "a" } }, claude)).toEqual({
      name: "Read",
      input: { file_path: "a" },
    });
    expect(mapCall({ read: { path: "a b" } }, codex)?.input["cmd"]).toBe("cat -- 'a b'");
  });

  it("finds nothing where no tool fits", () => {
    expect(mapCall({ bash: "ls" }, [readTool("search", {})])).toBeNull();
    expect(mapCall(write, [readTool(undefined, null)])).toBeNull();
  });
});
