/**
 * The state machine of a session.
 *
 * ```
 * PENDING ──► ACTIVE ──► COMPLETED | FAILED | EXPIRED
 *    │         │  ▲
 *    │         ▼  │
 *    │        PAUSED ──► FAILED | EXPIRED
 *    └──────────────────────────► EXPIRED
 * ```
 *
 * Six states and no seventh: everything finer is a reason code, `waitingFor` or `resumeAt`. The
 * guard trigger of the database holds the same table; a test compares the two.
 */
import { StintError } from "./error.ts";

/** The six states, stored and sent in lower case. */
export const SessionState = {
  PENDING: "pending",
  ACTIVE: "active",
  PAUSED: "paused",
  COMPLETED: "completed",
  FAILED: "failed",
  EXPIRED: "expired",
} as const;

/** One of the six states. */
export type SessionState = (typeof SessionState)[keyof typeof SessionState];

/** All states, in the order of a life. */
export const SESSION_STATES = Object.values(SessionState);

/** The total transition table: every state has its row, terminal states an empty one. */
export const VALID_TRANSITIONS: Readonly<Record<SessionState, readonly SessionState[]>> = {
  pending: ["active", "expired"],
  active: ["paused", "completed", "failed", "expired"],
  paused: ["active", "expired", "failed"],
  completed: [],
  failed: [],
  expired: [],
};

/** Whether a session in this state never changes again. */
export function isTerminal(state: SessionState): boolean {
  return VALID_TRANSITIONS[state].length === 0;
}

/** Whether the table allows this step. */
export function isValidTransition(from: SessionState, to: SessionState): boolean {
  return VALID_TRANSITIONS[from].includes(to);
}

/** Whether a value names a state. */
export function isSessionState(value: unknown): value is SessionState {
  return SESSION_STATES.includes(value as SessionState);
}

/**
 * Refuses a step that the table does not allow.
 * @throws {illegal_transition} with the text `Invalid state transition: from → to`.
 */
export function assertTransition(from: SessionState, to: SessionState): void {
  if (isValidTransition(from, to)) return;
  throw new StintError("illegal_transition", `Invalid state transition: ${from} → ${to}`, {
    fields: { from, to },
  });
}

/**
 * Why a session is in its state: a closed union, each reason with the states it may lead to. A
 * reason that leads to `active` never leads to another state, and so for `paused`: thereby the
 * database can tell a reason that was set for this transition from one left over from the last.
 */
export const REASONS = {
  created: ["pending"],
  started: ["active"],
  resumed: ["active"],
  user: ["paused"],
  shutdown: ["paused"],
  worker_lost: ["paused"],
  agent_lost: ["paused"],
  awaiting_permission: ["paused"],
  awaiting_input: ["paused"],
  recovery_exhausted: ["paused"],
  budget_reached: ["paused"],
  backoff: ["paused"],
  end_turn: ["completed"],
  idle_timeout: ["expired"],
  paused_timeout: ["expired"],
  queue_timeout: ["expired"],
  deadline: ["expired"],
  cancelled: ["expired", "failed"],
  max_iterations: ["failed"],
  refusal: ["failed"],
  agent_error: ["failed"],
  model_error: ["failed"],
  workspace_error: ["failed"],
  /** A person changed the row by SQL and named no reason. */
  external: ["active", "paused", "completed", "failed", "expired"],
} as const satisfies Record<string, readonly SessionState[]>;

/** A reason code. */
export type Reason = keyof typeof REASONS;

/** All reason codes, in table order. */
export const REASON_CODES = Object.keys(REASONS) as readonly Reason[];

/** Whether this reason may lead to this state. */
export function isReasonFor(reason: Reason, to: SessionState): boolean {
  return (REASONS[reason] as readonly SessionState[]).includes(to);
}

/** What a session waits for while a person has to act. */
export type WaitingFor = "input" | "permission" | null;
