import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { SessionEvent } from "../../src/client.ts";
import { Installation } from "../../src/cli/chaos/installation.ts";
import { checkLog, countOrphans, readLog } from "../../src/cli/chaos/log-check.ts";
import { readPercentile } from "../../src/cli/chaos/outcome.ts";
import type { ServiceProcess } from "../../src/cli/chaos/service-process.ts";
import { SessionWatch } from "../../src/cli/chaos/session-watch.ts";
import { BIN } from "../e2e/stint-process.ts";

/** From SIGKILL to the `resumed` event, at worst. */
export const TAKEOVER_MS_MAX = 2_000;

/** Kills of one session: fewer than the fruitless attempts after which it is held for a person. */
const KILLS_PER_SESSION = 4;

/** Of the log of a session with which something is wrong: what its last attempt did. */
const TAIL_EVENTS = 60;

/** Until a command begins or a session ends: work, on however busy a machine, and no promise. */
const PATIENCE_MS = 180_000;

/** What came of a number of kills. */
export interface TakeoverReport {
  /** Each takeover, from SIGKILL to the `resumed` event as the database dates it. */
  readonly takeoverMs: readonly number[];
  readonly orphans: number;
  /** Each broken promise, in words. */
  readonly violations: readonly string[];
}

/**
 * Kills the worker of a session in the middle of a command of 60 s, again and again: two workers at
 * a time, the other takes over, a replacement starts meanwhile. The first one killed is the one that
 * had started Postgres. Stops early, between two sessions, when the signal aborts or a promise is broken.
 */
export async function runTakeovers(
  count: number,
  signal: AbortSignal = new AbortController().signal,
): Promise<TakeoverReport> {
  const installation = await Installation.create({ bin: BIN, env: {} });
  const takeoverMs: number[] = [];
  const violations: string[] = [];
  let orphans = 0;
  try {
    const first = installation.startWorker();
    await first.ready; // It starts Postgres.
    await installation.startServer();
    while (takeoverMs.length < count && violations.length === 0 && !signal.aborted) {
      const kills = Math.min(KILLS_PER_SESSION, count - takeoverMs.length);
      const scene = new TakeoverScene(installation, kills);
      const expectedHolder = takeoverMs.length === 0 ? first : null;
      const seen = await scene.run(expectedHolder);
      takeoverMs.push(...seen.takeoverMs);
      violations.push(...seen.violations);
      orphans += seen.orphans;
    }
    return { takeoverMs, orphans, violations };
  } finally {
    await installation.dispose();
  }
}

/** `takeovers: 60, p50 71 ms, p99 210 ms, worst 240 ms`. */
export function describeTakeovers(takeoverMs: readonly number[]): string {
  const read = (percent: number): number => Math.round(readPercentile(takeoverMs, percent) ?? 0);
  return (
    `takeovers: ${takeoverMs.length}, p50 ${read(50)} ms, ` +
    `p99 ${read(99)} ms, worst ${read(100)} ms`
  );
}

/** One session and the workers that die in it, one after another. */
class TakeoverScene {
  readonly #installation: Installation;
  readonly #kills: number;
  readonly #takeoverMs: number[] = [];
  readonly #violations: string[] = [];
  #orphans = 0;

  constructor(installation: Installation, kills: number) {
    this.#installation = installation;
    this.#kills = kills;
  }

