import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { SessionEvent } from "../../src/client.ts";
import type { SessionEvent as LoggedEvent } from "../../src/core/event.ts";
import { foldEvents } from "../../src/core/fold.ts";
import { makeFolder, poll, StintProcess } from "../e2e/stint-process.ts";

/** Kills of everything at once. The release lane sets more. */
const ROUNDS = Number(process.env["STINT_TEST_KILLS"] ?? 5);

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/**
 * Kills Postgres and its supervisor, as a crash of the machine would, with no chance to write
 * anything. A supervisor that lived on would count the deaths and give up after the third.
 */
function killPostgres(dataDir: string): void {
  const pid = Number(readFileSync(join(dataDir, "pg", "postmaster.pid"), "utf8").split("\n")[0]);
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const supervisor = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  process.kill(pid, "SIGSTOP"); // so that it cannot end in good order when its parent dies
  process.kill(supervisor, "SIGKILL");
  process.kill(pid, "SIGKILL");
}

test("a session completes although worker, server and Postgres are killed together again and again", async () => {
  const folder = makeFolder("stint everything ");
  cleanups.push(() => folder.dispose());
  let running: StintProcess | null = null;
  const start = async () => {
    const started = new StintProcess(["dev", "--json"], folder.path);
    running = started;
    return started.connect();
  };
  cleanups.push(() => running?.stop("SIGKILL"));

  let client = await start();
  const steps = ROUNDS * 4;
  const { id } = await client.sessions.create({
    prompt: "go on",
    model: "scripted",
    script: [
      ...Array.from({ length: steps }, (_, step) => ({
        bash: `echo step ${step} >> steps; sleep 0.3`,
      })),
      { text: "done" },
    ],
  });
  /** What a reader was shown: acknowledged, so it must be there at the end. */
  const seen = new Map<number, string>();
  const note = (events: readonly SessionEvent[]): void => {
    for (const event of events) seen.set(event.seq, event.id);
  };

  for (let round = 1; round <= ROUNDS; round++) {
    const wanted = round * 2;
    await poll(async () => {
      const { events } = await client.sessions.events(id, { limit: 5_000 });
      note(events);
      const ended = events.filter(({ data }) => data["final"] === true);
      return ended.length >= wanted ? true : null;
    }, 30_000);
    const killed = (running as StintProcess | null)?.stop("SIGKILL");
    killPostgres(folder.path);
    await killed;
    client = await start();
  }
  const session = await poll(async () => {
    const found = await client.sessions.get(id);
    return found.completedAt === null ? null : found;
  }, 60_000);
  expect(session).toMatchObject({ status: "completed", attempts: ROUNDS + 1 });

  const { events } = await client.sessions.events(id, { limit: 5_000 });
  const log = events.map((event) => ({ ...event, createdAt: new Date(event.createdAt) }));
  const { status, reason, epoch, lastSeq, stats } = session;
  expect(foldEvents(log as unknown as LoggedEvent[])).toEqual({
    ...{ status, reason, epoch, lastSeq, stats },
  });
  const stored = new Map(events.map((event) => [event.seq, event.id]));
  for (const [seq, eventId] of seen) expect(stored.get(seq)).toBe(eventId);
  // Each step once or, where it was cut off, not at all: what it had done was undone.
  const { files } = await client.sessions.diff(id);
  const lines = (files.find(({ path }) => path === "steps")?.patch ?? "").match(/^\+step \d+/gm);
  expect(new Set(lines).size).toBe(lines?.length);
  const finished = events.filter(
    ({ type, data }) => type === "terminal" && data["final"] === true && data["exitCode"] === 0,
  );
  expect(lines).toHaveLength(finished.length);
}, 240_000);
