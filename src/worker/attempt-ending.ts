import { AttemptStopped, type StopRequest, type TurnResult } from "../core/attempt.ts";
import { toStintError, type ErrorCode, type StintError } from "../core/error.ts";
import { readDiskFault } from "./disk-fault.ts";
import { isDatabaseAway } from "./patience.ts";
import type { SessionHold } from "./session-hold.ts";
import type { SessionFailure } from "./session-lifecycle-manager.ts";

/** The session fails, and why. */
export type AttemptFailure = SessionFailure & { readonly outcome: "failed" };

/** How a turn ended, or why it never began. */
export type AttemptEnding =
  StopRequest | Extract<TurnResult, { outcome: "end_turn" | "backoff" }> | AttemptFailure;

/** What an agent's rejection means. @throws what is no fault of the agent: it is tried again. */
export function explainAgentError(
  hold: SessionHold,
  thrown: unknown,
  isOfStoring: boolean,
): AttemptEnding {
  if (hold.stopRequest) return hold.stopRequest;
  if (thrown instanceof AttemptStopped) return thrown.request;
  const error = toStintError(thrown);
  if (error.code === "stale_epoch") return { kind: "lost", message: error.message };
  if (isDatabaseAway(error) || error.code === "agent_crashed") throw error;
  if (isOfStoring) return explainFileError(error);
  const reason = error.code === "model_error" ? "model_error" : "agent_error";
  const code = error.code.startsWith("agent_") ? error.code : reason;
  return { outcome: "failed", reason, code, message: error.message };
}

/**
 * What it means that a turn could not begin: its files were not what the log says, and did not become
 * so. @throws what another try may bring: how often is bounded where attempts are counted.
 */
export function explainRecoveryError(hold: SessionHold, thrown: unknown): AttemptEnding {
  if (hold.stopRequest) return hold.stopRequest;
  if (thrown instanceof AttemptStopped) return thrown.request;
  const error = toStintError(thrown);
  if (error.code === "stale_epoch") return { kind: "lost", message: error.message };
  if (isDatabaseAway(error)) throw error;
  return explainFileError(error);
}

const OF_THE_HOST: ReadonlySet<ErrorCode> = new Set([
  ...(["internal", "custody_unavailable", "snapshot_store_failed"] as const),
]);

/**
 * What it means that the workspace of an attempt could not be opened. @throws what is the host's
 * fault: a git that was killed, a process that does not die.
 */
export function explainOpeningError(error: StintError): AttemptEnding {
  const fault = findDiskFault(error);
  if (fault !== null) return fault;
  if (isDatabaseAway(error) || OF_THE_HOST.has(error.code)) throw error;
  return explainWorkspaceError(error);
}

/** The files are at fault, and no other try would help. */
function explainWorkspaceError({ code, message }: StintError): AttemptFailure {
  return { outcome: "failed", reason: "workspace_error", code, message };
}

/**
 * The files could not be stored, or brought back; the agent is not to blame. @throws what may get
 * better: everything but files that are gone.
 */
function explainFileError(error: StintError): AttemptEnding {
  const fault = findDiskFault(error);
  if (fault !== null) return fault;
  if (error.code !== "workspace_gone") throw error;
  return explainWorkspaceError(error);
}

/** A disk may recover, or be made room on. */
function findDiskFault(error: StintError): AttemptEnding | null {
  const code = readDiskFault(error);
  if (code === null) return null;
  return { outcome: "backoff", code, message: error.message, retryAfterMs: null };
}
