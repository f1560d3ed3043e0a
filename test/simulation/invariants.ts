import { EMPTY_FOLD, foldEvent, type FoldedSession } from "../../src/core/fold.ts";
import type { OracleDatabase } from "./oracle-database.ts";
import type { AppendSlot, SessionRow, StoredEvent, StoredSession } from "./oracle-rows.ts";
import type { WireCall } from "./oracle-store.ts";

/** A promise was broken; the message says which, and where. */
export class InvariantBroken extends Error {}

/** Which promise a failure is about, without what tells one of its breaches from another. */
export function nameInvariant(error: unknown): string {
  const { name, message } = error as Error;
  const kind = error instanceof InvariantBroken ? "" : `${name}: `;
  const subject = message
    .replace(/^STINT_SIM_SEED=\d+: /, "")
    .replace(/( is stored as|ms:) .*$/, "");
  const text = subject
    .replaceAll(/"[^"]*"/g, "…")
    .replaceAll(/\b[0-9a-f]{8}-[0-9a-f-]{27}\b/g, "…");
  return kind + text.replaceAll(/\d+/g, "…").replaceAll(/…( …)+/g, "…");
}

/** What is known of one session from its log so far. */
interface Seen {
  fold: FoldedSession;
  readonly ids: Set<string>;
  readonly texts: Set<string>;
  /** Attempts in a row that were lost without a model step or an outcome. */
  fruitless: number;
  hasProgress: boolean;
  orphanSince: number | null;
  /** A person's pause was accepted, and nothing since that ends it. */
  isHeld: boolean;
}

/** A sweep each second, and what its statement takes. */
const ORPHAN_MS_MAX = 1_100;
const FRUITLESS_MAX = 5;

/** Watches a database from outside: knows what must hold, not how it is done. */
export class Invariants {
  readonly #database: OracleDatabase;
  readonly #seen = new Map<string, Seen>();
  readonly #dirty = new Set<string>();
  readonly #acknowledged: { readonly sessionId: string; readonly slot: AppendSlot }[] = [];

  constructor(database: OracleDatabase) {
    this.#database = database;
    database.onChanged = (sessionId) => this.#dirty.add(sessionId);
  }

  /**
   * Carries out a statement and looks at what it was allowed to do. Returns what tells its outcome: a
   * refusal of the database is no broken promise.
   */
  carryOut<T>(call: WireCall, work: () => T): () => T {
    const { slot, workerId, sessionId } = call;
    const worker = workerId === undefined ? undefined : this.#database.workers.get(workerId);
    const wasLive = worker !== undefined && this.#isLive(worker.id);
    const before = slot && { ...this.#database.find(slot.sessionId) };
    const commanded = sessionId === undefined ? null : { ...this.#database.find(sessionId) };
    const askers = call.command === "sweepPermissions" ? this.#listAskers() : [];
    let tell: () => T;
    try {
      const value = work();
      tell = () => value;
      if (sessionId !== undefined) this.#noteCommand(call.command, sessionId, commanded ?? {});
      for (const asker of askers) this.#noteCommand(call.command, asker.id, asker);
    } catch (error) {
      tell = () => {
        throw error as Error;
      };
    }
    if (worker !== undefined && !wasLive && this.#isLive(worker.id)) {
      broken(`the lease of ${worker.id} was revived after its end`);
    }
    const after = slot && this.#database.find(slot.sessionId);
    if (slot && after && after.lastSeq !== before?.lastSeq && slot.epoch !== before?.epoch) {
      broken(`epoch ${slot.epoch} wrote to ${after.id}, which is at ${before?.epoch}`);
    }
    return tell;
  }

  /** The writer of these events was told that they are durable. */
  acknowledge(slot: AppendSlot): void {
    this.#acknowledged.push({ sessionId: slot.sessionId, slot });
    this.#requireEvents(slot);
  }

  /** After each step. */
  check(): void {
    for (const sessionId of this.#dirty) {
      const stored = this.#database.sessions.get(sessionId);
      if (stored) this.#checkLog(stored);
    }
    this.#dirty.clear();
    for (const stored of this.#database.sessions.values()) this.#checkOwner(stored);
  }

  /** When everything has come to rest. */
  checkEnd(messages: readonly SentMessage[]): void {
    for (const { slot } of this.#acknowledged) this.#requireEvents(slot);
    for (const message of messages) this.#checkMessage(message);
    for (const { row, inbox } of this.#database.sessions.values()) {
      const isWaiting = inbox.some((item) => item.kind === "message" && item.consumedAt === null);
      if (
        row.status === "paused" &&
        row.waitingFor === "input" &&
        isWaiting &&
        !this.#seenOf(row.id).isHeld
      ) {
        broken(`session ${row.id} waits for input although a message waits for it`);
      }
    }
  }

  /** What a person was told that it was done. */
  #noteCommand(command: WireCall["command"], sessionId: string, before: Partial<SessionRow>): void {
    const seen = this.#seenOf(sessionId);
    if (command === "pauseSession") seen.isHeld = true;
    if (command === "resumeSession") seen.isHeld = false;
    if (before.status !== "paused") return;
    const isAnswer = command === "decidePermission" || command === "sweepPermissions";
    const wasAsking = before.waitingFor === "permission" && before.reason !== "user";
    const isAsking = this.#database.find(sessionId)?.waitingFor === "permission";
    if (isAnswer && wasAsking && !isAsking) seen.isHeld = false;
    if (command === "sendMessage" && before.waitingFor === "input") seen.isHeld = false;
  }

  #listAskers(): SessionRow[] {
    const rows = [...this.#database.sessions.values()].map(({ row }) => row);
    return rows.filter(({ waitingFor }) => waitingFor === "permission").map((row) => ({ ...row }));
  }

  #isLive(workerId: string): boolean {
    const worker = this.#database.workers.get(workerId);
    return (
      worker !== undefined && worker.deadAt === null && worker.leaseExpiresAt > this.#database.now
    );
  }

  #checkLog({ row, events }: StoredSession): void {
    const seen = this.#seenOf(row.id);
    for (const event of events.slice(seen.fold.lastSeq)) this.#readEvent(row.id, seen, event);
    const { status, reason, epoch, lastSeq, stats } = seen.fold;
    const stored = [row.status, row.reason, row.epoch, row.lastSeq, JSON.stringify(row.stats)];
    const folded = [status, reason, epoch, lastSeq, JSON.stringify(stats)];
    if (stored.join() !== folded.join()) {
      broken(`session ${row.id} is stored as ${stored.join()}, its log says ${folded.join()}`);
    }
  }

  #readEvent(sessionId: string, seen: Seen, event: StoredEvent): void {
    try {
      const createdAt = new Date(event.createdAt);
      seen.fold = foldEvent(seen.fold, { ...event, sessionId, createdAt });
    } catch (error) {
      broken(`session ${sessionId}: ${(error as Error).message}`);
    }
    if (seen.ids.has(event.id)) broken(`event ${event.id} is twice in the log of ${sessionId}`);
    seen.ids.add(event.id);
    if (event.type === "state_changed") {
      this.#readTransition(sessionId, seen, event);
      if (event.data["reason"] === "idle_timeout") this.#checkIdle(sessionId, event);
    }
    if (event.type === "thinking" || event.type === "tool") seen.hasProgress = true;
    if (event.type === "user_message") {
      const text = String(event.data["text"]);
      if (seen.texts.has(text)) broken(`message "${text}" was taken twice by ${sessionId}`);
      seen.texts.add(text);
    }
  }

