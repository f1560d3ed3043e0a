/**
 * The seam between a worker and an agent. An adapter reaches processes, files, the model and the
 * log only through an AttemptContext; it opens nothing by itself.
 */
import type { Readable, Writable } from "node:stream";
import type { Clock } from "./clock.ts";
import type { ErrorCode } from "./error.ts";
import type { NewEvent, TokenUsage } from "./event.ts";
import type { Json, JsonObject } from "./json.ts";
import type { Logger } from "./log.ts";
import type { ModelBinding, ModelDoor } from "./model.ts";
import type { OpenModelCall } from "./model-call.ts";
import type { AskedPermission, OpenPermission, PermissionDecision } from "./permission.ts";
import type { Reason } from "./state.ts";
import type { SnapshotId, WorkspaceFiles } from "./workspace.ts";

/** A program to run in the custody of an attempt; no shell stands between. */
export interface SpawnSpec {
  readonly command: string;
  readonly args: readonly string[];
  /** Relative to the workspace, or absolute. @default the workspace */
  readonly cwd?: string;
  /** Files and sockets of the host that it needs beside what the sandbox shows; absolute. */
  readonly exposes?: readonly string[];
  /** Added to the attempt's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The process is stopped after this time. @default no limit */
  readonly timeoutMs?: number;
  /** @default "ignore" */
  readonly stdin?: "pipe" | "ignore";
  /**
   * Gives the program a terminal of this size, where the host has any to give: then its stdin, stdout
   * and stderr are the terminal, and what it prints comes by `stdout`. `hasTerminal` tells.
   */
  readonly pty?: { readonly columns: number; readonly rows: number };
  /**
   * The call that this program is, from its start to its end: its end is recorded durably, so that a
   * recovery finds it. At most one program a call.
   */
  readonly callId?: CallId;
}

/** How a process ended. */
export interface CustodyExit {
  /**
   * The command's own exit code; a command that a signal ended shows as 128 + the signal's number,
   * as in a shell. Null only where the custody itself killed everything.
   */
  readonly code: number | null;
  /** `SIGKILL` where `code` is null, else null. */
  readonly signal: string | null;
  /** True when its time limit ended it. */
  readonly timedOut: boolean;
  /** True when `stop` ended it. */
  readonly stopped: boolean;
}

/** A process that cannot outlive its worker. */
export interface CustodyProcess {
  readonly pid: number;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly stdin: Writable | null;
  /** True when it has the terminal that was asked for. @default false */
  readonly hasTerminal?: boolean;
  /** Resolves when it and all that it started have ended. Never rejects. */
  readonly exited: Promise<CustodyExit>;
  /** SIGTERM to all, then SIGKILL after `graceMs`; idempotent. @default 2_000 */
  stop(graceMs?: number): Promise<CustodyExit>;
}

/** How strongly commands are held. `none` and `pdeathsig` are said aloud. */
export type CustodyLevel = "bwrap" | "unshare" | "pdeathsig" | "none";

/** What an agent wants to do, recorded before it acts. */
export interface CallIntent {
  readonly iteration: number;
  /** Place among the calls of its iteration, from 0. */
  readonly ordinal: number;
  /** The id by which the model knows the call. */
  readonly modelCallId: string;
  readonly tool: string;
  readonly input: JsonObject;
  /** False when the call only looks: it may be repeated, and no snapshot follows it. @default true */
  readonly hasEffect?: boolean;
  /** The agent announced it without asking: it may have begun before this. @default false */
  readonly mayHaveBegun?: boolean;
  /** The decision that it acts upon, allowed or denied: it counts no more from then on. */
  readonly permissionId?: string;
  /** The call's own time limit; while it runs within it, the session is not idle. */
  readonly timeoutMs: number;
  /** How its end can be told after a crash; without it a call that was cut off is `interrupted`. */
  readonly evidence?: CallEvidence | undefined;
}

/** By what a recovery can tell how far a call has come. */
export type CallEvidence =
  /** The program that was started with its `callId`: how it ended is recorded. */
  | { readonly kind: "command" }
  /** A file that it writes whole, by SHA-256 of its content in hexadecimal digits. */
  | {
      readonly kind: "file";
      readonly path: string;
      /** Null when there is no such file; left out when it is not known. */
      readonly before?: string | null;
      readonly after: string;
    };

/** Id of a call in the ledger. */
export type CallId = string;

/** What became of a call. */
export type CallStatus = "open" | "finished" | "interrupted" | "unknown";

/** The outcome of a call: what the model is told, and the events that show it. */
export interface CallOutcome {
  readonly status: Exclude<CallStatus, "open">;
  /** What the model is told. */
  readonly result: Json;
  readonly isError: boolean;
  readonly exitCode?: number | null;
  readonly events: readonly NewEvent[];
}

