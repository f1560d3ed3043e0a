import type { Metrics } from "../core/metrics.ts";
import { StintError } from "../core/error.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { Ownership } from "../core/store.ts";
import { SessionHold } from "./session-hold.ts";

/**
 * The sessions that this process holds, and those that it has paused with their agents frozen. At
 * most one hold per session: a later one, or a newer epoch that the database tells of, ends it.
 */
export class HeldSessions {
  readonly #metrics: Metrics;
  readonly #holds = new Map<string, SessionHold>();
  /** Paused sessions whose processes this process keeps, by the holds that they are kept with. */
  readonly #frozen = new Map<string, SessionHold>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  /** The sessions that are held now. */
  get all(): readonly SessionHold[] {
    return [...this.#holds.values()];
  }

  /** The paused sessions whose agents are frozen here. */
  get frozen(): readonly SessionHold[] {
    return [...this.#frozen.values()];
  }

  get(sessionId: string): SessionHold | undefined {
    return this.#holds.get(sessionId);
  }

  /**
   * A hold must be the present one: a later claim of the same session is another's.
   * @throws {stale_epoch}
   */
  require(session: string | SessionHold): SessionHold {
    const sessionId = typeof session === "string" ? session : session.sessionId;
    const hold = this.#holds.get(sessionId);
    if (hold && (typeof session === "string" || hold === session)) return hold;
    throw new StintError("stale_epoch", `session ${sessionId} is not held by this process`);
  }

  /** Holds what was claimed. A frozen attempt goes on with its hold, if what was frozen was claimed. */
  take(session: SessionSnapshot): { readonly hold: SessionHold; readonly isThawed: boolean } {
    const thawed = this.#thaw(session);
    const hold = thawed ?? new SessionHold(session);
    const earlier = this.#holds.get(hold.sessionId);
    // Taken over its head, and claimed again before a heartbeat could tell.
    if (earlier) this.lose(earlier, "the session was claimed anew");
    this.#holds.set(hold.sessionId, hold);
    this.#count();
    return { hold, isThawed: thawed !== null };
  }

  /** Keeps a hold whose session is paused and whose agent is frozen. */
  keepFrozen(hold: SessionHold): void {
    this.#frozen.set(hold.sessionId, hold);
  }

  /** Ends a hold whose session this process holds no more. */
  release(hold: SessionHold): void {
    if (this.#holds.get(hold.sessionId) === hold) this.#holds.delete(hold.sessionId);
    if (this.#frozen.get(hold.sessionId) === hold) this.#frozen.delete(hold.sessionId);
    this.#count();
  }

  /** Gives up a session that is another's now: its agent stops and nothing more is written. */
  lose(hold: SessionHold, message: string): void {
    hold.stop({ kind: "lost", message });
    this.release(hold);
  }

  /** Gives up what somebody else's transition has taken: the session is at a newer epoch. */
  loseOlder(owner: Ownership, reason: string): void {
    const hold = this.#holds.get(owner.sessionId);
    if (hold && hold.epoch < owner.epoch) this.lose(hold, `forced: ${reason}`);
    const frozen = this.#frozen.get(owner.sessionId);
    if (frozen && frozen.epoch + 1 < owner.epoch) this.lose(frozen, reason);
  }

  /** Whether something of this process works on a session that the database says it holds. */
  isAttended({ sessionId, epoch }: Ownership): boolean {
    return this.#holds.has(sessionId) || this.#frozen.get(sessionId)?.epoch === epoch - 1;
  }

  #thaw(session: SessionSnapshot): SessionHold | null {
    const hold = this.#frozen.get(session.id);
    if (!hold) return null;
    // Paused, then active: each bumps the epoch. Anything more was somebody else's.
    if (session.epoch !== hold.epoch + 2) {
      this.lose(hold, "the session was taken up without its frozen agent");
      return null;
    }
    this.#frozen.delete(session.id);
    hold.renew(session);
    return hold;
  }

  #count(): void {
    this.#metrics.set("activeSessions", {}, this.#holds.size);
  }
}
