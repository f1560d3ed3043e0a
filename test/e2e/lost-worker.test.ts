import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { SessionEvent } from "../../src/core/event.ts";
import { foldEvents } from "../../src/core/fold.ts";
import { makeDataFolder } from "../data-template.ts";
import { findProcesses, makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

const LEASE = { STINT_LEASE_DURATION_MS: "2000", STINT_HEARTBEAT_INTERVAL_MS: "500" };
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test("a worker killed in mid-command leaves nothing running; another finishes its session", async () => {
  const folder = makeFolder();
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  const outside = join(folder.path, "outside");
  mkdirSync(outside);
  const start = (args: readonly string[]): StintProcess => {
    const env = { ...LEASE, STINT_SANDBOX_WRITE_PATHS: outside };
    const started = new StintProcess([...args, "--json"], folder.path, env);
    cleanups.push(() => started.stop("SIGKILL"));
    return started;
  };
  const server = start(["server"]);
  const client = await server.connect();
  const first = start(["worker"]);
  await first.ready();
  // Each line is written outside of the workspace, so that no restore can hide a second run.
  const tally = join(outside, "tally");
  const interrupted = `echo run >> '${tally}'; echo begun; (setsid sleep 300 &) ; sleep 300`;
  const { id } = await client.sessions.create({
    prompt: "work",
    model: "scripted",
    script: [
      { bash: "echo before > kept" },
      { bash: interrupted },
      { bash: `cat kept '${tally}'` },
      { text: "done" },
    ],
  });
  await poll(async () => {
    const { events } = await client.sessions.events(id);
    return events.find(({ data }) => data["output"] === "begun\n");
  });
  expect(findProcesses(`STINT_SESSION=${id}`).length).toBeGreaterThan(0);

  await first.stop("SIGKILL");
  const second = start(["worker"]);
  await second.ready();
  const session = await poll(async () => {
    const found = await client.sessions.get(id);
    return found.status === "completed" ? found : null;
  });
  expect(findProcesses(`STINT_SESSION=${id}`)).toEqual([]);
  expect(session.attempts).toBe(2);

  const { events } = await client.sessions.events(id, { limit: 1_000 });
  const ends = events.filter(({ type, data }) => type === "terminal" && data["final"] === true);
  expect(ends.map(({ data }) => [data["command"], data["status"] ?? "finished"])).toEqual([
    ["echo before > kept", "finished"],
    [interrupted, "interrupted"],
    [`cat kept '${tally}'`, "finished"],
  ]);
  const shown = events.filter(({ type }) => type === "terminal").map(({ data }) => data["output"]);
  expect(shown).toContain("before\nrun\n");
  const changes = events.filter(({ type }) => type === "state_changed").map(({ data }) => data);
  expect(changes.map(({ to, reason }) => `${String(to)} (${String(reason)})`)).toEqual([
    "active (started)",
    "paused (worker_lost)",
    "active (resumed)",
    "completed (end_turn)",
  ]);

  const log = events.map((event) => ({ ...event, createdAt: new Date(event.createdAt) }));
  const { status, reason, epoch, lastSeq, stats } = session;
  expect(foldEvents(log as SessionEvent[])).toEqual({ status, reason, epoch, lastSeq, stats });
  const diff = await runStint(["diff", id], { dataDir: folder.path });
  expect(diff.stdout).toContain("+before");
}, 180_000);