/** A call as the ledger holds it. */
export interface LedgerCall extends CallIntent {
  readonly callId: CallId;
  readonly hasEffect: boolean;
  /** The snapshot that holds what the call did; null until there is one. */
  readonly snapshotId: SnapshotId | null;
  readonly status: CallStatus;
  readonly epoch: number;
  readonly result: Json;
  readonly isError: boolean;
}

/** A user's message as the agent gets it. */
export interface InboxMessage {
  readonly id: string;
  readonly text: string;
  /** True when a crash may have let the agent see it before. */
  readonly possibleDuplicate: boolean;
}

/** One model step as stored: what went in, what came out. */
export interface StepRecord {
  readonly iteration: number;
  /** User messages that this step was the first to give to the model; step 1 holds the prompt. */
  readonly inputs: readonly string[];
  /** The model's answer in the adapter's own form; null while the call runs or was lost. */
  readonly response: Json;
  readonly usage: TokenUsage | null;
}

/** Stored resume point of an agent. */
export interface Checkpoint {
  readonly steps: readonly StepRecord[];
  readonly calls: readonly LedgerCall[];
  /** The agent's own session id, where it has one. */
  readonly agentSessionId: string | null;
  /** The state of the workspace that the log has reached; null before the first attempt. */
  readonly snapshotId: SnapshotId | null;
  /** Messages that were logged but given to no model step. */
  readonly undelivered: readonly InboxMessage[];
  /** Calls of models whose outcome no attempt has recorded; left out where there is none. */
  readonly openModelCalls?: readonly OpenModelCall[];
  /** Asked before and not acted upon since: agents do not ask again by themselves. */
  readonly permissions: readonly OpenPermission[];
}

/** One atomic write of an attempt: all of it is durable, or none. */
export interface Commit {
  readonly events?: readonly NewEvent[];
  /** Opens a model step: the inputs are delivered, and the model call counts as work. */
  readonly beginStep?: {
    readonly iteration: number;
    readonly inputs: readonly string[];
    readonly inboxDelivered: readonly string[];
    readonly timeoutMs: number;
  };
  /** Closes a model step with its answer. */
  readonly finishStep?: {
    readonly iteration: number;
    readonly response: Json;
    readonly usage: TokenUsage;
  };
  readonly agentSessionId?: string;
  /** A decision that is acted upon without an intent of its own; refused when it was before. */
  readonly usePermission?: string;
  /** Messages of the adapter's protocol as they came, kept beside the events. */
  readonly rawMessages?: readonly Json[];
}

/** What became of a call that an earlier attempt left open, as far as facts tell. */
export interface CallFact {
  /**
   * `finished`: it came to its end. `interrupted`: it did not, and nothing of it runs any more.
   * `unknown`: neither can be shown.
   */
  readonly status: Exclude<CallStatus, "open">;
  /** False when it is certain that it never began. */
  readonly hasBegun: boolean;
  /** Of its command, where one is recorded. */
  readonly exitCode: number | null;
  /** Output of its command as far as it is in the log; its end may be missing. */
  readonly output: string;
  /**
   * What it did to the workspace: still there, undone by going back to the state before, or `partial`:
   * there as far as a state holds it that was stored while it ran.
   */
  readonly effects: "kept" | "undone" | "partial";
}

/** What was done to the workspace before a resumed attempt, for the agent to be told. */
export interface RecoveryFacts {
  /** The calls that were left open and may have had an effect; the agent closes them. */
  readonly calls: ReadonlyMap<CallId, CallFact>;
  /**
   * `restored`: it is as it was before the calls that were cut off, whatever they had done to it, but
   * for those whose effects are `partial`.
   * `kept`: it is as they left it.
   */
  readonly workspace: "restored" | "kept";
  /**
   * Calls that had ended, but whose effects are gone with the files of another host; what their
   * results say has been changed accordingly. @default none
   */
  readonly undone?: readonly CallId[];
}

/** Limits an adapter keeps to. */
export interface AttemptLimits {
  readonly maxIterations: number;
  readonly commandTimeoutMs: number;
  readonly modelCallTimeoutMs: number;
  /** Output kept of one command, in bytes. */
  readonly outputBytesMax: number;
  /**
   * How long a step may wait, in all, for a model that is overloaded or away; beyond it the turn ends
   * as `backoff`, so that the session waits without a worker.
   */
  readonly modelWaitMs: number;
}

/** What an attempt is told when it has to stop; the reason of the abort signal. */
export interface StopRequest {
  readonly kind:
    "pause" | "cancel" | "shutdown" | "disk" | "permission" | "budget" | "login" | "lost";
  readonly message: string;
  /** With `budget`: whether it is used up, or what a model costs is not known. */
  readonly code?: "budget_reached" | "price_unknown";
  /** The inbox items that asked for it; the transition consumes them. */
  readonly inboxIds?: readonly string[];
}

