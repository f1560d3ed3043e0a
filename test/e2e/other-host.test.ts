import { mkdtempSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { createTestDatabase } from "../postgres.ts";
import { findProcesses, makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

const LEASE = { STINT_LEASE_DURATION_MS: "2000", STINT_HEARTBEAT_INTERVAL_MS: "500" };
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Hosts of one database: each a data folder of its own, removed at the end. */
async function openHosts(snapshotStore: string) {
  const database = await createTestDatabase();
  cleanups.push(() => database.drop());
  const env = { ...LEASE, DATABASE_URL: database.url, STINT_SNAPSHOT_STORE: snapshotStore };
  const start = (command: string): { process: StintProcess; dataDir: string } => {
    const folder = makeFolder(`stint-${command}-`);
    cleanups.push(() => folder.dispose());
    const process = new StintProcess([command, "--json"], folder.path, env);
    cleanups.push(() => process.stop("SIGKILL"));
    return { process, dataDir: folder.path };
  };
  return { env, start };
}

it.each(["database", "folder"])(
  "a host is lost in mid-command with all its files: another goes on from the %s",
  async (kind) => {
    const shared = mkdtempSync(join(tmpdir(), "stint-shared-"));
    cleanups.push(() => rm(shared, { recursive: true, force: true }));
    const source = join(shared, "source");
    await mkdir(source);
    await writeFile(join(source, "kept"), "before\n");
    const { env, start } = await openHosts(kind === "folder" ? shared : kind);
    const server = start("server");
    const client = await server.process.connect();
    const first = start("worker");
    await first.process.ready();
    const { id } = await client.sessions.create({
      prompt: "work",
      model: "scripted",
      workspace: { source },
      script: [
        { bash: "echo changed > kept; mkdir deep; echo new > deep/file" },
        { bash: "echo half > half; echo begun; sleep 300" },
        { bash: "ls; cat kept deep/file" },
        { text: "done" },
      ],
    });
    await poll(async () => {
      const { events } = await client.sessions.events(id);
      return events.find(({ data }) => data["output"] === "begun\n");
    }, 60_000);
    await first.process.stop("SIGKILL");
    await poll(() => Promise.resolve(findProcesses(`STINT_SESSION=${id}`).length === 0 || null));
    await rm(first.dataDir, { recursive: true });

    const second = start("worker");
    const session = await poll(async () => {
      const found = await client.sessions.get(id);
      return found.status === "completed" ? found : null;
    }, 60_000);
    expect(session.attempts).toBe(2);
    expect(session.workspace.path).toContain(second.dataDir);
    const { events } = await client.sessions.events(id, { limit: 1_000 });
    const ends = events.filter(({ type, data }) => type === "terminal" && data["final"] === true);
    expect(ends.map(({ data }) => data["status"] ?? "finished").slice(0, 3)).toEqual([
      "finished",
      expect.stringMatching(/interrupted|unknown/),
      "finished",
    ]);
    const shown = events
      .filter(({ type }) => type === "terminal")
      .map(({ data }) => data["output"]);
    expect(shown).toContain("deep\nkept\nchanged\nnew\n");
    expect(shown.filter((output) => output === "begun\n")).toHaveLength(1);

    // The server has files of neither: it reads them where they are stored.
    const diff = await client.sessions.diff(id);
    expect(diff.files.map(({ path }) => path)).toEqual(["deep/file", "kept"]);
    const applied = await runStint(["apply", id], { dataDir: server.dataDir, env });
    expect(`${applied.stderr}${applied.code}`).toBe("0");
    expect(await readFile(join(source, "kept"), "utf8")).toBe("changed\n");
  },
  180_000,
);

it("what was asked on a host that is lost is decided without any, and acted upon once on another", async () => {
  const { start } = await openHosts("database");
  const server = start("server");
  const client = await server.process.connect();
  const first = start("worker");
  await first.process.ready();
  const { id } = await client.sessions.create({
    prompt: "work",
    model: "scripted",
    permissions: ["ask execute"],
    script: [{ bash: "echo ran >> counter; cat counter" }, { text: "done" }],
  });
  const asked = await poll(async () => (await client.sessions.permissions(id))[0] ?? null, 60_000);
  await first.process.stop("SIGKILL");
  await poll(() => Promise.resolve(findProcesses(`STINT_SESSION=${id}`).length === 0 || null));
  await rm(first.dataDir, { recursive: true });
  const allow = { decision: "allow" } as const;
  await client.sessions.decidePermission(id, asked.id, allow);
  await client.sessions.decidePermission(id, asked.id, allow);

  start("worker");
  await poll(async () => (await client.sessions.get(id)).status === "completed" || null, 60_000);
  const { events } = await client.sessions.events(id, { limit: 1_000 });
  const answers = events.filter(({ type }) => type === "permission");
  expect(answers.map(({ data }) => data["status"])).toEqual(["requested", "allowed"]);
  const shown = events.filter(({ type }) => type === "terminal").map(({ data }) => data["output"]);
  expect(shown.join("")).toBe("ran\n");
}, 180_000);
