import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { makeDataFolder } from "../data-template.ts";
import { stopPostgres } from "../postgres.ts";
import { makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

const folders: { path: string; dispose(): Promise<void> }[] = [];
const processes: StintProcess[] = [];

afterEach(async () => {
  for (const running of processes.splice(0)) await running.stop("SIGKILL");
  for (const folder of folders.splice(0)) await folder.dispose();
});

function start(dataDir: string, env: Record<string, string> = {}): StintProcess {
  const started = new StintProcess(["dev", "--json"], dataDir, env);
  processes.push(started);
  return started;
}

test("what was asked before everything died is answered after it, and the agent goes on", async () => {
  const folder = makeFolder();
  folders.push(folder);
  const dataDir = await makeDataFolder(folder.path);
  const first = start(dataDir);
  const { sessions } = await first.connect();
  const { id } = await sessions.create({
    prompt: "work",
    model: "scripted",
    permissions: ["allow tool:write_file", "ask *"],
    script: [
      { write: { path: "notes.txt", content: "before\n" } },
      { bash: "echo once >> counter" },
      { bash: "echo twice >> counter" },
      { text: "done" },
    ],
  });
  await poll(async () => (await sessions.permissions(id)).length === 1 || null);
  await first.stop("SIGKILL");
  await stopPostgres(dataDir);

  const second = start(dataDir);
  const after = await second.connect();
  await poll(async () => (await after.sessions.get(id)).waitingFor === "permission" || null);
  const shown = await runStint(["show", id], { dataDir });
  expect(shown.stdout).toMatch(/NEEDS YOU/);
  expect(shown.stdout).toMatch(/asks\s+echo once >> counter/);

  const approved = await runStint(["approve", id], { dataDir });
  expect(approved.stdout).toMatch(/allowed {2}echo once/);
  // Another call is asked anew.
  const asked = await poll(async () => {
    const waiting = await after.sessions.permissions(id);
    return waiting.find(({ status, title }) => status === "pending" && /twice/.test(title)) ?? null;
  });
  const denied = await runStint(["deny", id, asked.id.slice(0, 8), "--note", "once is enough"], {
    dataDir,
  });
  expect(denied.code).toBe(0);
  await poll(async () => (await after.sessions.get(id)).status === "completed" || null);

  const { events } = await after.sessions.events(id, { limit: 1_000 });
  const answers = events.filter(({ type }) => type === "permission").map(({ data }) => data);
  expect(answers.map(({ status, title }) => `${String(status)} ${String(title)}`)).toEqual([
    "requested echo once >> counter",
    "allowed echo once >> counter",
    "requested echo twice >> counter",
    "denied echo twice >> counter",
  ]);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const diff = await runStint(["diff", id], { dataDir });
  expect(diff.stdout).toContain("+once");
  expect(diff.stdout).not.toContain("twice");
  const again = await runStint(["approve", id], { dataDir });
  expect(again).toMatchObject({ code: 2 });
  expect(again.stderr).toMatch(/asks nothing now/);
}, 180_000);

test("leave that was given is used up by the call that dies with everything: the next is asked anew", async () => {
  const folder = makeFolder("stint-leave-");
  folders.push(folder);
  const dataDir = await makeDataFolder(folder.path);
  const outside = join(folder.path, "outside");
  mkdirSync(outside);
  const env = { STINT_SANDBOX_WRITE_PATHS: outside };
  const bash = `echo ran >> ${outside}/counter; until [ -e ${outside}/gate ]; do sleep 0.05; done`;
  const countRuns = (): number =>
    existsSync(join(outside, "counter"))
      ? readFileSync(join(outside, "counter"), "utf8").trimEnd().split("\n").length
      : 0;
  const first = start(dataDir, env);
  const { sessions } = await first.connect();
  const { id } = await sessions.create({
    ...{ prompt: "work", model: "scripted", permissions: ["ask execute"] },
    script: [{ bash }, { bash }, { text: "done" }],
  });
  const asked = await poll(async () => (await sessions.permissions(id))[0] ?? null);
  await sessions.decidePermission(id, asked.id, { decision: "allow" });
  await poll(() => Promise.resolve(countRuns() === 1 || null));
  await first.stop("SIGKILL");

  const after = await start(dataDir, env).connect();
  const again = await poll(async () => {
    const waiting = await after.sessions.permissions(id);
    return waiting.find(({ status }) => status === "pending") ?? null;
  });
  expect(again.id).not.toBe(asked.id);
  expect(countRuns()).toBe(1);
  writeFileSync(join(outside, "gate"), "");
  await after.sessions.decidePermission(id, again.id, { decision: "allow" });
  await poll(async () => (await after.sessions.get(id)).status === "completed" || null);
  expect(countRuns()).toBe(2);
  const { events } = await after.sessions.events(id, { type: ["permission"] });
  const answers = events.map(({ data }) => data["status"]);
  expect(answers).toEqual(["requested", "allowed", "requested", "allowed"]);
}, 180_000);
