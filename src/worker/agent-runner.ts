import {
  AttemptStopped,
  type AgentAdapter,
  type Checkpoint,
  type StopRequest,
  type TurnResult,
} from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import { StintError, toStintError } from "../core/error.ts";
import type { NewEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { ModelBinding } from "../core/model.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { Store } from "../core/store.ts";
import type { FileDiff } from "../core/workspace.ts";
import { WorkerAttemptContext } from "./attempt-context.ts";
import type { AttemptWorkspace, OpenAttemptWorkspace } from "./attempt-workspace.ts";
import type { SessionHold } from "./session-hold.ts";
import type { SessionFailure, SessionLifecycleManager } from "./session-lifecycle-manager.ts";

/** What an AgentRunner works with. */
export interface AgentRunnerOptions {
  readonly lifecycle: SessionLifecycleManager;
  readonly store: Store;
  /** The adapter of a name. @throws {agent_unknown} */
  readonly getAgent: (name: string) => AgentAdapter;
  readonly bindModel: (session: SessionSnapshot) => Promise<ModelBinding>;
  readonly openWorkspace: OpenAttemptWorkspace;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long an agent may take to stop before it is killed. */
  readonly stopGraceMs: number;
}

/** Largest diff carried by one event, in characters. */
const DIFF_CHARS_MAX = 65_536;

/**
 * Runs one attempt: opens the workspace, starts the agent, and makes the transition of how it
 * ended. Whatever happens, nothing of the attempt is alive when `runAttempt` resolves, and the
 * session has left ACTIVE, or is another owner's.
 */
export class AgentRunner {
  readonly #options: AgentRunnerOptions;

  constructor(options: AgentRunnerOptions) {
    this.#options = options;
  }

  /** Never rejects: what cannot be written is logged and left to the sweeps. */
  async runAttempt(hold: SessionHold): Promise<void> {
    const { lifecycle, logger } = this.#options;
    try {
      await this.#run(hold);
    } catch (thrown) {
      const error = toStintError(thrown);
      if (error.code === "stale_epoch") return;
      // The lease goes on for other sessions, so this one must not stay ACTIVE unattended.
      logger.error(
        { sessionId: hold.sessionId, code: error.code, error: error.message },
        "Attempt could not be ended",
      );
      await lifecycle
        .pauseSession(hold.sessionId, { reason: "agent_lost", resumeInMs: 5_000 })
        .catch((second: unknown) => {
          lifecycle.loseSession(hold, toStintError(second).message);
        });
    }
  }

  /**
   * An attempt may take several turns: a message that arrives as one ends begins the next. Each has
   * the workspace opened anew, so that nothing of one turn runs on into what is recorded of it.
   */
  async #run(hold: SessionHold): Promise<void> {
    let isFirstTurn = hold.epoch === 1;
    for (;;) {
      const isOver = await this.#runInWorkspace(hold, isFirstTurn);
      if (isOver) return;
      isFirstTurn = false;
    }
  }

  async #runInWorkspace(hold: SessionHold, isFirstTurn: boolean): Promise<boolean> {
    let workspace: AttemptWorkspace;
    try {
      workspace = await this.#options.openWorkspace(hold.session);
    } catch (thrown) {
      await this.#failBeforeStart(hold, toStintError(thrown), "workspace_error");
      return true;
    }
    try {
      await this.#options.lifecycle.commit(hold, { workspacePath: workspace.path });
      const prepared = await this.#prepareAgent(hold);
      if (!prepared) return true;
      const resumeFrom = isFirstTurn
        ? null
        : await this.#options.store.readCheckpoint(hold.sessionId);
      const result = await this.#runTurn(hold, workspace, prepared, resumeFrom);
      await workspace.close();
      return await this.#settle(hold, workspace, result);
    } finally {
      await workspace.close();
    }
  }

  /** The agent and its model; null when the session failed for want of one. */
  async #prepareAgent(hold: SessionHold): Promise<PreparedAgent | null> {
    const { getAgent, bindModel } = this.#options;
    try {
      const agent = getAgent(hold.session.agent);
      return { agent, model: agent.needsModel ? await bindModel(hold.session) : NO_MODEL };
    } catch (thrown) {
      await this.#failBeforeStart(hold, toStintError(thrown), "agent_error");
      return null;
    }
  }

  /** Runs the agent until it ends its turn, or until it was told to stop and has, or was killed. */
  async #runTurn(
    hold: SessionHold,
    workspace: AttemptWorkspace,
    { agent, model }: PreparedAgent,
    resumeFrom: Checkpoint | null,
  ): Promise<TurnResult | StopRequest> {
    const { lifecycle, store, clock, logger } = this.#options;
    const options = { lifecycle, store, hold, workspace, model, resumeFrom, clock, log: logger };
    const context = new WorkerAttemptContext(options);
    const turn = agent.run(context).catch((thrown: unknown): TurnResult | StopRequest => {
      if (hold.stopRequest) return hold.stopRequest;
      if (thrown instanceof AttemptStopped) return thrown.request;
      const error = toStintError(thrown);
      if (error.code === "stale_epoch") return { kind: "lost", message: error.message };
      const reason = error.code === "model_error" ? "model_error" : "agent_error";
      return { outcome: "failed", reason, message: error.message };
    });
    const overdue = this.#stopOverdue(hold);
    const result = await Promise.race([turn, overdue.promise]);
    overdue.cancel();
    return hold.stopRequest ?? result;
  }

  /** Resolves with the request to stop once the agent has had its time to obey it. */
  #stopOverdue(hold: SessionHold): { promise: Promise<StopRequest>; cancel: () => void } {
    const { clock, stopGraceMs } = this.#options;
    let cancel = (): void => undefined;
    const promise = new Promise<StopRequest>((resolve) => {
      const onStop = (): void => {
        const request = hold.stopRequest;
        if (!request) return;
        const timer = clock.setTimer(() => {
          resolve(request);
        }, stopGraceMs);
        cancel = () => {
          timer.cancel();
        };
      };
      cancel = () => {
        hold.signal.removeEventListener("abort", onStop);
      };
      if (hold.signal.aborted) onStop();
      else hold.signal.addEventListener("abort", onStop, { once: true });
    });
    return {
      promise,
      cancel: () => {
        cancel();
      },
    };
  }

  /** Makes the transition. False: the turn's end was refused, messages have arrived. */
  async #settle(
    hold: SessionHold,
    workspace: AttemptWorkspace,
    result: TurnResult | StopRequest,
  ): Promise<boolean> {
    const { lifecycle } = this.#options;
    if (hold.isLost) return true;
    if ("kind" in result) {
      await this.#settleStop(hold, workspace, result);
      return true;
    }
    await this.#recordChanges(hold, workspace);
    if (result.outcome === "failed") {
      await lifecycle.failSession(hold.sessionId, result);
      return true;
    }
    return this.#endTurn(hold, result.message);
  }

  async #endTurn(hold: SessionHold, message: string): Promise<boolean> {
    const { lifecycle } = this.#options;
    const { sessionId } = hold;
    try {
      if (hold.session.keepOpen) {
        await lifecycle.pauseSession(sessionId, {
          reason: "awaiting_input",
          waitingFor: "input",
          unlessInbox: true,
        });
      } else {
        await lifecycle.completeSession(sessionId, { message, unlessInbox: true });
      }
      return true;
    } catch (thrown) {
      if (toStintError(thrown).code !== "inbox_not_empty") throw thrown;
      return false;
    }
  }

  async #settleStop(
    hold: SessionHold,
    workspace: AttemptWorkspace,
    request: StopRequest,
  ): Promise<void> {
    const { lifecycle } = this.#options;
    const { sessionId } = hold;
    const inboxConsumed = request.inboxIds ?? [];
    switch (request.kind) {
      case "pause":
        await lifecycle.pauseSession(sessionId, { reason: "user", inboxConsumed });
        return;
      case "shutdown":
        await lifecycle.pauseSession(sessionId, { reason: "shutdown", resumeInMs: 0 });
        return;
      case "cancel":
        await this.#recordChanges(hold, workspace);
        await lifecycle.failSession(
          sessionId,
          { reason: "cancelled", message: request.message },
          inboxConsumed,
        );
        return;
      case "lost":
        lifecycle.loseSession(hold, request.message);
    }
  }

  /**
   * Reports files that changed without an event of their own (a command wrote them): the last
   * state of the workspace is the truth, not what tools said.
   */
  async #recordChanges(hold: SessionHold, workspace: AttemptWorkspace): Promise<void> {
    const changes = await workspace.readChanges();
    if (changes.length === 0) return;
    const reported = await this.#readReportedPaths(hold.sessionId);
    const events = changes.filter((change) => !reported.has(change.path)).map(describeChange);
    if (events.length > 0) await this.#options.lifecycle.commit(hold, { events });
  }

  async #readReportedPaths(sessionId: string): Promise<ReadonlySet<string>> {
    const paths = new Set<string>();
    let after = 0;
    for (;;) {
      const query = { after, limit: 1_000, types: ["file_change"] } as const;
      const page = await this.#options.store.readEvents(sessionId, query);
      for (const event of page) paths.add(String(event.data["path"]));
      const last = page.at(-1);
      if (!last || page.length < query.limit) return paths;
      after = last.seq;
    }
  }

  async #failBeforeStart(
    hold: SessionHold,
    error: StintError,
    reason: SessionFailure["reason"],
  ): Promise<void> {
    const { code, message } = error;
    await this.#options.lifecycle.failSession(hold.sessionId, { reason, code, message });
  }
}

function describeChange(change: FileDiff): NewEvent {
  const { path, oldPath, action, patch, binary } = change;
  const diff = patch?.slice(0, DIFF_CHARS_MAX);
  const isTruncated = change.truncated === true || (patch?.length ?? 0) > DIFF_CHARS_MAX;
  return {
    type: "file_change",
    data: {
      path,
      action,
      ...(oldPath !== undefined && { oldPath }),
      ...(diff !== undefined && { diff }),
      ...(isTruncated && { diffTruncated: true }),
      ...(binary && { binary }),
    },
  };
}

interface PreparedAgent {
  readonly agent: AgentAdapter;
  readonly model: ModelBinding;
}

const NO_MODEL: ModelBinding = {
  wire: "anthropic",
  modelName: "none",
  baseUrl: "",
  fetch: () => Promise.reject(new StintError("model_unknown", "this agent has no model")),
};