  async run(expectedHolder: ServiceProcess | null): Promise<TakeoverReport> {
    const { client } = this.#installation;
    const { id } = await client.sessions.create(this.#describeSession());
    const watch = new SessionWatch(client, id);
    try {
      for (let kill = 1; kill <= this.#kills; kill++) {
        await watch.find(
          `command ${kill} begins`,
          (event) => printsOf(event) === `begun ${kill}\n`,
          PATIENCE_MS,
        );
        const holder = await this.#installation.findHolder(id);
        if (kill === 1 && expectedHolder !== null && holder !== expectedHolder) {
          throw new Error("the first to be killed must be the one that started Postgres");
        }
        await this.#kill(watch, holder, kill);
      }
      await watch.end(PATIENCE_MS);
      await this.#check(watch);
    } catch (error) {
      this.#violations.push(await this.#describeFailure(id, error));
    } finally {
      watch.close();
    }
    const report = { takeoverMs: this.#takeoverMs, violations: this.#violations };
    return { ...report, orphans: this.#orphans };
  }

  /** Before each kill a stored change; in the killed command a change that must be undone. */
  #describeSession() {
    const steps = Array.from({ length: this.#kills }, (_, index) => {
      const kill = index + 1;
      const counter = this.#counterOf(kill);
      return [
        {
          bash:
            `echo run >> '${counter}'; echo lost > partial; echo lost > kept-0; ` +
            `echo begun ${kill}; sleep 60`,
        },
        { bash: `for file in *; do echo "$file=$(cat "$file")"; done; echo kept > kept-${kill}` },
      ];
    });
    return {
      prompt: "count",
      model: "scripted",
      script: [{ write: { path: "kept-0", content: "kept" } }, ...steps.flat(), { text: "done" }],
    };
  }

  async #kill(watch: SessionWatch, holder: ServiceProcess, kill: number): Promise<void> {
    const { epoch } = await this.#installation.client.sessions.get(watch.sessionId);
    await this.#awaitPeer(holder);
    const killedAt = Date.now();
    holder.signal("SIGKILL");
    const { createdAt } = await watch.find(
      `takeover ${kill}`,
      ({ type, data }) =>
        type === "state_changed" && data["reason"] === "resumed" && Number(data["epoch"]) > epoch,
    );
    this.#takeoverMs.push(Date.parse(createdAt) - killedAt);
    const orphans = await countOrphans(watch.sessionId, epoch);
    this.#orphans += orphans;
    if (orphans > 0) this.#violations.push(`${orphans} processes of a dead attempt live`);
    await holder.exited;
    // Its start is paid for while the session goes on.
    this.#installation.startWorker();
  }

  /** A worker beside the holder that is ready to take over. */
  async #awaitPeer(holder: ServiceProcess): Promise<void> {
    const peers = this.#installation.workers.filter((worker) => worker !== holder);
    if (peers.length === 0) peers.push(this.#installation.startWorker());
    await Promise.any(peers.map(({ ready }) => ready));
  }

  async #check(watch: SessionWatch): Promise<void> {
    const { client } = this.#installation;
    const id = watch.sessionId;
    const session = await client.sessions.get(id);
    const log = await readLog(client, id);
    const broken = checkLog(session, log, watch.events);
    if (session.status !== "completed" || session.attempts !== this.#kills + 1) {
      broken.push(`${session.status} (${session.reason}) after ${session.attempts} attempts`);
    }
    for (let kill = 1; kill <= this.#kills; kill++) {
      const runs = readFileSync(this.#counterOf(kill), "utf8");
      if (runs !== "run\n") broken.push(`command ${kill} ran ${runs.split("\n").length - 1} times`);
    }
    const listings = collectOutputs(log).filter((text) => text.includes("kept-0="));
    const expected = Array.from({ length: this.#kills }, (_, kill) =>
      Array.from({ length: kill + 1 }, (_, file) => `kept-${file}=kept\n`).join(""),
    );
    // The workspace that each next attempt worked in is the last committed snapshot, to the byte.
    if (JSON.stringify(listings) !== JSON.stringify(expected)) {
      broken.push(`the workspace was ${JSON.stringify(listings)}: ${describeTail(log)}`);
    }
    this.#violations.push(...broken.map((what) => `session ${id}: ${what}`));
  }

  /** What a session that did not go on looks like. */
  async #describeFailure(id: string, error: unknown): Promise<string> {
    const { client } = this.#installation;
    const { status, reason, attempts } = await client.sessions.get(id);
    const tail = describeTail(await readLog(client, id));
    const what = (error as Error).message;
    return `session ${id}: ${what}: ${status} (${reason}), ${attempts} attempts: ${tail}`;
  }

  #counterOf(kill: number): string {
    return join(this.#installation.outside, `counter-${kill}-of-${this.#id}`);
  }

  readonly #id = String(performance.now());
}

function describeTail(log: readonly SessionEvent[]): string {
  const last = log.slice(-TAIL_EVENTS);
  return last.map(({ seq, type, data }) => `${seq} ${type} ${JSON.stringify(data)}`).join(" · ");
}

/** What each command printed, in order. */
function collectOutputs(log: readonly SessionEvent[]): string[] {
  const outputs = new Map<unknown, string>();
  for (const event of log) {
    const callId = event.data["callId"];
    if (event.type === "terminal")
      outputs.set(callId, (outputs.get(callId) ?? "") + printsOf(event));
  }
  return [...outputs.values()];
}

function printsOf({ type, data }: SessionEvent): string {
  return type === "terminal" ? String(data["output"] ?? "") : "";
}