  #readTransition(sessionId: string, seen: Seen, { data }: StoredEvent): void {
    const { to, reason } = data;
    const workerId = String(data["workerId"]);
    if (to === "active" && !this.#isLive(workerId)) {
      broken(`session ${sessionId} was claimed by ${workerId} without a live lease`);
    }
    if (reason === "worker_lost" && this.#isLive(workerId)) {
      broken(`session ${sessionId} was taken from ${workerId}, whose lease lives`);
    }
    if (to === "active") {
      if (seen.isHeld) broken(`session ${sessionId} goes on although a person paused it`);
      seen.hasProgress = false;
      return;
    }
    const isLoss = reason === "worker_lost" || reason === "agent_lost";
    seen.fruitless = isLoss && !seen.hasProgress ? seen.fruitless + 1 : 0;
    if (seen.fruitless >= FRUITLESS_MAX) {
      broken(`session ${sessionId} is tried again after ${seen.fruitless} attempts in vain`);
    }
  }

  /** What works within its limits is not idle. The rows of the work are as the end found them. */
  #checkIdle(sessionId: string, { data }: StoredEvent): void {
    const { now, sessions } = this.#database;
    const { steps = [], calls = [] } = sessions.get(sessionId) ?? {};
    const epoch = Number(data["epoch"]) - 1;
    const asks = steps.some(
      (one) => !one.isFinished && one.epoch === epoch && one.deadlineAt > now,
    );
    const acts = calls.some(({ status, deadlineAt }) => status === "unknown" && deadlineAt > now);
    if (asks || acts) broken(`session ${sessionId} expired as idle in the middle of its work`);
  }

  #checkOwner({ row }: StoredSession): void {
    const seen = this.#seenOf(row.id);
    if (row.status !== "active" || this.#isLive(row.workerId ?? "")) {
      seen.orphanSince = null;
      return;
    }
    const { now } = this.#database;
    seen.orphanSince ??= now;
    if (now - seen.orphanSince > ORPHAN_MS_MAX) {
      broken(`session ${row.id} is active for ${now - seen.orphanSince} ms without a live lease`);
    }
  }

  #requireEvents({ sessionId, events, base }: AppendSlot): void {
    const log = this.#database.sessions.get(sessionId)?.events ?? [];
    for (const [place, { id }] of events.entries()) {
      if (log[base + place]?.id !== id) {
        broken(`event ${id} of ${sessionId} was acknowledged and is not at ${base + place + 1}`);
      }
    }
  }

  #checkMessage({ id, sessionId, text }: SentMessage): void {
    const stored = this.#database.sessions.get(sessionId);
    const item = stored?.inbox.find((one) => one.id === id);
    if (!stored || !item) broken(`message ${id} was accepted by ${sessionId} and is gone`);
    const isLogged = this.#seenOf(sessionId).texts.has(text);
    if (isLogged !== (item.consumedEpoch !== null)) {
      broken(`message ${id}: taken ${item.consumedEpoch !== null}, logged ${isLogged}`);
    }
    if (stored.row.status === "completed" && item.deliveredIteration === null) {
      broken(`session ${sessionId} completed without giving message ${id} to its agent`);
    }
  }

  #seenOf(sessionId: string): Seen {
    const known = this.#seen.get(sessionId);
    if (known) return known;
    const none = { fruitless: 0, hasProgress: false, orphanSince: null, isHeld: false };
    const seen = { fold: EMPTY_FOLD, ids: new Set<string>(), texts: new Set<string>(), ...none };
    this.#seen.set(sessionId, seen);
    return seen;
  }
}

/** A message that the database has accepted. */
export interface SentMessage {
  readonly id: string;
  readonly sessionId: string;
  readonly text: string;
}

/** @throws InvariantBroken always. */
export function broken(message: string): never {
  throw new InvariantBroken(message);
}
