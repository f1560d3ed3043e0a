import type { Checkpoint } from "../../src/core/attempt.ts";
import type { CommitResult, EventQuery, OwnerCommit, Ownership } from "../../src/core/store.ts";
import { OracleDatabase } from "./oracle-database.ts";
import type { AppendSlot, SessionRow, StoredSession, WorkerRow } from "./oracle-rows.ts";
import { OracleStore, type OracleStoreOptions } from "./oracle-store.ts";
import type { Variant } from "./simulation.ts";

class NoEpochCheck extends OracleDatabase {
  protected override mayAppend(row: SessionRow, slot: AppendSlot): boolean {
    return row.status === "active" && (slot.part === null || row.commitId !== slot.lastId);
  }
}

class NoPlaceCheck extends OracleDatabase {
  protected override mayAppend(row: SessionRow, slot: AppendSlot): boolean {
    const isNew = slot.part === null || row.commitId !== slot.lastId;
    return row.epoch === slot.epoch && row.status === "active" && isNew;
  }
}

class ActiveForEver extends OracleDatabase {
  protected override isLost(): boolean {
    return false;
  }
}

class LeaseRevived extends OracleDatabase {
  protected override mayRenew(): boolean {
    return true;
  }
}

class ClaimWithoutLease extends OracleDatabase {
  protected override mayClaim(_worker: WorkerRow): boolean {
    return true;
  }
}

class SweepByAnotherClock extends OracleDatabase {
  protected override isLost(row: SessionRow): boolean {
    const worker = this.workers.get(row.workerId ?? "");
    const isLate = worker !== undefined && worker.leaseExpiresAt <= this.now + 13_500;
    return super.isLost(row) || (row.status === "active" && isLate);
  }
}

class EndWithoutLookingAtInbox extends OracleDatabase {
  protected override mayLeave(): boolean {
    return true;
  }
}

class LostMessage extends OracleDatabase {
  #count = 0;

  protected override addToInbox(...args: Parameters<OracleDatabase["addToInbox"]>): void {
    if (args[1].kind !== "message" || ++this.#count % 4 !== 0) super.addToInbox(...args);
  }
}

class MessageTakenTwice extends OracleDatabase {
  protected override takeFromInbox(stored: StoredSession, ids: readonly string[]): void {
    for (const item of stored.inbox) {
      if (ids.includes(item.id)) item.consumedEpoch = stored.row.epoch;
    }
  }
}

class TransitionWithoutEvent extends OracleDatabase {
  protected override addEvent(...args: Parameters<OracleDatabase["addEvent"]>): void {
    if (args[1] !== "state_changed" || args[2]["reason"] !== "worker_lost") super.addEvent(...args);
  }
}

/** Writes the event of a transition with whatever is written next. */
class TransitionOutside extends OracleDatabase {
  #late: (() => void)[] = [];

  protected override addEvent(...args: Parameters<OracleDatabase["addEvent"]>): void {
    for (const write of this.#late.splice(0)) write();
    if (args[1] === "state_changed" && args[2]["from"] === "active") {
      this.#late.push(() => super.addEvent(...args));
    } else super.addEvent(...args);
  }
}

/** Believes whoever sweeps about what time it is. */
class ExpiryByCaller extends OracleDatabase {
  judgedAt = 0;

  protected override isLost(row: SessionRow): boolean {
    const worker = this.workers.get(row.workerId ?? "");
    const isLate = worker !== undefined && worker.leaseExpiresAt <= this.judgedAt;
    return row.status === "active" && (worker === undefined || isLate);
  }
}

class ExpiryByWorkerClock extends OracleStore {
  readonly #options: OracleStoreOptions;

  constructor(options: OracleStoreOptions) {
    super(options);
    this.#options = options;
  }

  override sweepLostLeases() {
    (this.#options.database as ExpiryByCaller).judgedAt = this.#options.clock.now();
    return super.sweepLostLeases();
  }
}

/** Goes on after the time of the last event that was read. */
class CursorByTime extends OracleStore {
  override async readEvents(id: string, query: EventQuery) {
    return afterTime(await super.readEvents(id, { limit: 5_000 }), query);
  }

