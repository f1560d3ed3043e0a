import { AttemptStopped, type StopRequest } from "../core/attempt.ts";
import type { SessionStats } from "../core/event.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { Ownership } from "../core/store.ts";

/**
 * This process's hold on one session: from claim to release. It ends with the transition that this
 * process commits, or at once when the database says that another owner or a transition has taken
 * the session.
 */
export class SessionHold implements Ownership {
  readonly sessionId: string;
  readonly epoch: number;
  readonly session: SessionSnapshot;
  /** The newest seq known to be in the log. */
  lastSeq: number;
  /** Totals of the session, kept equal to the fold of its log. */
  stats: SessionStats;
  readonly #controller = new AbortController();
  readonly #writes = new Set<Promise<unknown>>();

  constructor(session: SessionSnapshot) {
    this.sessionId = session.id;
    this.epoch = session.epoch;
    this.session = session;
    this.lastSeq = session.lastSeq;
    this.stats = session.stats;
  }

  /** Aborts when the agent has to stop, whatever the reason. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The first reason to stop, or null while the agent may work. */
  get stopRequest(): StopRequest | null {
    const reason: unknown = this.signal.reason;
    return reason instanceof AttemptStopped ? reason.request : null;
  }

  /** True once the session is another's: nothing may be written any more. */
  isLost = false;

  /** Tells the agent to stop. The first reason stays, but `lost` overrules what may be written. */
  stop(request: StopRequest): void {
    if (request.kind === "lost") this.isLost = true;
    this.#controller.abort(new AttemptStopped(request));
  }

  /** Keeps a write in mind until it has its answer. */
  trackWrite<T>(write: Promise<T>): Promise<T> {
    const forget = (): void => {
      this.#writes.delete(write);
    };
    this.#writes.add(write);
    write.then(forget, forget);
    return write;
  }

  /** Resolves when the writes under way have their answers: from then on `stats` holds them. */
  async settleWrites(): Promise<void> {
    await Promise.allSettled([...this.#writes]);
  }
}
