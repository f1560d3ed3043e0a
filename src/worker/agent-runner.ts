import type { AgentAdapter, StopRequest } from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import { StintError, toStintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import type { Store } from "../core/store.ts";
import type { FreezeSettings } from "./attempt-freezer.ts";
import type { AttemptModels } from "./attempt-models.ts";
import { AttemptSettlement, type BackoffSettings, type Refusal } from "./attempt-settlement.ts";
import type { AttemptWorkspace, OpenAttemptWorkspace } from "./attempt-workspace.ts";
import { ChangeReport } from "./change-report.ts";
import type { PermissionSettings } from "./permission-desk.ts";
import type { SessionHold } from "./session-hold.ts";
import { commitSnapshot } from "./snapshot-commit.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";
import { waitWithinStop } from "./stop-bound.ts";
import { TurnRunner } from "./turn-runner.ts";
import { openUnlessStopped } from "./workspace-opening.ts";

/** What an AgentRunner works with. */
export interface AgentRunnerOptions {
  readonly lifecycle: SessionLifecycleManager;
  readonly store: Store;
  /** The adapter of a name. @throws {agent_unknown} */
  readonly getAgent: (name: string) => AgentAdapter;
  /** The models of an attempt. @default none: agents that need one cannot run */
  readonly openModels?: (hold: SessionHold) => AttemptModels;
  readonly openWorkspace: OpenAttemptWorkspace;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long an agent may take to stop before it is killed. */
  readonly stopGraceMs: number;
  /** How sessions wait for what is overloaded or away. @default 60 s, 30 s, 15 min, 24 h */
  readonly backoff?: BackoffSettings;
  /** What agents must ask leave for. @default nothing */
  readonly permissions?: PermissionSettings;
  /** How paused agents that are programs are kept. @default they are stopped */
  readonly freeze?: FreezeSettings;
}

const BACKOFF: BackoffSettings = {
  modelWaitMs: 60_000,
  backoffMs: 30_000,
  backoffMsMax: 900_000,
  backoffTimeoutMs: 86_400_000,
};
const PERMISSIONS: PermissionSettings = {
  permissions: [],
  permissionTimeoutMs: 86_400_000,
  permissionDefault: "deny",
  permissionHoldMs: 120_000,
};
const NO_FREEZING: FreezeSettings = { freezeMs: 0, frozenAgentsMax: 0 };
const refuseModel = (): Promise<never> =>
  Promise.reject(new StintError("model_unknown", "this worker has no models"));
const NO_MODELS: AttemptModels = {
  reachesHosts: false,
  bind: refuseModel,
  openDoor: refuseModel,
  closeLost: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
const MIB = 1_048_576;

/**
 * Runs one attempt: opens the workspace, starts the agent, and makes the transition of how it
 * ended. Whatever happens, no process of the attempt is alive when `runAttempt` resolves, and the
 * session has left ACTIVE, or is another owner's.
 */
export class AgentRunner {
  readonly #options: AgentRunnerOptions;
  readonly #turns: TurnRunner;
  readonly #settlement: AttemptSettlement;

  constructor(options: AgentRunnerOptions) {
    const { backoff = BACKOFF, permissions = PERMISSIONS, freeze = NO_FREEZING } = options;
    const { modelWaitMs } = backoff;
    this.#options = options;
    this.#turns = new TurnRunner({ ...options, modelWaitMs, permissions, freeze });
    this.#settlement = new AttemptSettlement({ ...options, backoff });
  }

  /** Never rejects: what cannot be written is logged and left to the sweeps. */
  async runAttempt(hold: SessionHold): Promise<void> {
    const { logger } = this.#options;
    try {
      await this.#runTurns(hold);
    } catch (thrown) {
      const error = toStintError(thrown);
      const { code, message } = error;
      if (hold.isLost || code === "stale_epoch") return;
      const fields = { sessionId: hold.sessionId, code, error: message };
      if (code === "agent_crashed") logger.warn(fields, "The agent was lost");
      else logger.error(fields, "Attempt could not be ended");
      await this.#settlement.giveBack(hold, error);
    }
  }

  /**
   * An attempt may take several turns: a message that arrives as one ends begins the next. Each has
   * the workspace opened anew, so that nothing of one turn runs on into what is recorded of it.
   */
  async #runTurns(hold: SessionHold): Promise<void> {
    let isFirst = hold.epoch === 1;
    let waiting: Refusal | null = null;
    for (;;) {
      const refusal = await this.#runTurn(hold, isFirst);
      if (refusal === null) return;
      if (refusal.messageId !== null && refusal.messageId === waiting?.messageId) {
        const message = "the agent ended its turn twice without taking a message that waits for it";
        await this.#options.lifecycle.failSession(hold, { reason: "agent_error", message });
        return;
      }
      waiting = refusal;
      isFirst = false;
    }
  }

  /** Prepares, runs and ends one turn. */
  async #runTurn(hold: SessionHold, isFirst: boolean): Promise<Refusal | null> {
    const opened = await openUnlessStopped(hold, this.#options);
    if (!("workspace" in opened)) return this.#settlement.settle(hold, null, opened);
    const { workspace } = opened;
    const changes = this.#openReport(hold, workspace);
    const models = this.#options.openModels?.(hold) ?? NO_MODELS;
    void workspace.diskShort?.then((message) => hold.stop({ kind: "disk", message }));
    try {
      const turn = this.#turns.runTurn({ hold, workspace, changes, models, isFirst });
      const ending = await waitWithinStop(hold, turn, this.#options);
      await workspace.close();
      // What is under way is recorded before the end is: the totals are told with it.
      await models.close();
      const stopped = await this.#makeRoom(hold, workspace);
      return await this.#settlement.settle(hold, changes, stopped ?? ending);
    } finally {
      await Promise.all([workspace.close(), models.close()]);
    }
  }

  #openReport(hold: SessionHold, workspace: AttemptWorkspace): ChangeReport {
    const access = { lifecycle: this.#options.lifecycle, hold, workspace };
    return new ChangeReport({
      takeSnapshot: () => workspace.takeSnapshot(),
      readChanges: (from, to) => workspace.readChanges(from, to),
      commit: (snapshot, events) => commitSnapshot(access, snapshot, events),
      logger: this.#options.logger,
    });
  }

  /** Why the attempt has to stop; one that filled the disk leaves none of that to those after it. */
  async #makeRoom(hold: SessionHold, workspace: AttemptWorkspace): Promise<StopRequest | null> {
    const request = hold.stopRequest;
    if (request?.kind !== "disk" || hold.isLost || !workspace.reclaimDisk) return request;
    try {
      const removed = Math.floor((await workspace.reclaimDisk()) / MIB);
      const message = `${request.message}; ${removed} MiB that it wrote and no stored state holds were removed`;
      return removed === 0 ? request : { ...request, message };
    } catch (thrown) {
      const { code, message } = toStintError(thrown);
      const fields = { sessionId: hold.sessionId, code, error: message };
      this.#options.logger.warn(fields, "What filled the disk could not be removed");
      return request;
    }
  }
}
