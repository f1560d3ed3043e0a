import type { PassingFault, StopRequest } from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import { toStintError, type StintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import type { Store } from "../core/store.ts";
import type { AttemptEnding } from "./attempt-ending.ts";
import type { ChangeReport } from "./change-report.ts";
import { readControlRequest } from "./control-requests.ts";
import { isDatabaseAway } from "./patience.ts";
import type { SessionHold } from "./session-hold.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";

/** How sessions wait for a model that is overloaded or away. */
export interface BackoffSettings {
  /** Waits within one step, in all; the worker's slot is kept. */
  readonly modelWaitMs: number;
  /** The first wait without a worker; each further one without progress is twice as long. */
  readonly backoffMs: number;
  readonly backoffMsMax: number;
  /** After this time in all the session is held for a person. */
  readonly backoffTimeoutMs: number;
}

/** What an AttemptSettlement works with. */
export interface AttemptSettlementOptions {
  readonly lifecycle: SessionLifecycleManager;
  readonly store: Pick<Store, "listInbox">;
  readonly backoff: Omit<BackoffSettings, "modelWaitMs">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The end of a turn was refused: messages have arrived, this one first. */
export interface Refusal {
  readonly messageId: string | null;
}

const RETRY_MS_MIN = 5_000;
const RETRY_MS_MAX = 300_000;

/** Makes the transition that the end of an attempt calls for: which ending becomes which state. */
export class AttemptSettlement {
  readonly #options: AttemptSettlementOptions;

  constructor(options: AttemptSettlementOptions) {
    this.#options = options;
  }

  /**
   * Makes the transition, or says why a turn could not end. What has changed in the files is told
   * before; `changes` is null where they were never opened.
   */
  async settle(
    hold: SessionHold,
    changes: ChangeReport | null,
    ending: AttemptEnding,
  ): Promise<Refusal | null> {
    if (hold.isLost) return null;
    if ("kind" in ending) {
      await this.#settleStop(hold, changes, ending);
      return null;
    }
    if (ending.outcome === "backoff") {
      await this.#backOff(hold, ending);
      return null;
    }
    if (ending.outcome === "failed") {
      await this.#tryRecordChanges(hold, changes);
      await this.#options.lifecycle.failSession(hold, ending);
      return null;
    }
    if (changes) await changes.finish();
    return this.#endTurn(hold, changes, ending.message);
  }

  /**
   * Pauses a session whose attempt could not go on, for another try: the lease goes on for other
   * sessions, so this one must not stay ACTIVE unattended. Never rejects.
   */
  async giveBack(hold: SessionHold, error: StintError): Promise<void> {
    const { lifecycle, clock } = this.#options;
    const { attempts } = hold.session;
    const growing = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempts - 1, 10));
    const resumeInMs = Math.round(growing * (1 + clock.random() / 4));
    const { code, message } = error;
    try {
      if (isDatabaseAway(error)) {
        await this.#backOff(hold, { code: "database_unavailable", message, retryAfterMs: null });
      } else {
        const shown = { error: { code, message } };
        await lifecycle.pauseSession(hold, { reason: "agent_lost", resumeInMs, ...shown });
      }
    } catch (thrown) {
      // The next heartbeat finds that nothing works on it, and gives it back.
      lifecycle.loseSession(hold, toStintError(thrown).message);
    }
  }

  /** The slot is free while the session waits; the attempt counts for nothing. */
  async #backOff(hold: SessionHold, fault: PassingFault): Promise<void> {
    const { lifecycle, clock, backoff } = this.#options;
    const { code, message, retryAfterMs } = fault;
    await lifecycle.pauseSession(hold, {
      reason: "backoff",
      error: { code, message },
      backoff: {
        baseMs: backoff.backoffMs,
        maxMs: backoff.backoffMsMax,
        timeoutMs: backoff.backoffTimeoutMs,
        retryAfterMs,
        chance: clock.random(),
      },
    });
  }

  async #endTurn(
    hold: SessionHold,
    changes: ChangeReport | null,
    message: string,
  ): Promise<Refusal | null> {
    const { lifecycle } = this.#options;
    try {
      if (hold.session.keepOpen) {
        await lifecycle.pauseSession(hold, {
          reason: "awaiting_input",
          waitingFor: "input",
          unlessInbox: true,
        });
      } else {
        await lifecycle.completeSession(hold, { message, unlessInbox: true });
      }
      return null;
    } catch (thrown) {
      if (toStintError(thrown).code !== "inbox_not_empty") throw thrown;
      return this.#readRefusal(hold, changes);
    }
  }

  /** What arrived as the turn ended may be a message, or a request to stop. */
  async #readRefusal(hold: SessionHold, changes: ChangeReport | null): Promise<Refusal | null> {
    const items = await this.#options.store.listInbox([hold.sessionId]);
    const request = readControlRequest(items, hold.sessionId);
    if (!request) return { messageId: items[0]?.id ?? null };
    hold.stop(request);
    return this.settle(hold, changes, request);
  }

  async #settleStop(
    hold: SessionHold,
    changes: ChangeReport | null,
    request: StopRequest,
  ): Promise<void> {
    const { lifecycle } = this.#options;
    const inboxConsumed = request.inboxIds ?? [];
    switch (request.kind) {
      case "pause":
        await lifecycle.pauseSession(hold, { reason: "user", inboxConsumed });
        return;
      case "budget": {
        const { code = "budget_reached", message } = request;
        await lifecycle.pauseSession(hold, { reason: "budget_reached", error: { code, message } });
        return;
      }
      case "disk": {
        const { message } = request;
        const failure = { reason: "workspace_error", code: "disk_full", message } as const;
        // Its files are not stored once more: they are what has filled the disk.
        await lifecycle.failSession(hold, failure);
        return;
      }
      case "login": {
        await this.#tryRecordChanges(hold, changes);
        const { message } = request;
        const code = "model_login_unsupported";
        await lifecycle.failSession(hold, { reason: "model_error", code, message });
        return;
      }
      case "permission":
        // One who has answered meanwhile is not waited for: the database sees to that.
        await lifecycle.pauseSession(hold, {
          reason: "awaiting_permission",
          waitingFor: "permission",
        });
        return;
      case "shutdown":
        await lifecycle.pauseSession(hold, { reason: "shutdown", resumeInMs: 0 });
        return;
      case "cancel": {
        await this.#tryRecordChanges(hold, changes);
        const { message } = request;
        await lifecycle.failSession(hold, { reason: "cancelled", message }, inboxConsumed);
        return;
      }
      case "lost":
        lifecycle.loseSession(hold, request.message);
    }
  }

  /** The last state and what has changed; where the session ends badly its end is told anyway. */
  async #tryRecordChanges(hold: SessionHold, changes: ChangeReport | null): Promise<void> {
    try {
      await changes?.finish();
    } catch (thrown) {
      const { code, message } = toStintError(thrown);
      const fields = { sessionId: hold.sessionId, code, error: message };
      this.#options.logger.warn(fields, "Changed files could not be reported");
    }
  }
}
