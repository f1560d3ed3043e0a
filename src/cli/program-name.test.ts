import { expect, it } from "vitest";
import { callCli } from "./call-cli.testsuite.ts";
import { nameProgram, nameStart } from "./program-name.ts";

it("names the program as the person called it", () => {
  expect([nameProgram({}), nameStart({})]).toEqual(["stint", "stint dev"]);
  const npx = { npm_command: "exec", npm_lifecycle_event: "npx" };
  expect([nameProgram(npx), nameStart(npx)]).toEqual(["npx stint", "npx stint dev"]);
  const npm = { npm_command: "start", npm_lifecycle_event: "start" };
  expect([nameProgram(npm), nameStart(npm)]).toEqual(["npx stint", "npm start"]);
});

it("hints at commands that can be typed where npx called it", async () => {
  const { stderr } = await callCli(["ls"], { env: { npm_command: "exec" } });
  expect(stderr).toContain("Start it with `npx stint dev`");
  expect((await callCli(["ls"])).stderr).toContain("Start it with `stint dev`");
});
