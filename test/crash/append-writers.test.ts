import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import type { Store } from "../../src/core/store.ts";
import { attachEmbeddedPostgres, type EmbeddedPostgres } from "../../src/store/embedded/attach.ts";
import { migrateDatabase } from "../../src/store/migrate.ts";
import { connectStore } from "../../src/store/postgres-store.ts";
import { newSession, range } from "../conformance/store/harness.ts";
import { systemClock } from "../system-clock.ts";
import { readOutputTexts } from "./output-texts.ts";

const WRITERS = 4;
const SESSIONS = 10;
const POSTGRES_KILLS = 2;
/** Per writer; the whole size is 100,000. */
const EVENTS_MAX = Number(process.env["TEST_APPEND_EVENTS"] ?? 5_000);
const PROGRAM = fileURLToPath(new URL("./append-writer.fixture.mjs", import.meta.url));

/** What writers were told is durable, noted by a process that writes nothing. */
class Acknowledgements {
  readonly bySession = new Map<string, Map<number, string>>();
  count = 0;

  note(line: string): void {
    const [word, sessionId, seq, text] = line.split(" ") as [string, string, string, string];
    if (word !== "ack") return;
    const seqs = this.bySession.get(sessionId) ?? new Map<number, string>();
    if (seqs.has(Number(seq))) throw new Error(`seq ${seq} of ${sessionId} was given twice`);
    seqs.set(Number(seq), text);
    this.bySession.set(sessionId, seqs);
    this.count++;
  }
}

/** A data folder with its Postgres, held by this process through every crash. */
class CrashingPostgres {
  readonly parent = mkdtempSync(join(tmpdir(), "stint-crash-"));
  readonly dataDir = join(this.parent, ".stint");
  #hold: Promise<EmbeddedPostgres> | null = null;
  #isOver = false;

  readonly resolveUrl = async (): Promise<string> => {
    this.#hold ??= attachEmbeddedPostgres({ dataDir: this.dataDir, stopDelayMs: 300 });
    try {
      const postgres = await this.#hold;
      postgres.onLost(() => {
        if (!this.#isOver) this.#hold = null;
      });
      return postgres.url;
    } catch (error) {
      this.#hold = null;
      throw error;
    }
  };

  /** As the kernel does when memory is short: no goodbye, no checkpoint. */
  async kill(): Promise<void> {
    const file = readFileSync(join(this.dataDir, "pg", "postmaster.pid"), "utf8");
    const pid = Number(file.split("\n")[0]);
    process.kill(pid, "SIGKILL");
    while (isAlive(pid)) await delay(5);
  }

  async remove(): Promise<void> {
    this.#isOver = true;
    await this.#hold?.then((postgres) => postgres.release());
    await delay(1_000);
    rmSync(this.parent, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

const children: ChildProcess[] = [];
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

function startWriter(name: string, dataDir: string, acknowledgements: Acknowledgements) {
  const settings = { dataDir, name, eventsMax: EVENTS_MAX, producers: 40, slots: 4 };
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(settings)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const finished = new Promise<number | null>((resolve) => child.once("close", resolve));
  createInterface({ input: child.stdout }).on("line", (line) => acknowledgements.note(line));
  return { child, finished };
}

/** Takes sessions away from their owners, so that another writer goes on with them. */
async function stealUntil(store: Store, ids: readonly string[], isOver: () => boolean) {
  let thefts = 0;
  for (let turn = 0; !isOver(); turn++) {
    const id = ids[turn % ids.length] as string;
    // A reason that gives the attempt back: one lost too often would be held for a person.
    const transition = { to: "paused", reason: "shutdown", message: "", resumeInMs: 0 } as const;
    await store.forceTransition(id, transition).then(
      () => thefts++,
      () => undefined, // Nobody has it, or Postgres is away.
    );
    await delay(30);
  }
  return thefts;
}

it(
  `keeps every acknowledged event once, in dense logs, while ${WRITERS} writers take sessions from ` +
    `each other, one of them is killed and Postgres is killed ${POSTGRES_KILLS} times`,
  { timeout: process.env["TEST_APPEND_EVENTS"] === undefined ? 120_000 : 1_200_000 },
  async ({ signal }) => {
    const postgres = new CrashingPostgres();
    cleanups.push(() => postgres.remove());
    const source = { resolveUrl: postgres.resolveUrl, clock: systemClock, logger: silentLogger };
    await migrateDatabase(source);
    const store = await connectStore(source);
    cleanups.push(() => store.close());
    const ids = range(SESSIONS).map(() => newSession());
    for (const session of ids) await store.createSession(session);
    const sessionIds = ids.map(({ id }) => id);

    const startedMs = performance.now();
    const acknowledgements = new Acknowledgements();
    const writers = range(WRITERS).map((number) =>
      startWriter(`w${number}`, postgres.dataDir, acknowledgements),
    );
    let isOver = false;
    const thefts = stealUntil(store, sessionIds, () => isOver);
    const reach = async (share: number): Promise<void> => {
      while (acknowledgements.count < share * WRITERS * EVENTS_MAX)
        await delay(5, null, { signal });
    };

    await reach(0.2);
    await postgres.kill();
    await reach(0.4);
    writers[0]?.child.kill("SIGKILL");
    const replacement = startWriter("w5", postgres.dataDir, acknowledgements);
    await reach(0.6);
    await postgres.kill();

    const survivors = [...writers.slice(1), replacement];
    const codes = await Promise.all(survivors.map(({ finished }) => finished));
    expect(codes).toEqual(survivors.map(() => 0));
    isOver = true;
    const seconds = (performance.now() - startedMs) / 1000;

    const lost: string[] = [];
    const seen = new Set<string>();
    let stored = 0;
    for (const id of sessionIds) {
      const log = await readOutputTexts(store, id);
      for (const [seq, text] of acknowledgements.bySession.get(id) ?? []) {
        if (log.get(seq) !== text) lost.push(`${text} of ${id}, acknowledged as ${seq}`);
      }
      for (const text of log.values()) seen.add(text);
      stored += log.size;
    }
    expect(lost).toEqual([]);
    // No event stands twice. More may be stored than was acknowledged: the killed writer's last.
    expect(seen.size).toBe(stored);
    expect(stored).toBeGreaterThanOrEqual(acknowledgements.count);
    expect(acknowledgements.count).toBeGreaterThanOrEqual(WRITERS * EVENTS_MAX);
    expect(await thefts).toBeGreaterThan(5);
    const figures = { acknowledged: acknowledgements.count, stored, thefts: await thefts, seconds };
    if (process.env["TEST_APPEND_EVENTS"] !== undefined) console.log(JSON.stringify(figures));
  },
);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // No such process.
  }
}
