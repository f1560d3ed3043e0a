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

function start(dataDir: string): StintProcess {
  const started = new StintProcess(["dev", "--json"], dataDir);
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
