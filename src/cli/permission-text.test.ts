import { expect, it } from "vitest";
import type { Permission, Session } from "../client.ts";
import { describePermission } from "./permission-text.ts";
import { describeState, exitCodeOfSession, nextCommand } from "./session-text.ts";

const ASKED = {
  ...{ id: "7f3a91c2-0000", tool: "execute", kind: "execute", title: "deploy", cwd: "/workspace" },
  ...{ input: { command: "./deploy.sh" }, paths: ["a.txt"], expiresAt: "2025-11-08T12:03:00" },
} as unknown as Permission;
const NOW = Date.parse("2025-11-08T11:30:00");

it("shows what is done, where and until when, and not only what the agent calls it", () => {
  const text = describePermission(ASKED, NOW).join("\n");
  for (const part of ["deploy", "7f3a91c2", "./deploy.sh", "/workspace", "a.txt", "12:03"])
    expect(text).toContain(part);
});

it("cuts what is long and says so, and lets no escape through", () => {
  const input = { content: "x".repeat(10_000), other: "\u001b[2Jgone" };
  const text = describePermission({ ...ASKED, input } as Permission, NOW).join("\n");
  expect(text.length).toBeLessThan(1_000);
  expect(text).toContain("(10000 characters)");
  expect(text).not.toContain("\u001b");
});

it("says that an active session waits for leave, and how to give it; its exit code stays", () => {
  const session = { id: "7f3a", status: "active", waitingFor: "permission" } as Session;
  expect(describeState(session).text).toContain("NEEDS YOU");
  expect(nextCommand(session)).toBe("stint approve 7f3a");
  expect(exitCodeOfSession(session)).toBe(0);
});
