import { AttemptStopped, type StopRequest, type TurnResult } from "../core/attempt.ts";
import { toStintError, type StintError } from "../core/error.ts";
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
  if (isOfStoring) return explainUnstored(error);
  const reason = error.code === "model_error" ? "model_error" : "agent_error";
  const code = error.code.startsWith("agent_") ? error.code : reason;
  return { outcome: "failed", reason, code, message: error.message };
}

/** What it means that recovering the files failed. @throws what is no fault of theirs. */
export function explainRecoveryError(hold: SessionHold, thrown: unknown): AttemptEnding {
  const error = toStintError(thrown);
  if (hold.signal.aborted || error.code === "stale_epoch" || isDatabaseAway(error)) throw thrown;
  return explainUnstored(error);
}

/** The files are at fault, and no other try would help. */
export function explainWorkspaceError({ code, message }: StintError): AttemptFailure {
  return { outcome: "failed", reason: "workspace_error", code, message };
}

/** The state could not be stored: a disk may recover, or be made room on; the agent is not to blame. */
function explainUnstored(error: StintError): AttemptEnding {
  const code = readDiskFault(error);
  if (code === null) return explainWorkspaceError(error);
  return { outcome: "backoff", code, message: error.message, retryAfterMs: null };
}
