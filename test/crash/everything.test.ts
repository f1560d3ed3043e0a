import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { SessionEvent, StintClient } from "../../src/client.ts";
import type { SessionEvent as LoggedEvent } from "../../src/core/event.ts";
import { foldEvents } from "../../src/core/fold.ts";
import type { JsonObject } from "../../src/core/json.ts";
import { makeDataFolder } from "../data-template.ts";
import { makeFolder, poll, StintProcess } from "../e2e/stint-process.ts";

/** Kills of everything at once. `npm run crash:long` sets 50. */
const ROUNDS = Number(process.env["STINT_TEST_KILLS"] ?? 5);
/** A round takes two, one of them cut off; on a busy machine more. */
const STEPS = ROUNDS * 5;

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

/** One session's log as a reader gets it, page by page: acknowledged, so it stays as it was. */
class SessionReader {
  readonly id: string;
  readonly events: SessionEvent[] = [];

  constructor(id: string) {
    this.id = id;
  }

  /** Reads what is new. */
  async readOn(client: StintClient): Promise<void> {
    const page = await client.sessions.events(this.id, { after: this.events.length, limit: 5_000 });
    this.events.push(...page.events);
  }

  count(matches: (event: SessionEvent) => boolean): number {
    return this.events.filter(matches).length;
  }

  /** The whole log, read anew: it begins with all that was read before, and folds to what is stored. */
  async verify(client: StintClient): Promise<void> {
    const seen = [...this.events];
    this.events.length = 0;
    for (let before = -1; before < this.events.length;) {
      before = this.events.length;
      await this.readOn(client);
    }
    expect(this.events.slice(0, seen.length)).toEqual(seen);
    const log = this.events.map((event) => ({ ...event, createdAt: new Date(event.createdAt) }));
    const session = await client.sessions.get(this.id);
    const { status, reason, epoch, lastSeq, stats } = session;
    expect(foldEvents(log as unknown as LoggedEvent[])).toEqual({
      ...{ status, reason, epoch, lastSeq, stats },
    });
  }
}

const isFinished = ({ type, data }: SessionEvent): boolean =>
  type === "terminal" && data["final"] === true && data["exitCode"] === 0;

test("a session completes although worker, server and Postgres are killed together again and again", async () => {
  const folder = makeFolder("stint everything ");
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  // What commands look at is in no workspace.
  const outside = join(folder.path, "outside");
  mkdirSync(outside);
  const start = (role: string, given: Record<string, string> = {}): StintProcess => {
    const env = { STINT_SANDBOX_WRITE_PATHS: outside, ...given };
    const started = new StintProcess([role, "--json"], folder.path, env);
    cleanups.push(() => started.stop("SIGKILL"));
    return started;
  };
  // The bystander lives through it all: its one slot is taken by a command that talks on and on.
  const bystander = start("worker", { STINT_WORKER_SLOTS: "1" });
  await bystander.ready();
  let victim = start("dev", { STINT_WORKER_SLOTS: "0" });
  let client = await victim.connect();
  const isOver = join(outside, "over");
  const talk = `for ((i = 1; ; i++)); do echo tick $i; [ -e '${isOver}' ] && break; sleep 0.1; done`;
  const create = async (script: readonly JsonObject[]): Promise<SessionReader> => {
    const { id } = await client.sessions.create({
      ...{ prompt: "go on", model: "scripted", script: [...script, { text: "done" }] },
      limits: { maxIterations: STEPS + 10, commandTimeoutMs: 3_600_000 },
    });
    return new SessionReader(id);
  };
  const aside = await create([{ bash: talk }]);
  await poll(async () => {
    await aside.readOn(client);
    return aside.count(({ type }) => type === "terminal") > 0 ? true : null;
  }, 60_000);
  await victim.stop("SIGKILL");
  victim = start("dev");
  client = await victim.connect();

  const script = Array.from({ length: STEPS }, (_, step) => ({
    bash: `echo step ${step} >> steps; [ -e '${isOver}' ] || sleep 0.3`,
  }));
  const main = await create(script);
  const startedAt = performance.now();
  /** When each round's Postgres was killed. */
  const killedAt: number[] = [];
  const waitForCommands = (count: number): Promise<true> =>
    poll(async () => {
      await Promise.all([main.readOn(client), aside.readOn(client)]);
      return main.count(isFinished) >= count ? true : null;
    }, 60_000);
  for (let round = 1; round <= ROUNDS; round++) {
    // Each attempt finishes a command before it is killed in the next one.
    await waitForCommands(main.count(isFinished) + 1);
    killedAt.push(Date.now());
    const killed = victim.stop("SIGKILL");
    killPostgres(folder.path);
    await killed;
    victim = start("dev");
    client = await victim.connect();
  }
  await waitForCommands(main.count(isFinished) + 1);
  const tookMs = performance.now() - startedAt;
  writeFileSync(isOver, "");
  for (const { id } of [main, aside]) {
    const session = await poll(async () => {
      const found = await client.sessions.get(id);
      return found.completedAt === null ? null : found;
    }, 120_000);
    expect(session.status).toBe("completed");
  }
  const seenCount = main.events.length + aside.events.length;
  await main.verify(client);
  await aside.verify(client);

  // Each attempt was lost with its worker, and one more brought the session to its end.
  expect(await client.sessions.get(main.id)).toMatchObject({ attempts: ROUNDS + 1 });
  const changes = main.events.filter(({ type }) => type === "state_changed");
  const lost = changes.filter(({ data }) => data["reason"] === "worker_lost");
  expect(lost).toHaveLength(ROUNDS);
  // After no start of Postgres was a lease judged of a worker that lived.
  expect(await client.sessions.get(aside.id)).toMatchObject({ attempts: 1, epoch: 2 });
  const workerIds = new Set(lost.map(({ data }) => data["workerId"]));
  expect(workerIds.size).toBe(ROUNDS);
  expect(workerIds).not.toContain(aside.events.find(isStart)?.data["workerId"]);
  // What the living worker's command said is there once, and in order, whatever became of Postgres.
  const said = aside.events.map(({ type, data }) => (type === "terminal" ? data["output"] : ""));
  const ticks = said.join("").match(/\d+/g)?.map(Number) ?? [];
  expect(ticks).toEqual(ticks.map((_, index) => index + 1));

  // Each step once or, where it was cut off, not at all: what it had done was undone.
  const { workspace } = await client.sessions.get(main.id);
  const lines = readFileSync(join(workspace.path ?? "", "steps"), "utf8").match(/\d+/g);
  expect(new Set(lines).size).toBe(lines?.length);
  const finished = main.count(isFinished);
  expect(lines).toHaveLength(finished);

  const resumedMs = killedAt.map((at, round) => {
    const resumed = changes.filter(({ data }) => data["reason"] === "resumed")[round];
    return Date.parse(resumed?.createdAt ?? "") - at;
  });
  const sorted = resumedMs.toSorted((a, b) => a - b);
  console.log(
    `everything killed: ${ROUNDS} times in ${(tookMs / 1_000).toFixed(1)} s, ` +
      `${(tookMs / 1_000 / ROUNDS).toFixed(2)} s a round; ` +
      `${main.events.length + aside.events.length} events, ${seenCount} seen, 0 lost; resumed after ` +
      `${sorted[Math.floor(sorted.length / 2)]} ms, worst ${sorted.at(-1)} ms; ` +
      `bystander: ${ticks.length} lines in order, 0 takeovers`,
  );
}, 1_200_000);

function isStart({ type, data }: SessionEvent): boolean {
  return type === "state_changed" && data["reason"] === "started";
}
