import type { Script, ScriptStep } from "../../core/script.ts";

/** A step of one kind, as in `StepOf<"bash">`. */
export type StepOf<Key extends string> = Extract<ScriptStep, Record<Key, unknown>>;

/** A step for which the model calls a tool. */
export type CallStep = StepOf<"bash"> | StepOf<"write"> | StepOf<"edit"> | StepOf<"read">;

/** A step that is spoken, thought or waited for before the call of its turn. */
export type ProseStep = StepOf<"text"> | StepOf<"think"> | StepOf<"delayMs">;

/** One assistant turn: what is said first, then at most one call, which ends it. */
export interface ScriptTurn {
  /** Failures of the whole turn; wherever they stand in it, they come before anything is said. */
  readonly failures: readonly StepOf<"fail">["fail"][];
  readonly prose: readonly ProseStep[];
  /** Null in the last turn of a script that does not end with a call. */
  readonly call: CallStep | null;
}

/**
 * Groups a script into assistant turns: every `bash`, `write`, `edit` or `read` ends a turn, and
 * what stands before it belongs to it; what stands after the last one is the closing turn. So
 * `think, bash, text` is two turns: a thought with a command, and a closing text.
 */
export function groupTurns(script: Script): readonly ScriptTurn[] {
  const turns: ScriptTurn[] = [];
  let failures: StepOf<"fail">["fail"][] = [];
  let prose: ProseStep[] = [];
  const endTurn = (call: CallStep | null): void => {
    turns.push({ failures, prose, call });
    failures = [];
    prose = [];
  };
  for (const step of script) {
    if ("fail" in step) failures.push(step.fail);
    else if ("text" in step || "think" in step || "delayMs" in step) prose.push(step);
    else endTurn(step);
  }
  if (failures.length > 0 || prose.length > 0) endTurn(null);
  return turns;
}

/** The status with which a turn fails after `failed` failures, or null when it answers. */
export function findFailure(turn: ScriptTurn, failed: number): number | null {
  let rest = failed;
  for (const { status, times } of turn.failures) {
    if (rest < times) return status;
    rest -= times;
  }
  return null;
}

/** Tokens that one answer reports. */
export interface ScriptedUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/**
 * What the scripted model reports for a turn, counted from 0: 1000 + 100 × turn tokens in, 50 out.
 * Three turns sum up to 3300 and 150. Turns past the end of the script count on; failures and
 * calls beside the script report nothing.
 */
export function scriptedUsage(turn: number): ScriptedUsage {
  return { inputTokens: 1_000 + 100 * turn, outputTokens: 50 };
}
