import { expect, it } from "vitest";
import { callCli, makeFolder } from "../call-cli.testsuite.ts";

it("lists agents with what the columns mean, and how a missing one is got", async () => {
  const env = { STINT_DATA: await makeFolder(), PATH: "/nowhere" };
  const { code, stdout } = await callCli(["agents"], { env });
  expect(code).toBe(0);
  expect(stdout).toMatch(/claude +– .* get it: stint agents install claude/);
  expect(stdout).toContain("LEAVE: asks before it acts");
});

it("says once how an agent that is to be measured is got", async () => {
  const env = { STINT_DATA: await makeFolder(), PATH: "/nowhere" };
  const { code, stderr } = await callCli(["agents", "probe", "claude"], { env });
  expect(code).toBe(2);
  expect(stderr).toContain("(agent_missing)");
  expect(stderr.match(/stint agents install claude/g)).toHaveLength(1);
});
