import { describe, expect, it } from "vitest";
import type { StintError } from "./error.ts";
import { parsePermissionPolicy } from "./permission-policy.ts";
import type { PermissionRequest } from "./permission.ts";

function ask(over: Partial<PermissionRequest> = {}): PermissionRequest {
  return {
    ...{ tool: "bash", kind: "execute", title: "npm test", input: {}, cwd: "/workspace" },
    ...{ paths: [], modelCallId: null, ...over },
  };
}

const edit = (path: string): PermissionRequest =>
  ask({ tool: "edit", kind: "edit", paths: [path] });

describe("parsePermissionPolicy", () => {
  it("allows what no rule covers", () => {
    expect(parsePermissionPolicy([])(ask())).toBe("allow");
    expect(parsePermissionPolicy(["deny fetch"])(ask())).toBe("allow");
  });

  it("decides by the first rule that covers the call", () => {
    const policy = parsePermissionPolicy(["allow tool:Bash", "ask *"]);
    expect(policy(ask())).toBe("allow");
    expect(policy(edit("a.txt"))).toBe("ask");
  });

  it.each([
    ["deny edit .env", ".env", true],
    ["deny edit .env", "/workspace/.env", true],
    ["deny edit .env", "x.env", false],
    ["deny edit **/.env", ".env", true],
    ["deny edit **/.env", "a/b/.env", true],
    ["deny edit **/.env", "a/b.env", false],
    ["deny edit src/*", "src/a.ts", true],
    ["deny edit src/*", "src/a/b.ts", false],
    ["deny edit src/**", "src/a/b.ts", true],
    ["deny edit ?.ts", "a.ts", true],
    ["deny edit ?.ts", "ab.ts", false],
    ["deny edit a.ts", "abts", false],
    ["deny edit /etc/**", "/etc/passwd", true],
    ["deny edit src/**", "./src/a", true],
    ["deny edit src/**", "/elsewhere/src/a", false],
    ["deny edit .env", "src/../.env", true],
    ["deny edit .env", "/workspace/src/../.env", true],
    ["deny edit .env", "/workspace//.env", true],
    ["deny edit .env", "../workspace/.env", true],
    ["deny edit .env", "/workspace/./.env", true],
    ["deny edit ./.env", ".env", true],
    ["deny edit /workspace/.env", "src//../.env", true],
    ["deny edit src/**", "src/../.env", false],
    ["deny edit /etc/**", "../etc/passwd", true],
  ])("holds %s against %s: %s", (rule, path, isCovered) => {
    expect(parsePermissionPolicy([rule])(edit(path))).toBe(isCovered ? "deny" : "allow");
  });

  it("allows by a pattern only what fits it wholly, wherever `..` leads", () => {
    const policy = parsePermissionPolicy(["allow edit src/**", "ask *"]);
    expect(policy(edit("src/a.ts"))).toBe("allow");
    expect(policy(edit("src//../.env"))).toBe("ask");
    expect(policy({ ...edit("src/a.ts"), paths: ["src/a.ts", ".env"] })).toBe("ask");
    expect(policy({ ...edit("src/a.ts"), paths: [] })).toBe("ask");
    const denying = parsePermissionPolicy(["deny edit .env"]);
    expect(denying({ ...edit("src/a.ts"), paths: ["src/a.ts", ".env"] })).toBe("deny");
  });

  it("takes the strictest decision for a call that may be of several kinds", () => {
    const policy = parsePermissionPolicy(["allow read", "deny delete", "ask execute"]);
    expect(policy(ask({ kind: "other" }))).toBe("allow");
    expect(policy(ask({ kind: "other", mayBe: ["read", "execute"] }))).toBe("ask");
    expect(policy(ask({ kind: "read", mayBe: ["execute", "delete"] }))).toBe("deny");
    const named = parsePermissionPolicy(["allow tool:bash", "ask *"]);
    expect(named(ask({ kind: "other", mayBe: ["execute"] }))).toBe("allow");
  });

  it("covers no call without paths by a pattern", () => {
    expect(parsePermissionPolicy(["deny * **"])(ask())).toBe("allow");
  });

  it("is not slowed down by a path that nearly fits", () => {
    const policy = parsePermissionPolicy([`deny edit ${"**a".repeat(60)}b`]);
    expect(policy(edit("a".repeat(4_000)))).toBe("allow");
  });

  it.each(["", "maybe execute", "ask", "ask sing", "ask execute a b", `ask ${"x".repeat(400)}`])(
    "refuses the rule %j",
    (rule) => {
      expect(() => parsePermissionPolicy([rule])).toThrow(
        expect.objectContaining({ code: "config_invalid" } satisfies Partial<StintError>),
      );
    },
  );
});
