import { afterEach, expect, test } from "vitest";
import { makeDataFolder } from "../data-template.ts";
import { findProcesses, makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

const folders: { dispose(): Promise<void> }[] = [];
const processes: StintProcess[] = [];

afterEach(async () => {
  for (const running of processes.splice(0)) await running.stop("SIGKILL");
  for (const folder of folders.splice(0)) await folder.dispose();
});

function start(args: readonly string[], dataDir: string): StintProcess {
  const started = new StintProcess(args, dataDir);
  processes.push(started);
  return started;
}

test("SIGTERM in the middle of a command pauses the session, kills all, and the next start finishes it", async () => {
  const folder = makeFolder();
  folders.push(folder);
  await makeDataFolder(folder.path);
  const first = start(["dev", "--json"], folder.path);
  const client = await first.connect();
  const { id } = await client.sessions.create({
    prompt: "work",
    model: "scripted",
    script: [
      { bash: "echo begun; (setsid sleep 300 &) ; sleep 300" },
      { bash: "echo once >> counter" },
      { text: "done" },
    ],
  });
  await poll(async () => {
    const { events } = await client.sessions.events(id);
    return events.find(({ type, data }) => type === "terminal" && data["output"] === "begun\n");
  });
  expect(findProcesses(`STINT_SESSION=${id}`).length).toBeGreaterThan(0);

  const askedAt = performance.now();
  expect(await first.stop("SIGTERM")).toBe(0);
  expect(performance.now() - askedAt).toBeLessThan(5_000);
  expect(findProcesses(`STINT_SESSION=${id}`)).toEqual([]);

  const second = start(["dev", "--json"], folder.path);
  const after = await second.connect();
  const session = await poll(async () => {
    const found = await after.sessions.get(id);
    return found.status === "completed" ? found : null;
  });
  expect(session.attempts).toBe(1);
  const { events } = await after.sessions.events(id, { limit: 1_000 });
  const changes = events.filter(({ type }) => type === "state_changed").map(({ data }) => data);
  expect(changes.map(({ to, reason }) => `${String(to)} (${String(reason)})`)).toEqual([
    "active (started)",
    "paused (shutdown)",
    "active (resumed)",
    "completed (end_turn)",
  ]);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const diff = await runStint(["diff", id], { dataDir: folder.path });
  expect(diff.stdout.match(/\+once/g)).toHaveLength(1);
}, 180_000);

test("a second start keeps all state and the token", async () => {
  const folder = makeFolder();
  folders.push(folder);
  const first = start(["dev", "--json"], folder.path);
  const before = await first.ready();
  const client = await first.connect();
  const { id } = await client.sessions.create({
    prompt: "say hello",
    model: "scripted",
    script: [{ text: "hello" }],
  });
  await poll(async () => ((await client.sessions.get(id)).status === "completed" ? true : null));
  await first.stop();
  const second = start(["dev", "--json"], folder.path);
  const after = await second.ready();
  expect(after.token).toBe(before.token);
  expect((await (await second.connect()).sessions.get(id)).status).toBe("completed");
}, 180_000);
