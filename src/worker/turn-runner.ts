import type {
  AgentAdapter,
  Checkpoint,
  LedgerCall,
  RecoveryFacts,
  TurnResult,
} from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import { StintError, toStintError } from "../core/error.ts";
import type { SessionEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { ModelBinding, ModelDoor } from "../core/model.ts";
import type { OwnerCommit, Store } from "../core/store.ts";
import { WorkerAttemptContext } from "./attempt-context.ts";
import {
  explainAgentError,
  explainRecoveryError,
  type AttemptEnding,
  type AttemptFailure,
} from "./attempt-ending.ts";
import { AttemptFreezer, type FreezeSettings } from "./attempt-freezer.ts";
import type { AttemptModels } from "./attempt-models.ts";
import type { AttemptWorkspace } from "./attempt-workspace.ts";
import { establishCall } from "./call-facts.ts";
import type { ChangeReport } from "./change-report.ts";
import { readPatiently } from "./patience.ts";
import type { PermissionSettings } from "./permission-desk.ts";
import type { SessionHold } from "./session-hold.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";
import { isUnstored, recoverWorkspace } from "./workspace-recovery.ts";

/** What a TurnRunner works with. */
export interface TurnRunnerOptions {
  readonly lifecycle: SessionLifecycleManager;
  readonly store: Store;
  /** The adapter of a name. @throws {agent_unknown} */
  readonly getAgent: (name: string) => AgentAdapter;
  readonly modelWaitMs: number;
  readonly permissions: PermissionSettings;
  readonly freeze: FreezeSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** One turn of an attempt: its files, what is told of them, its models. */
export interface Turn {
  readonly hold: SessionHold;
  readonly workspace: AttemptWorkspace;
  readonly changes: ChangeReport;
  readonly models: AttemptModels;
  /** Whether nothing was done in this session before. */
  readonly isFirst: boolean;
}

/** The end of the log is searched for what a command printed last. */
const TAIL_EVENTS_MAX = 1_000;

/** Runs turns: makes the files what the log says they are, then lets the agent work. */
export class TurnRunner {
  readonly #options: TurnRunnerOptions;
  readonly #frozen = { taken: 0 };

  constructor(options: TurnRunnerOptions) {
    this.#options = options;
  }

  /**
   * Runs the agent until it ends its turn, or until it was told to stop and has.
   * @throws what is no fault of the agent: the turn is tried again.
   */
  async runTurn(turn: Turn): Promise<AttemptEnding> {
    const { hold, workspace } = turn;
    await this.#options.lifecycle.commit(hold, {
      workspacePath: workspace.hostPath ?? workspace.path,
      ...(workspace.sandbox && { sandbox: workspace.sandbox }),
    });
    const prepared = await this.#prepareAgent(turn);
    if ("outcome" in prepared) return prepared;
    const start = await this.#tryFindStart(turn);
    if ("ending" in start) return start.ending;
    let context: WorkerAttemptContext | null = null;
    try {
      hold.signal.throwIfAborted();
      const lostCalls = start.resumeFrom?.openModelCalls;
      if (lostCalls) await turn.models.closeLost(lostCalls);
      context = this.#createContext(turn, prepared.model, start);
      return await this.#runAgent(turn, prepared.agent, context);
    } catch (thrown) {
      return explainAgentError(hold, thrown, context?.storingFailure?.error === thrown);
    }
  }

  /** The agent and its model, or why there is none. */
  async #prepareAgent(turn: Turn): Promise<PreparedAgent | AttemptFailure> {
    try {
      const agent = this.#options.getAgent(turn.hold.session.agent);
      return { agent, model: agent.needsModel ? await turn.models.bind() : NO_MODEL };
    } catch (thrown) {
      const { code, message } = toStintError(thrown);
      return { outcome: "failed", reason: "agent_error", code, message };
    }
  }

  /** @throws what may be otherwise at another try. */
  async #tryFindStart(turn: Turn): Promise<TurnStart | { readonly ending: AttemptEnding }> {
    try {
      return await this.#findStart(turn);
    } catch (thrown) {
      return { ending: explainRecoveryError(turn.hold, thrown) };
    }
  }

  /** Where the agent goes on, with the files as they were there. */
  async #findStart(turn: Turn): Promise<TurnStart> {
    const { clock, store } = this.#options;
    const { hold, workspace, changes } = turn;
    const readCheckpoint = (): Promise<Checkpoint> =>
      readPatiently(clock, hold.signal, () => store.readCheckpoint(hold.sessionId));
    const checkpoint = turn.isFirst ? null : await readCheckpoint();
    changes.begin(checkpoint?.snapshotId ?? workspace.base);
    if (checkpoint === null) {
      await changes.commit({ id: workspace.base, calls: [] });
      return { resumeFrom: null, recovery: null };
    }
    const recovery = await this.#recoverWorkspace(turn, checkpoint);
    // The results of calls whose effects are gone say so now.
    const isOutdated = checkpoint.calls.some(isUnstored);
    return { recovery, resumeFrom: isOutdated ? await readCheckpoint() : checkpoint };
  }

  async #recoverWorkspace(
    { hold, workspace, changes }: Turn,
    checkpoint: Checkpoint,
  ): Promise<TurnStart["recovery"]> {
    const { session } = hold;
    // Whoever has lost the session meanwhile must not touch files that are another's now.
    hold.signal.throwIfAborted();
    const readTail = (): Promise<readonly SessionEvent[]> => this.#readTail(hold);
    const establish = (call: LedgerCall): ReturnType<typeof establishCall> =>
      establishCall(call, { workspace, readTail });
    const recovery = await recoverWorkspace({
      ...{ session, workspace, checkpoint, establish },
      commitSnapshot: (taken) => changes.commit(taken),
    });
    // Facts are needed until the calls are closed; a further recovery may ask for them.
    const open = checkpoint.calls.filter(({ status }) => status === "open");
    await workspace.discardRecords(new Set(open.map(({ epoch }) => epoch)));
    return recovery;
  }

  /** The end of the log, where the output of a command that was cut off stands. */
  #readTail({ sessionId, lastSeq, signal }: SessionHold): Promise<readonly SessionEvent[]> {
    const { store, clock } = this.#options;
    const after = Math.max(0, lastSeq - TAIL_EVENTS_MAX);
    const query = { after, limit: TAIL_EVENTS_MAX, types: ["terminal"] } as const;
    return readPatiently(clock, signal, () => store.readEvents(sessionId, query));
  }

  #createContext(turn: Turn, model: ModelBinding, start: TurnStart): WorkerAttemptContext {
    const { lifecycle, store, clock, logger, modelWaitMs, permissions } = this.#options;
    const { hold, workspace, changes, models } = turn;
    const openModelDoor = (): Promise<ModelDoor> => models.openDoor();
    const { reachesHosts } = models;
    const door = { openModelDoor, reachesHosts };
    const access = { lifecycle, store, hold, workspace, changes, model, ...door };
    const settings = { modelWaitMs, permissions };
    return new WorkerAttemptContext({ ...access, ...start, ...settings, clock, log: logger });
  }

  /** A program can be frozen for a pause. */
  async #runAgent(
    { hold, workspace }: Turn,
    agent: AgentAdapter,
    context: WorkerAttemptContext,
  ): Promise<TurnResult> {
    const { lifecycle, clock, logger, freeze: settings } = this.#options;
    if (agent.isProgram !== true || !workspace.freezing) return runAgent(agent, context);
    const storeFrozen = (): Promise<OwnerCommit> => context.storeFrozen();
    const access = { hold, workspace, lifecycle, storeFrozen, clock, logger };
    const freezer = new AttemptFreezer({ ...access, settings, places: this.#frozen });
    try {
      return await runAgent(agent, context);
    } finally {
      await freezer.close();
    }
  }
}

interface PreparedAgent {
  readonly agent: AgentAdapter;
  readonly model: ModelBinding;
}

/** Where an agent goes on. */
interface TurnStart {
  readonly resumeFrom: Checkpoint | null;
  readonly recovery: RecoveryFacts | null;
}

/** Runs the agent; however it ends, what it did last is stored. */
async function runAgent(agent: AgentAdapter, context: WorkerAttemptContext): Promise<TurnResult> {
  try {
    return await agent.run(context);
  } finally {
    if (agent.actsUnseen === true) context.storeEnd();
    await context.settleSnapshots();
  }
}

const NO_MODEL: ModelBinding = {
  wire: "anthropic",
  modelName: "none",
  baseUrl: "",
  fetch: () => Promise.reject(new StintError("model_unknown", "this agent has no model")),
};
