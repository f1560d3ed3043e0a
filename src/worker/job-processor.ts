import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { InboxItem, Store } from "../core/store.ts";
import type { AgentRunner } from "./agent-runner.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { createPeriodicService, type Service } from "./service.ts";
import type { SessionHold } from "./session-hold.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";

/** What a JobProcessor works with. */
export interface JobProcessorOptions {
  readonly lifecycle: SessionLifecycleManager;
  readonly store: Store;
  readonly runner: AgentRunner;
  readonly heartbeat: Heartbeat;
  /** Sessions at a time. */
  readonly slots: number;
  /** Only sessions of these agents are claimed. */
  readonly agents: readonly string[];
  readonly claimIntervalMs: number;
  /** Bound of `stop`: agents that have not ended by then were killed before. */
  readonly shutdownGraceMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The claim loop of one worker: claims what is due while slots are free, hands each session to the
 * AgentRunner, and brings pauses and cancels to the agents that run.
 */
export class JobProcessor implements Service {
  readonly #options: JobProcessorOptions;
  readonly #attempts = new Map<SessionHold, Promise<void>>();
  readonly #loop: ReturnType<typeof createPeriodicService>;
  #unwatch: (() => void) | null = null;
  #isStopping = false;

  constructor(options: JobProcessorOptions) {
    this.#options = options;
    this.#loop = createPeriodicService({
      name: "claim",
      intervalMs: options.claimIntervalMs,
      clock: options.clock,
      logger: options.logger,
      runOnce: () => this.runOnce(),
    });
  }

  /** Sessions that run here now. */
  get running(): number {
    return this.#attempts.size;
  }

  start(): void {
    this.#unwatch ??= this.#options.store.watchWork(() => {
      this.#loop.wake();
    });
    this.#loop.start();
  }

  /**
   * Stops claiming, pauses what runs (`shutdown`, resumable at once) and waits for it within
   * `shutdownGraceMs`; whatever is left then is given up to the sweeps. Idempotent.
   */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#unwatch?.();
    await this.#loop.stop();
    this.#options.lifecycle.shutdown();
    await this.#settleWithin(this.#options.shutdownGraceMs);
    for (const hold of this.#attempts.keys()) {
      this.#options.lifecycle.loseSession(hold, "it did not stop in time");
    }
  }

  /** One pass: control requests first, then claims. Returns what it did. */
  async runOnce(): Promise<{ readonly claimed: number; readonly stopped: number }> {
    const stopped = await this.#deliverControls();
    const claimed = await this.#claim();
    return { claimed, stopped };
  }

  async #claim(): Promise<number> {
    const { lifecycle, runner, heartbeat, slots, agents } = this.#options;
    const workerId = heartbeat.workerId;
    const limit = slots - this.#attempts.size;
    if (workerId === null || limit <= 0 || this.#isStopping) return 0;
    const claimed = await lifecycle.claimSessions({ workerId, limit, agents });
    for (const { hold } of claimed) {
      const attempt = runner.runAttempt(hold).finally(() => {
        this.#attempts.delete(hold);
        this.#loop.wake();
      });
      this.#attempts.set(hold, attempt);
      // A stop that began while the claim was under way must reach this session too.
      if (this.#isStopping) lifecycle.shutdown();
    }
    return claimed.length;
  }

  async #deliverControls(): Promise<number> {
    const running = new Map([...this.#attempts.keys()].map((hold) => [hold.sessionId, hold]));
    if (running.size === 0) return 0;
    const items = await this.#options.store.listInbox([...running.keys()]);
    let stopped = 0;
    for (const item of items) {
      const hold = running.get(item.sessionId);
      if (item.kind === "message" || !hold || hold.stopRequest) continue;
      hold.stop(describeStop(item.kind, items, hold));
      stopped++;
    }
    return stopped;
  }

  async #settleWithin(graceMs: number): Promise<void> {
    if (this.#attempts.size === 0) return;
    const { clock } = this.#options;
    await new Promise<void>((resolve) => {
      const timer = clock.setTimer(resolve, graceMs);
      void Promise.allSettled(this.#attempts.values()).then(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}

/** A stop that answers all control requests of its kind. */
function describeStop(
  kind: "pause" | "cancel",
  items: readonly InboxItem[],
  hold: SessionHold,
): Parameters<SessionHold["stop"]>[0] {
  const mine = items.filter((item) => item.sessionId === hold.sessionId && item.kind !== "message");
  const wanted = mine.some((item) => item.kind === "cancel") ? "cancel" : kind;
  const message = wanted === "cancel" ? "the session was cancelled" : "a user asked for a pause";
  return { kind: wanted, message, inboxIds: mine.map((item) => item.id) };
}
