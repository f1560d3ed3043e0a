import type {
  AttemptContext,
  AttemptLimits,
  AttemptStopped,
  CallId,
  CallIntent,
  CallOutcome,
  Checkpoint,
  Commit,
  CustodyProcess,
  InboxMessage,
  RecoveryFacts,
  SpawnSpec,
} from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import type { NewEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { ModelBinding, ModelDoor } from "../core/model.ts";
import type { AskedPermission, PermissionDecision } from "../core/permission.ts";
import type { InboxItem, OwnerCommit, Store } from "../core/store.ts";
import type { WorkspaceFiles } from "../core/workspace.ts";
import type { AttemptWorkspace } from "./attempt-workspace.ts";
import type { ChangeReport } from "./change-report.ts";
import { readPatiently } from "./patience.ts";
import { PermissionDesk, type PermissionSettings } from "./permission-desk.ts";
import type { SessionHold } from "./session-hold.ts";
import { SnapshotTrail } from "./snapshot-trail.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";

/** Characters of messages taken at once. */
const TAKEN_CHARS_MAX = 1_048_576;

/** What an attempt's context is made of. */
export interface AttemptContextOptions {
  readonly lifecycle: SessionLifecycleManager;
  readonly store: Store;
  readonly hold: SessionHold;
  readonly workspace: AttemptWorkspace;
  /** Tells the log what changes in the files. */
  readonly changes: ChangeReport;
  readonly model: ModelBinding;
  /** Opens the gateway of this attempt as a door for programs. */
  readonly openModelDoor: () => Promise<ModelDoor>;
  /** Whether that door leads to other hosts than models. */
  readonly reachesHosts: boolean;
  readonly resumeFrom: Checkpoint | null;
  readonly recovery: RecoveryFacts | null;
  readonly clock: Clock;
  readonly log: Logger;
  readonly modelWaitMs: number;
  readonly permissions: PermissionSettings;
}

/**
 * What an adapter sees of Stint. Every write goes through the hold of this attempt: once it is
 * lost, each of them fails with `stale_epoch`.
 */
export class WorkerAttemptContext implements AttemptContext {
  readonly sessionId: string;
  readonly prompt: string;
  readonly workspace: string;
  readonly home: string;
  readonly limits: AttemptLimits;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly model: ModelBinding;
  readonly files: WorkspaceFiles;
  readonly homeFiles: WorkspaceFiles;
  readonly resumeFrom: Checkpoint | null;
  readonly recovery: RecoveryFacts | null;
  readonly #readOnlyCalls = new Set<CallId>();
  /** Calls with an effect that have no outcome yet. */
  readonly #openCalls = new Set<CallId>();
  readonly #closing = new Set<Promise<void>>();
  readonly #snapshots: SnapshotTrail;
  readonly #desk: PermissionDesk;
  #door: ModelDoor | null = null;
  readonly #options: AttemptContextOptions;

  constructor(options: AttemptContextOptions) {
    const { hold, workspace } = options;
    this.#options = options;
    this.sessionId = hold.sessionId;
    this.prompt = hold.session.prompt;
    this.limits = { ...hold.session.limits, modelWaitMs: options.modelWaitMs };
    this.signal = hold.signal;
    this.workspace = workspace.path;
    this.home = workspace.home;
    this.files = refuseLateWrites(workspace.files, hold);
    this.homeFiles = refuseLateWrites(workspace.homeFiles, hold);
    this.model = options.model;
    this.resumeFrom = options.resumeFrom;
    this.recovery = options.recovery;
    this.#snapshots = new SnapshotTrail({
      store: (calls) => options.changes.store(calls, [...this.#openCalls]),
    });
    this.#desk = new PermissionDesk({
      ...{ hold, store: options.store, settings: options.permissions, clock: options.clock },
      commit: (commit) => options.lifecycle.commitOfAgent(hold, commit),
      resolvePath: (path) => workspace.files.resolve(path, workspace.path),
      places: { workspace: workspace.path, home: workspace.home },
    });
    this.clock = options.clock;
    this.log = options.log;
  }

  /** Changes when the attempt is frozen and goes on. */
  get epoch(): number {
    return this.#options.hold.epoch;
  }

  async openModelDoor(): Promise<ModelDoor> {
    this.signal.throwIfAborted();
    const { openModelDoor, workspace } = this.#options;
    this.#door ??= await openModelDoor();
    return workspace.showDoor?.(this.#door) ?? this.#door;
  }

  async restoreHome(): Promise<boolean> {
    this.signal.throwIfAborted();
    const last = this.resumeFrom?.snapshotId ?? null;
    return last !== null && this.#options.workspace.restoreHome(last);
  }

  async spawn(spec: SpawnSpec): Promise<CustodyProcess> {
    const { hold, workspace, reachesHosts, openModelDoor } = this.#options;
    await hold.passGate();
    this.signal.throwIfAborted();
    // Where commands have a network of their own they need no door to other hosts.
    if (reachesHosts && workspace.hasNetwork === false) {
      this.#door ??= await openModelDoor();
      this.signal.throwIfAborted();
    }
    return workspace.spawn(spec, this.#door);
  }

  commit(commit: Commit): Promise<number> {
    this.#options.changes.note(commit.events ?? []);
    return this.#options.lifecycle.commitOfAgent(this.#options.hold, commit);
  }

  async emit(...events: readonly NewEvent[]): Promise<void> {
    if (events.length > 0) await this.commit({ events });
  }

  async openCall(intent: CallIntent): Promise<CallId> {
    const { permissionId, mayHaveBegun = false, ...openCall } = intent;
    const hasRun = mayHaveBegun && intent.hasEffect !== false && this.#snapshots.isStoring;
    // Nothing acts before what came before it is stored, or once the agent was told to stop.
    if (intent.hasEffect !== false) await this.#snapshots.settle();
    this.signal.throwIfAborted();
    const callId = this.clock.newId();
    const { lifecycle, hold } = this.#options;
    const { snapshot } = hold;
    await lifecycle.commitOfAgent(hold, {
      openCall: { ...openCall, callId },
      ...(permissionId !== undefined && { usePermission: permissionId }),
      // The state that was being stored when the agent told of it may hold a part of what it did.
      ...(hasRun && snapshot && { snapshot: { ...snapshot, calls: [], underWay: [callId] } }),
    });
    if (intent.hasEffect === false) this.#readOnlyCalls.add(callId);
    else this.#openCalls.add(callId);
    return callId;
  }

  async closeCall(callId: CallId, outcome: CallOutcome): Promise<void> {
    await this.#options.hold.passGate();
    const closing = this.#closeCall(callId, outcome);
    const forget = (): void => void this.#closing.delete(closing);
    this.#closing.add(closing);
    closing.then(forget, forget);
    return closing;
  }

  async #closeCall(callId: CallId, outcome: CallOutcome): Promise<void> {
    const { events, ...rest } = outcome;
    const { lifecycle, hold, changes } = this.#options;
    changes.note(events ?? []);
    await lifecycle.commit(hold, { events, closeCall: { ...rest, callId } });
    this.#openCalls.delete(callId);
    await this.#forgetCommand(callId);
    // Stored while the model thinks; the next call with an effect waits for it.
    if (!this.#readOnlyCalls.delete(callId)) this.#snapshots.add(callId);
  }

  /** What is left behind is found and dropped at the next recovery. */
  async #forgetCommand(callId: CallId): Promise<void> {
    try {
      await this.#options.workspace.forgetCommand(callId);
    } catch (error) {
      this.log.debug(
        { callId, error: String(error) },
        "The record of a command could not be removed",
      );
    }
  }

  /** Stores the state at the end of an agent that acts outside of its calls; `settleSnapshots` waits. */
  storeEnd(): void {
    if (!isLost(this.signal)) this.#snapshots.addState();
  }

  /** What storing the state failed with; null while it has not. */
  get storingFailure(): { readonly error: unknown } | null {
    return this.#snapshots.failure;
  }

  /** Resolves when the state after the last call is stored. Rejects when it could not be. */
  settleSnapshots(): Promise<void> {
    return this.#snapshots.settle();
  }

  /**
   * Stores the state of an agent that is frozen, with what its open calls have done so far. Resolves
   * with what has to be written when it goes on: from then on no stored state holds what they do.
   */
  async storeFrozen(): Promise<OwnerCommit> {
    const { hold, changes } = this.#options;
    await Promise.allSettled([...this.#closing]);
    await hold.settleWrites();
    await this.#snapshots.settle();
    const { snapshot: before, epoch: continuesEpoch } = hold;
    const open = [...this.#openCalls];
    await changes.store(open);
    return {
      continuesEpoch,
      ...(open.length > 0 && before && { snapshot: { ...before, calls: [] } }),
    };
  }

  async takeMessages(): Promise<readonly InboxMessage[]> {
    const { lifecycle, store, hold, clock } = this.#options;
    const read = (): Promise<readonly InboxItem[]> => store.listInbox([hold.sessionId]);
    const waiting = await readPatiently(clock, hold.signal, read);
    const messages = takeFirst(waiting.filter((item) => item.kind === "message"));
    if (messages.length === 0) return [];
    await lifecycle.commitOfAgent(hold, {
      events: messages.map(({ text, userId }) => ({
        type: "user_message",
        data: { text: text ?? "", userId },
      })),
      inboxConsumed: messages.map((message) => message.id),
    });
    return messages.map(({ id, text }) => ({ id, text: text ?? "", possibleDuplicate: false }));
  }

  ask(request: AskedPermission): Promise<PermissionDecision> {
    return this.#desk.ask(request);
  }

  recordActivity(): void {
    this.#options.lifecycle.recordActivity(this.sessionId);
  }
}

/** Whether another attempt has the session by now, and its files. */
function isLost(signal: AbortSignal): boolean {
  return signal.aborted && (signal.reason as Partial<AttemptStopped>).request?.kind === "lost";
}

/** As many as go into one write; at least one. The others are still there at the next step. */
function takeFirst(messages: readonly InboxItem[]): readonly InboxItem[] {
  let chars = 0;
  const end = messages.findIndex(({ text }) => (chars += text?.length ?? 0) > TAKEN_CHARS_MAX);
  return end < 0 ? messages : messages.slice(0, Math.max(1, end));
}

/** Nothing begins once the agent was told to stop, so nothing is left half done when it ends. */
function refuseLateWrites(files: WorkspaceFiles, hold: SessionHold): WorkspaceFiles {
  return {
    read: (path, options) => files.read(path, options),
    resolve: (path, seenAs) => files.resolve(path, seenAs),
    list: (path, options) => files.list(path, options),
    search: (pattern, options) => files.search(pattern, options),
    async write(path, bytes) {
      await hold.passGate();
      hold.signal.throwIfAborted();
      return files.write(path, bytes);
    },
  };
}
