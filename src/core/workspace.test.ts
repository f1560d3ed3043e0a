import { describe, expect, it } from "vitest";
import { workspaceRequestSchema } from "./workspace.ts";

describe("a request for a workspace", () => {
  it("is an empty copy of nothing when it says nothing", () => {
    expect(workspaceRequestSchema.parse({})).toEqual({ mode: "copy" });
  });

  it("may name a source and a ref", () => {
    const request = { mode: "copy", source: "https://example.com/a.git", ref: "main" };
    expect(workspaceRequestSchema.parse(request)).toEqual(request);
  });

  it.each([
    [{ mode: "in-place" }, "source"],
    [{ mode: "worktree", source: "/a" }, "mode"],
    [{ source: "" }, "source"],
    [{ source: "x".repeat(4_097) }, "source"],
    [{ ref: "x".repeat(257) }, "ref"],
    [{ path: "/a" }, ""],
  ])("is refused with its field: %.40j", (request, field) => {
    const { error } = workspaceRequestSchema.safeParse(request);
    expect(error?.issues[0]?.path.join(".")).toBe(field);
  });
});
