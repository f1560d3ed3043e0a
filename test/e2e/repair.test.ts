import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SessionEvent as LoggedEvent } from "../../src/core/event.ts";
import { foldEvents } from "../../src/core/fold.ts";
import { scriptedUsage } from "../../src/model/scripted/turns.ts";
import { makeDataFolder } from "../data-template.ts";
import { requireTool } from "../tools.ts";
import { makeFolder, runStint, StintProcess } from "./stint-process.ts";

const MODULES = fileURLToPath(new URL("../../node_modules", import.meta.url));
const RIGHT = "(/^0x[0-9a-f]+$/i)";
const WRONG = "(/^0x[0-9]+$/i)";
const SUITE = "node node_modules/tape/bin/tape 'test/**/*.js'";

const data = makeFolder();
const project = makeFolder("minimist ");
let dev: StintProcess;

beforeAll(async () => {
  await makeDataFolder(data.path);
  dev = new StintProcess(["dev", "--json"], data.path, { STINT_SANDBOX_READ_PATHS: MODULES });
});

afterAll(async () => {
  await dev.stop();
  await data.dispose();
  await project.dispose();
});

function git(...args: string[]): void {
  const env = { PATH: process.env["PATH"], HOME: "/nonexistent", GIT_CONFIG_NOSYSTEM: "1" };
  const identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
  execFileSync("git", [...identity, ...args], { cwd: project.path, env, stdio: "pipe" });
}

function runSuite(): number | null {
  return spawnSync("bash", ["-c", SUITE], { cwd: project.path, stdio: "ignore" }).status;
}

function breakProject(): void {
  cpSync(join(MODULES, "minimist"), project.path, { recursive: true });
  symlinkSync(MODULES, join(project.path, "node_modules"));
  writeFileSync(join(project.path, ".gitignore"), "node_modules\n");
  const source = readFileSync(join(project.path, "index.js"), "utf8");
  expect(source).toContain(RIGHT);
  writeFileSync(join(project.path, "index.js"), source.replace(RIGHT, WRONG));
  git("init", "--quiet");
  git("add", "--all");
  git("commit", "--quiet", "--message=broken");
}

test("a session repairs a broken package, and its log tells and folds to all of it", async (context) => {
  requireTool(context, "git");
  breakProject();
  expect(runSuite()).not.toBe(0);
  const client = await dev.connect();
  const created = await client.sessions.create({
    prompt: "The test suite fails. Repair it.",
    model: "scripted",
    script: [
      { text: "First the suite." },
      { bash: SUITE },
      { read: { path: "index.js" } },
      { edit: { path: "index.js", find: WRONG, replace: RIGHT } },
      { bash: SUITE },
      { text: "Hexadecimal numbers have letters too." },
    ],
    workspace: { source: project.path },
  });
  const events: LoggedEvent[] = [];
  for await (const event of client.subscribe(created.id)) {
    events.push({ ...event, createdAt: new Date(event.createdAt) } as unknown as LoggedEvent);
  }
  const session = await client.sessions.get(created.id);
  expect(session).toMatchObject({ status: "completed", reason: "end_turn", error: null });

  const ends = events.filter(({ type, data }) => type === "terminal" && data["final"] === true);
  expect(ends.map(({ data }) => data["exitCode"])).toEqual([1, 0]);
  const commands = ends.map(({ data }) => data["command"]);
  expect(commands).toEqual([SUITE, SUITE]);
  const edit = events.find(({ type }) => type === "file_change");
  expect(edit?.data).toMatchObject({ path: "index.js", action: "modified" });
  const lines = String(edit?.data["diff"]).split("\n");
  expect(lines.filter((line) => /^[-+](?![-+])/.test(line))).toEqual([
    `-\tif (${WRONG}.test(x)) { return true; }`,
    `+\tif (${RIGHT}.test(x)) { return true; }`,
  ]);
  const usages = [0, 1, 2, 3, 4].map((turn) => scriptedUsage(turn));
  expect(session.stats).toMatchObject({
    ...{ iterations: 5, toolCalls: 4, modelCalls: usages.length },
    inputTokens: usages.reduce((sum, { inputTokens }) => sum + inputTokens, 0),
    outputTokens: usages.reduce((sum, { outputTokens }) => sum + outputTokens, 0),
    ...{ cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 },
  });

  const folded = foldEvents(events);
  const { status, reason, epoch, lastSeq, stats } = session;
  expect(folded).toMatchObject({ status, reason, epoch, lastSeq });
  expect(folded.stats).toEqual(stats);

  // The source is untouched until the change is applied; then the suite is green, seen from outside.
  expect(runSuite()).not.toBe(0);
  const applied = await runStint(["apply", session.id], { dataDir: data.path });
  expect(applied).toMatchObject({ code: 0 });
  expect(runSuite()).toBe(0);
}, 180_000);
