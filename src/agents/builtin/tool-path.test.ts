import { expect, it } from "vitest";
import { relativizePath } from "./tool-path.ts";

it.each([
  ["a.txt", "a.txt"],
  ["./a//b/", "a/b"],
  ["/ws/a/b", "a/b"],
  ["/ws", "."],
  ["/ws/", "."],
  [".", "."],
  ["../x", "../x"],
  ["/wsx/a", "/wsx/a"],
  ["/etc/passwd", "/etc/passwd"],
])("the path %j becomes %j", (path, expected) => {
  expect(relativizePath(path, "/ws")).toBe(expected);
});
