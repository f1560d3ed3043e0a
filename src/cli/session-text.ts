/** How sessions are named and shown to people. */
import type { Session } from "../client.ts";
import { ERRORS, type ErrorCode } from "../core/error.ts";
import { formatInstant } from "./duration.ts";
import type { Style } from "./output.ts";

/** Fewest characters of an id that are shown. */
const ID_CHARS_MIN = 8;

/** Whether a person has to act before the session goes on. */
export function needsPerson(session: Session): boolean {
  return session.status === "paused" && (session.waitingFor !== null || session.resumeAt === null);
}

/** The state as one word with a mark, and its style; never colour alone. */
export function describeState(session: Session): { readonly text: string; readonly style: Style } {
  if (session.waitingFor !== null) {
    return { text: "◆ NEEDS YOU", style: "yellow" };
  }
  return STATES[session.status];
}

const STATES: Readonly<Record<Session["status"], { text: string; style: Style }>> = {
  pending: { text: "○ PENDING", style: "dim" },
  active: { text: "◐ ACTIVE", style: "blue" },
  paused: { text: "‖ PAUSED", style: "magenta" },
  completed: { text: "✓ COMPLETED", style: "green" },
  failed: { text: "✕ FAILED", style: "red" },
  expired: { text: "⊘ EXPIRED", style: "yellow" },
};

/** The shortest prefixes that tell these ids apart, at least 8 characters. */
export function shortenIds(ids: readonly string[]): ReadonlyMap<string, string> {
  const sorted = [...new Set(ids)].sort();
  const short = new Map<string, string>();
  for (const [index, id] of sorted.entries()) {
    const shared = Math.max(
      sharedChars(id, sorted[index - 1] ?? ""),
      sharedChars(id, sorted[index + 1] ?? ""),
    );
    short.set(id, id.slice(0, Math.max(ID_CHARS_MIN, shared + 1)));
  }
  return short;
}

function sharedChars(a: string, b: string): number {
  let count = 0;
  while (count < a.length && a[count] === b[count]) count++;
  return count;
}

const ABSENT: Readonly<Record<string, string>> = {
  model_unavailable: "the model",
  database_unavailable: "the database",
};

/** What a session waits for without anybody's help, and until when; null when for nothing. */
export function describeWait(session: Session, nowMs: number): string | null {
  const { status, reason, resumeAt, error } = session;
  if (status !== "paused" || reason !== "backoff" || resumeAt === null) return null;
  const what = ABSENT[error?.code ?? ""] ?? "another try";
  const httpStatus = /\bHTTP (\d{3})\b/.exec(error?.message ?? "")?.[1];
  const why = httpStatus === undefined ? "" : ` (${httpStatus})`;
  return `${what} until ${formatInstant(resumeAt, nowMs)}${why}`;
}

/** What to do about a session that waits: a command, at its end at least; null when it goes on by itself. */
export function nextCommand(session: Session): string | null {
  if (session.waitingFor === "permission") return `stint approve ${session.id}`;
  if (session.status !== "paused") return null;
  if (session.waitingFor === "input") return `stint steer ${session.id} "…"`;
  if (session.error?.code === "price_unknown") {
    return `set the model's price in prices (STINT_PRICES) where the worker runs, then stint resume ${session.id}`;
  }
  if (session.reason === "budget_reached") return `stint resume ${session.id} ${raiseOf(session)}`;
  return session.resumeAt === null ? `stint resume ${session.id}` : null;
}

/** What to do about a session that has ended badly, in words; null where nothing is known to help. */
export function describeRemedy({ id, status, error }: Session): string | null {
  const hasEnded = status === "failed" || status === "expired";
  if (!hasEnded || error === null || !Object.hasOwn(ERRORS, error.code)) return null;
  return ERRORS[error.code as ErrorCode].remedy.replaceAll(/\bID\b/g, id);
}

/** What a session has done and used, part by part; only what its agent has a notion of. */
export function describeUse({ agent, model, stats }: Session): readonly string[] {
  const { iterations, toolCalls, inputTokens, outputTokens, costUsd } = stats;
  const isCommand = agent === "command";
  // Agents of others tell of no steps; what is counted of them is how often they spoke.
  const steps = agent === "builtin" ? [countOf(iterations, "step")] : [];
  const calls = toolCalls > 0 ? [countOf(toolCalls, isCommand ? "command" : "tool call")] : [];
  const hasTokens = model !== null || inputTokens + outputTokens > 0;
  const tokens = hasTokens ? [`${inputTokens} tokens in, ${outputTokens} out`] : [];
  return [...steps, ...calls, ...tokens, ...(costUsd === null ? [] : [`$${costUsd.toFixed(2)}`])];
}

/** `1 step`, `2 steps`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Until when the processes of a paused session are kept frozen, at most; null when they are not. */
export function frozenUntil({ status, frozenUntil: until }: Session, nowMs: number): string | null {
  if (status !== "paused" || until == null || Date.parse(until) <= nowMs) return null;
  return formatInstant(until, nowMs);
}

/** Exit code that tells how a session stands: 0 completed, 1 failed, 4 expired, 5 waits for a person. */
export function exitCodeOfSession(session: Session): number {
  switch (session.status) {
    case "failed":
      return 1;
    case "expired":
      return 4;
    case "paused":
      return needsPerson(session) ? 5 : 0;
    default:
      return 0;
  }
}

/** What a session has spent of its budgets; null where it has none. */
export function describeBudget({ limits, stats }: Session): string | null {
  const { tokensMax, costUsdMax, modelCallsMax } = limits;
  const tokens = stats.inputTokens + stats.outputTokens;
  const cost = stats.costUsd === null ? "an unknown cost" : `$${stats.costUsd.toFixed(4)}`;
  const parts = [
    tokensMax === null ? null : `${tokens} of ${tokensMax} tokens`,
    costUsdMax === null ? null : `${cost} of $${costUsdMax}`,
    modelCallsMax === null ? null : `${stats.modelCalls} of ${modelCallsMax} model calls`,
  ].filter((part) => part !== null);
  return parts.length === 0 ? null : parts.join(" · ");
}

/** The option that raises the budget that was reached, as far as the totals tell which. */
function raiseOf({ limits, stats }: Session): string {
  const { tokensMax, costUsdMax, modelCallsMax } = limits;
  const tokens = stats.inputTokens + stats.outputTokens;
  if (tokensMax !== null && tokens >= tokensMax) return `--max-tokens ${tokensMax * 2}`;
  if (modelCallsMax !== null && stats.modelCalls >= modelCallsMax) {
    return `--max-calls ${modelCallsMax * 2}`;
  }
  return costUsdMax === null ? "--max-cost USD" : `--max-cost ${costUsdMax * 2}`;
}