  override async readEventRows(id: string, query: EventQuery) {
    return afterTime(await super.readEventRows(id, { limit: 5_000 }), query);
  }
}

function afterTime<T extends { readonly seq: number; readonly createdAt: Date }>(
  events: readonly T[],
  { after = 0, limit = 500 }: EventQuery,
): readonly T[] {
  const last = events.find(({ seq }) => seq === after)?.createdAt ?? new Date(0);
  return events.filter(({ createdAt }) => createdAt > last).slice(0, limit);
}

class EpochStays extends OracleDatabase {
  protected override changeState(...args: Parameters<OracleDatabase["changeState"]>): void {
    super.changeState(...args);
    if (args[1].reason === "worker_lost") args[0].row.epoch--;
  }
}

class TerminalGoesOn extends OracleDatabase {
  override recordActivity(owners: readonly Ownership[]): void {
    super.recordActivity(owners);
    for (const { sessionId } of owners) {
      const stored = this.sessions.get(sessionId);
      if (stored?.row.completedAt) this.addEvent(stored, "terminal", { output: "late" });
    }
  }

  protected override mayAppend(row: SessionRow, slot: AppendSlot): boolean {
    return super.mayAppend(row, slot) || (row.completedAt !== null && slot.base <= row.lastSeq);
  }
}

class TriedForEver extends OracleDatabase {
  protected override isExhausted(): boolean {
    return false;
  }
}

class BusyTakenForIdle extends OracleDatabase {
  protected override isBusy(): boolean {
    return false;
  }
}

/** A loss of the worker answers the pause that a person asked it for. */
class PauseDiesWithWorker extends OracleDatabase {
  protected override holdsForPause(): boolean {
    return false;
  }
}

class CallOpenedTwice extends OracleDatabase {
  protected override isTakenTwice(): boolean {
    return false;
  }
}

/** Forgets calls that have no outcome, so that an attempt that goes on runs them once more. */
class ForgetfulStore extends OracleStore {
  override async readCheckpoint(sessionId: string): Promise<Checkpoint> {
    const checkpoint = await super.readCheckpoint(sessionId);
    return { ...checkpoint, calls: checkpoint.calls.filter(({ status }) => status !== "open") };
  }
}

/** Answers before the database has. */
class HastyStore extends OracleStore {
  readonly #onAcknowledged: OracleStoreOptions["onAcknowledged"];

  constructor(options: OracleStoreOptions) {
    super({ ...options, onAcknowledged: () => undefined });
    this.#onAcknowledged = options.onAcknowledged;
  }

  override commit(owner: Ownership, lastSeq: number, commit: OwnerCommit): Promise<CommitResult> {
    const written = super.commit(owner, lastSeq, commit);
    if (commit.transition || !commit.events?.length) return written;
    const events = commit.events.map(({ type, data }) => ({ id: "?", type, data }));
    const slot = { ...owner, base: lastSeq, lastId: "?", part: null, events };
    this.#onAcknowledged?.(slot as unknown as AppendSlot);
    const status = "ok" as const;
    return Promise.resolve({ status, lastSeq: lastSeq + events.length, epoch: owner.epoch });
  }
}

const database = (Bug: typeof OracleDatabase): Variant => ({
  createDatabase: (options) => new Bug(options),
});

/** What the simulation must find, by what it is. */
export const BUGS: Readonly<Record<string, Variant>> = {
  "no epoch check in an append": database(NoEpochCheck),
  "no compare-and-set of last_seq": database(NoPlaceCheck),
  "a heartbeat that revives an expired lease": database(LeaseRevived),
  "a claim without a live lease": database(ClaimWithoutLease),
  "a sweep by a clock that is fast": database(SweepByAnotherClock),
  "an expiry by a worker's clock": {
    ...database(ExpiryByCaller),
    createStore: (options) => new ExpiryByWorkerClock(options),
  },
  "a cursor by time": { createStore: (options) => new CursorByTime(options) },
  "a transition outside the transaction of its event": database(TransitionOutside),
  "no sweep of lost leases": database(ActiveForEver),
  "a turn that ends without a look at the inbox": database(EndWithoutLookingAtInbox),
  "a lost inbox message": database(LostMessage),
  "a message that can be taken twice": database(MessageTakenTwice),
  "a transition without its event": database(TransitionWithoutEvent),
  "a transition that leaves the epoch": database(EpochStays),
  "a terminal session that goes on": database(TerminalGoesOn),
  "a sweep that takes a working agent for idle": database(BusyTakenForIdle),
  "a pause that dies with its worker": database(PauseDiesWithWorker),
  "a recovery without a budget": database(TriedForEver),
  "a replayed command: a recovery that repeats a call without outcome": {
    ...database(CallOpenedTwice),
    createStore: (options) => new ForgetfulStore(options),
  },
  "an acknowledgement before the commit": {
    createStore: (options) => new HastyStore(options),
  },
  "a command that outlives its attempt": { disk: { isLenient: true } },
  "a restore that leaves newer files": { disk: { leavesFiles: true } },
  "a snapshot id before its objects": { disk: { isHasty: true } },
};
