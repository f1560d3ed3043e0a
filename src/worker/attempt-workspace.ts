import type {
  CallId,
  CustodyLevel,
  CustodyProcess,
  LedgerCall,
  SpawnSpec,
} from "../core/attempt.ts";
import type { ModelDoor } from "../core/model.ts";
import type { SandboxReport } from "../core/sandbox.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { SnapshotId, WorkspaceDiff, WorkspaceFiles } from "../core/workspace.ts";
import type { CommandEnd } from "../workspace/exit-record.ts";

/** The files and processes of one attempt. */
export interface AttemptWorkspace {
  /** Absolute path, as commands see it. */
  readonly path: string;
  /** Absolute path on this host. @default the same */
  readonly hostPath?: string;
  /** How commands are bounded. @default not at all */
  readonly sandbox?: SandboxReport;
  /** Absolute path of the agent's own home, as commands see it. */
  readonly home: string;
  readonly custodyLevel: CustodyLevel;
  readonly files: WorkspaceFiles;
  readonly homeFiles: WorkspaceFiles;
  /** With a door, the program reaches it under the address that `showDoor` tells. */
  spawn(spec: SpawnSpec, door?: ModelDoor | null): Promise<CustodyProcess>;
  /** Whether commands reach hosts by themselves. @default true */
  readonly hasNetwork?: boolean;
  /** The door to models as commands see it. @default as it is */
  showDoor?(door: ModelDoor): ModelDoor;
  /** Freezes what runs. @default that is not possible here */
  readonly freezing?: {
    /** False when something could not be frozen in time: then everything runs on. */
    freeze(): Promise<boolean>;
    /** Lets everything run on, under the present epoch of the session. Idempotent. */
    thaw(session: SessionSnapshot): Promise<void>;
  };
  /** Resolves with the reason when the disk gets short and this attempt must end. @default never */
  readonly diskShort?: Promise<string>;
  /**
   * After `close`: removes what filled the disk and is in no stored state; how many bytes.
   * @default nothing
   */
  reclaimDisk?(): Promise<number>;
  /** How the command of a call of an earlier attempt ended, as far as it is recorded here. */
  readCommandEnd(call: Pick<LedgerCall, "callId" | "epoch">): Promise<CommandEnd>;
  /** Drops what is recorded of a call of this attempt, once its outcome is in the ledger. */
  forgetCommand(callId: CallId): Promise<void>;
  /** Drops what is recorded of earlier attempts but these. */
  discardRecords(keepEpochs: ReadonlySet<number>): Promise<void>;
  /** The state before the agent did anything. */
  readonly base: SnapshotId;
  /** Stores the present state; the id is good only when it is durable. */
  takeSnapshot(): Promise<SnapshotId>;
  /**
   * Stores a state off this host. Names the place once it is durable there; null when the session
   * has to stay on this host. @default stays
   */
  storeSnapshot?(id: SnapshotId): Promise<string | null>;
  /**
   * True when the files were made anew from the last committed state: those that the last attempt
   * worked on are on another host. @default false
   */
  readonly isMoved?: boolean;
  /**
   * True when the host was started anew, as after a power cut, since the files were last known to be
   * whole: what was not flushed may be missing from them. @default false
   */
  readonly isRestarted?: boolean;
  /** Goes back to a stored state; what is changed by it is stored first. */
  restore(id: SnapshotId): Promise<void>;
  /** Brings the agent's home back to a stored state; false when that holds none. */
  restoreHome(id: SnapshotId): Promise<boolean>;
  /** Says what differs between two stored states. */
  readChanges(
    from: SnapshotId,
    to: SnapshotId,
  ): Promise<Pick<WorkspaceDiff, "files" | "filesOmitted">>;
  /** Kills what still runs; resolves when nothing of the attempt is alive. Idempotent. */
  close(): Promise<void>;
}

/**
 * Makes a session's workspace ready for an attempt: what an earlier attempt left running on this
 * host is killed first. The signal aborts when nobody waits for it any more; it may then reject, or
 * go on: what it opens too late is closed at once.
 * @throws {workspace_missing} and other workspace errors.
 */
export type OpenAttemptWorkspace = (
  session: SessionSnapshot,
  signal: AbortSignal,
) => Promise<AttemptWorkspace>;
