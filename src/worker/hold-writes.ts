import { isErrorCode, StintError } from "../core/error.ts";
import { addStats } from "../core/fold.ts";
import type { JsonObject } from "../core/json.ts";
import type { OwnerCommit, Store } from "../core/store.ts";
import type { HeldSessions } from "./held-sessions.ts";
import type { SessionHold } from "./session-hold.ts";

/** The writes of held sessions: fenced by the epoch of the hold, which follows what was written. */
export class HoldWrites {
  readonly #store: Pick<Store, "commit">;
  readonly #held: HeldSessions;

  constructor(store: Pick<Store, "commit">, held: HeldSessions) {
    this.#store = store;
    this.#held = held;
  }

  /** See `SessionLifecycleManager.commit`. */
  commit(hold: SessionHold, commit: OwnerCommit): Promise<number> {
    if (hold.isLost) return Promise.reject(staleEpoch(hold));
    return hold.trackWrite(this.#commit(hold, commit));
  }

  async #commit(hold: SessionHold, commit: OwnerCommit): Promise<number> {
    const result = await this.#store.commit(hold, hold.lastSeq, commit);
    switch (result.status) {
      case "ok":
        noteWritten(hold, commit, result.lastSeq);
        return result.lastSeq;
      case "rejected":
        throw new StintError(isErrorCode(result.code) ? result.code : "internal", result.message, {
          fields: { sessionId: hold.sessionId, code: result.code },
        });
      default:
        this.#held.lose(hold, "another owner or a transition has taken the session");
        throw staleEpoch(hold);
    }
  }
}

function noteWritten(hold: SessionHold, commit: OwnerCommit, lastSeq: number): void {
  hold.lastSeq = Math.max(hold.lastSeq, lastSeq);
  if (commit.snapshot) {
    const { id, store = null } = commit.snapshot;
    hold.snapshot = { id, store };
  }
  for (const { type, data } of commit.events ?? []) {
    hold.stats = addStats(hold.stats, type, data as JsonObject);
  }
}

function staleEpoch({ sessionId, epoch }: SessionHold): StintError {
  return new StintError("stale_epoch", `session ${sessionId} is no longer held at epoch ${epoch}`, {
    fields: { sessionId, epoch },
  });
}