/** Everything an adapter may use. */
export interface AttemptContext {
  readonly sessionId: string;
  readonly epoch: number;
  /** The task as the user gave it. */
  readonly prompt: string;
  /** Absolute path of the workspace, as commands see it. */
  readonly workspace: string;
  /** Absolute path of the agent's own home directory, as commands see it. Kept across attempts. */
  readonly home: string;
  readonly limits: AttemptLimits;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborts on pause, cancel, shutdown and a lost lease; `reason` is an AttemptStopped. */
  readonly signal: AbortSignal;
  readonly model: ModelBinding;
  readonly files: WorkspaceFiles;
  /** The agent's own home, where it keeps what it remembers. */
  readonly homeFiles: WorkspaceFiles;
  readonly resumeFrom: Checkpoint | null;
  /** Set when an earlier attempt was cut off in a call. */
  readonly recovery: RecoveryFacts | null;
  /**
   * Opens the model gateway of this attempt for agents that are programs: a socket, and an address
   * on loopback. The same door however often it is asked for; it closes with the attempt.
   */
  openModelDoor(): Promise<ModelDoor>;
  /**
   * Brings the agent's home back to the last stored state, while nothing of the agent runs. False
   * when none is stored.
   */
  restoreHome(): Promise<boolean>;
  /** The only way to a process. */
  spawn(spec: SpawnSpec): Promise<CustodyProcess>;
  /** One atomic, durable write. Resolves with the last seq. @throws {stale_epoch} when fenced. */
  commit(commit: Commit): Promise<number>;
  /** Appends events; resolves when durable. Batched with other writes. */
  emit(...events: readonly NewEvent[]): Promise<void>;
  /** Records an intent; resolves when durable, before the effect may start. */
  openCall(intent: CallIntent): Promise<CallId>;
  /** Records the outcome with its events; once per call. */
  closeCall(callId: CallId, outcome: CallOutcome): Promise<void>;
  /** Takes the waiting user messages, logged in the same statement; empty when there are none. */
  takeMessages(): Promise<readonly InboxMessage[]>;
  /**
   * Asks leave for a call. The policy decides, or a person, or the expiry of the request; the same
   * request after a crash gets the same answer, once. While a person is waited for, the session is
   * not idle; after a while the attempt is paused, and this rejects with the signal's reason.
   */
  ask(request: AskedPermission): Promise<PermissionDecision>;
  /** Says that the agent did something. Cheap: coalesced. */
  recordActivity(): void;
}

/** A fault that passes by itself and is neither the agent's nor the session's. */
export interface PassingFault {
  readonly code: Extract<
    ErrorCode,
    "model_unavailable" | "database_unavailable" | "disk_full" | "disk_failed"
  >;
  readonly message: string;
  /** How long to wait at least, as whoever is overloaded says; null when it does not. */
  readonly retryAfterMs: number | null;
}

/** How a turn of an agent ended; the worker makes the transition of it. */
export type TurnResult =
  | { readonly outcome: "end_turn"; readonly message: string }
  /** The session is tried again later, by itself, from where it is. */
  | ({ readonly outcome: "backoff" } & PassingFault)
  | {
      readonly outcome: "failed";
      readonly reason: Extract<
        Reason,
        "max_iterations" | "refusal" | "agent_error" | "model_error"
      >;
      readonly message: string;
    };

/** What drives one kind of agent. */
export interface AgentAdapter {
  /** The name by which sessions ask for it. */
  readonly name: string;
  /** Whether it needs a model bound by Stint. */
  readonly needsModel: boolean;
  /**
   * Whether it acts, or remembers, outside of the calls in its ledger: then the state is stored once
   * more when it has ended. @default false
   */
  readonly actsUnseen?: boolean;
  /**
   * Whether all of it runs in processes of its attempt: then it can be paused by freezing them.
   * @default false
   */
  readonly isProgram?: boolean;
  /** Whether this host can run it; `detail` says the version, or what is missing. */
  probe(): Promise<{ readonly available: boolean; readonly detail: string }>;
  /**
   * Works until the turn ends. Rejects with the signal's reason when it is aborted, after it has
   * stopped what it started; any other rejection fails the session as `agent_error`.
   */
  run(context: AttemptContext): Promise<TurnResult>;
}

/** The reason with which an attempt's signal aborts. */
export class AttemptStopped extends Error {
  readonly request: StopRequest;

  constructor(request: StopRequest) {
    super(request.message);
    this.name = "AttemptStopped";
    this.request = request;
  }
}
