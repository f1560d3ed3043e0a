import { randomUUID } from "node:crypto";
import type { Store } from "../../../src/core/store.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { connectStore } from "../../../src/store/postgres-store.ts";
import { newSession } from "../../conformance/store/harness.ts";
import { systemClock } from "../../system-clock.ts";
import { readOutputTexts } from "../output-texts.ts";

const PRODUCERS = 4;
/** Keeps the appending sessions from everybody else: no worker that runs here can drive this agent. */
const AGENT = "append-load";

/**
 * Writers of the log in this process, which keeps what they were told is durable: outside of any
 * disk or Postgres that fails.
 */
export class AppendLoad {
  /** Texts by seq, by session; of every load so far. */
  readonly acknowledged = new Map<string, Map<number, string>>();
  count = 0;
  /** When the last append was acknowledged, by `performance.now()`. */
  lastAckAt = 0;
  #store: Store | null = null;
  #isOver = true;
  #work: Promise<unknown> = Promise.resolve();

  /** Appends to new sessions of the database until `stop`, wherever it may move meanwhile. */
  async start(locate: () => string, sessions = 3): Promise<void> {
    // A file that says where may not be readable now: a rejection, which is tried again.
    const resolveUrl = async (): Promise<string> => Promise.resolve(locate());
    const store = await connectStore({ resolveUrl, clock: systemClock, logger: silentLogger });
    this.#store = store;
    this.#isOver = false;
    const workerId = await registerLoad(store, sessions);
    const owners = [];
    for (let number = 0; number < sessions; number++) {
      const session = newSession({ id: randomUUID(), agent: AGENT });
      await store.createSession(session);
      const request = { workerId, limit: 1, sessionId: session.id, agents: [AGENT] };
      const [claimed] = await store.claimSessions(request);
      if (claimed === undefined) throw new Error("a session of the load could not be claimed");
      const { id, epoch, lastSeq } = claimed.session;
      owners.push({ sessionId: id, epoch, lastSeq });
    }
    const producers = owners.flatMap((owner) => Array<typeof owner>(PRODUCERS).fill(owner));
    this.#work = Promise.all(producers.map((owner) => this.#produce(store, owner)));
  }

  /** Gives up what is not acknowledged yet. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#store?.close();
    this.#store = null;
    await this.#work;
  }

  /** Resolves when so many more were acknowledged. */
  async waitFor(more: number, boundMs = 30_000): Promise<void> {
    const wanted = this.count + more;
    const deadline = performance.now() + boundMs;
    while (this.count < wanted) {
      if (performance.now() > deadline) throw new Error("appends are acknowledged no more");
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /**
   * Reads every log back: what was acknowledged and is not there, or is something else.
   * @throws Error for a log with a gap, an event out of order or an illegal transition
   */
  async findLost(url: string): Promise<string[]> {
    const store = await connectStore({ url, clock: systemClock, logger: silentLogger });
    try {
      const lost: string[] = [];
      for (const [id, texts] of this.acknowledged) {
        const log = await readOutputTexts(store, id);
        const seen = new Set(log.values());
        if (seen.size !== log.size) throw new Error(`an event of ${id} stands twice`);
        for (const [seq, text] of texts) if (log.get(seq) !== text) lost.push(`${id} ${seq}`);
      }
      return lost;
    } finally {
      await store.close();
    }
  }

  async #produce(store: Store, owner: { sessionId: string; epoch: number; lastSeq: number }) {
    const texts = this.acknowledged.get(owner.sessionId) ?? new Map<number, string>();
    this.acknowledged.set(owner.sessionId, texts);
    while (!this.#isOver) {
      const text = randomUUID();
      const data = { command: "load", output: text, final: false };
      const events = [{ type: "terminal", data }] as const;
      try {
        const result = await store.commit(owner, owner.lastSeq, { events });
        if (result.status !== "ok") return; // Its lease ran out while the database was away.
        texts.set(result.lastSeq, text);
        this.count++;
        this.lastAckAt = performance.now();
      } catch {
        return; // The store was closed; nothing was acknowledged.
      }
    }
  }
}

async function registerLoad(store: Store, slots: number): Promise<string> {
  const id = randomUUID();
  const process = { name: "load", host: "load", bootId: "load", pid: 1, pidStartTime: "1" };
  const rest = { version: "0", agents: [AGENT], workspaceHost: null, leaseDurationMs: 600_000 };
  await store.registerWorker({ id, ...process, slots, ...rest });
  return id;
}
