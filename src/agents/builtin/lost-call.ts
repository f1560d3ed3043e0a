import type { CallFact } from "../../core/attempt.ts";

const LOST = "the process that ran it ended before its result was recorded";

/** What the model is told when nothing recorded a call's end. */
export const INTERRUPTED_TEXT =
  `This call was interrupted: ${LOST}. It may have had all, part or none of its effect. Look at what ` +
  "it has done before you repeat it.";

const NOT_BEGUN_TEXT =
  "This call was interrupted before it started: the process that was to run it ended. Nothing was done.";

const UNDONE =
  "The workspace was restored to its state before this call; effects outside the workspace may remain.";

const PARTIAL =
  "The workspace was restored to a state that was stored while it ran, and may hold a part of what it " +
  "did; effects outside the workspace may remain.";

/**
 * What the model is told of a call that an earlier attempt left open: facts, and no advice but to
 * look. Null: nothing is known of it. One that was waiting for leave has not begun.
 */
export function explainLostCall(fact: CallFact | null, isWaiting = false): string {
  if (isWaiting) return NOT_BEGUN_TEXT;
  if (fact === null) return INTERRUPTED_TEXT;
  const ending = explainEnding(fact);
  if (fact.output === "") return ending;
  const { output } = fact;
  return `${output}${output.endsWith("\n") ? "" : "\n"}[${ending} Output after this may be missing.]`;
}

function explainEnding({ status, hasBegun, exitCode, effects }: CallFact): string {
  const isUndone = effects === "undone";
  const code = exitCode === null ? "" : ` with exit code ${exitCode}`;
  if (status === "finished") {
    const place = {
      undone: UNDONE,
      partial: PARTIAL,
      kept: "What it did to the workspace is in place.",
    }[effects];
    return `This call finished${code}, but ${LOST}. ${place}`;
  }
  if (status === "unknown") {
    const what =
      exitCode === null
        ? `Nothing shows whether this call finished: ${LOST}.`
        : `This call ended${code}, but the host was restarted before its result was recorded.`;
    return `${what} ${isUndone ? UNDONE : "Look at what it has done before you repeat it."}`;
  }
  if (!hasBegun) return NOT_BEGUN_TEXT;
  return isUndone ? `This call was interrupted: ${LOST}. ${UNDONE}` : INTERRUPTED_TEXT;
}
