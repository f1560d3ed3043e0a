import type { AttemptContext, Checkpoint, LedgerCall, StepRecord } from "../../core/attempt.ts";
import { truncateText, type Json } from "../../core/json.ts";
import type { OpenPermission } from "../../core/permission.ts";
import { explainLostCall } from "../builtin/lost-call.ts";
import { asObject, readText } from "../json-fields.ts";

const PROMPT_CHARS_MAX = 16_000;
const DIGEST_CHARS_MAX = 24_000;
const INPUT_CHARS_MAX = 2_000;
const RESULT_CHARS_MAX = 600;
const LOST_CALLS_SHOWN_MAX = 20;

/** What an agent that goes on is told. */
export interface ResumeFacts {
  /** Whether it has its own memory of what it did; else it is given a digest. */
  readonly hasMemory: boolean;
  /** Texts for it that it may not have seen. */
  readonly messages: readonly string[];
}

type Source = Pick<AttemptContext, "prompt" | "recovery"> & { readonly resumeFrom: Checkpoint };

/**
 * The prompt by which an interrupted agent goes on: facts, and no blind "continue". Agents neither
 * ask for a permission again nor know what of their last call has happened.
 */
export function writeResumePrompt(context: Source, facts: ResumeFacts): string {
  const { prompt, resumeFrom, recovery } = context;
  const { hasMemory, messages } = facts;
  const lost = listCutOff(resumeFrom);
  const undone = recovery?.undone ?? [];
  const parts = [
    "[Stint] This session was interrupted; it goes on now. What is certain:",
    ...lost.slice(0, LOST_CALLS_SHOWN_MAX).map((call) => describeLostCall(call, context)),
    ...(lost.length === 0 ? ["- No tool call was under way."] : []),
    ...describeFiles(recovery),
    ...(undone.length > 0
      ? [`- The effects of ${undone.length} calls that had ended are gone with their host.`]
      : []),
    ...resumeFrom.permissions.map(describePermission),
    hasMemory ? "" : writeDigest(resumeFrom),
    `The task, as it was given:\n${cut(prompt, PROMPT_CHARS_MAX)}`,
    ...messages.map((text) => `A message of the user, which you may have seen:\n${text}`),
    "Look at the present state before you repeat anything. Then go on, and finish the task.",
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

function describeFiles(recovery: Source["recovery"]): readonly string[] {
  if (recovery?.workspace !== "restored") return [];
  const isPartial = [...recovery.calls.values()].some(({ effects }) => effects === "partial");
  return [
    isPartial
      ? "- The files of the workspace are as they were when they were last stored. That was while a call " +
        "ran: they may hold a part of what it did."
      : "- The files of the workspace are as they were before that.",
  ];
}

/** The prompt for further messages to an agent that has lost its memory. */
export function writeDigestPrompt(
  context: Pick<Source, "prompt" | "resumeFrom">,
  messages: readonly string[],
): string {
  return [
    "[Stint] This session goes on with a new agent. What was done before:",
    `The task, as it was given:\n${cut(context.prompt, PROMPT_CHARS_MAX)}`,
    writeDigest(context.resumeFrom),
    ...messages.map((text) => `A message of the user:\n${text}`),
  ].join("\n\n");
}

/** Calls that were cut off, whether or not their end could still be written down. */
function listCutOff({ steps, calls }: Checkpoint): readonly LedgerCall[] {
  const last = steps.at(-1);
  const cutOff = last?.response === null ? last.iteration : null;
  return calls.filter(
    ({ status, iteration }) => status === "open" || (status !== "finished" && iteration === cutOff),
  );
}

function describeLostCall(call: LedgerCall, { recovery, resumeFrom }: Source): string {
  const fact = recovery?.calls.get(call.callId) ?? null;
  const end =
    call.status === "open"
      ? explainLostCall(fact, isWaiting(call, resumeFrom))
      : readResult(call.result);
  return `- ${call.tool} ${showInput(call)}: ${cut(end, 2 * RESULT_CHARS_MAX)}`;
}

/** Whether a call was waiting for leave when it was cut off: then nothing of it was done. */
export function isWaiting({ callId }: LedgerCall, { permissions }: Checkpoint): boolean {
  return permissions.some((asked) => asked.callId === callId);
}

function describePermission({ title, status, note }: OpenPermission): string {
  const said = note === null ? "" : ` The user said: ${cut(note, RESULT_CHARS_MAX)}`;
  switch (status) {
    case "allowed":
      return `- Leave for "${title}" was given, and not used yet.${said}`;
    case "denied":
      return `- Leave for "${title}" was denied: do not do it.${said}`;
    case "lapsed":
      return `- Nobody answered in time whether "${title}" may be done. Ask again if it is needed.`;
    case "pending":
      return `- Whether "${title}" may be done is not decided yet. Ask again.`;
  }
}

/** What the log tells of a session, for an agent that does not remember it: the newest survives. */
function writeDigest({ steps, calls }: Checkpoint): string {
  const entries = steps.flatMap((step) => [
    ...step.inputs
      .slice(step.iteration === 1 ? 1 : 0)
      .map((text) => `User: ${cut(text, INPUT_CHARS_MAX)}`),
    ...calls.filter(({ iteration }) => iteration === step.iteration).map(describeCall),
    ...describeAnswer(step),
  ]);
  if (entries.length === 0) return "Nothing had been done.";
  const kept: string[] = [];
  let chars = 0;
  for (const entry of entries.toReversed()) {
    chars += entry.length;
    if (chars > DIGEST_CHARS_MAX) break;
    kept.unshift(entry);
  }
  const omitted = entries.length - kept.length;
  const head = omitted > 0 ? [`(${omitted} earlier entries are left out)`] : [];
  return ["You do not remember it, but this was done before:", ...head, ...kept].join("\n");
}

function describeCall(call: LedgerCall): string {
  const result = call.status === "open" ? "" : cut(readResult(call.result), RESULT_CHARS_MAX);
  const status = call.status === "open" ? "interrupted" : call.isError ? "failed" : call.status;
  return `You called ${call.tool} ${showInput(call)} (${status}): ${result}`;
}

function describeAnswer({ response }: StepRecord): string[] {
  const text = readText(asObject(response), "text");
  return text === null || text === "" ? [] : [`You said: ${cut(text, INPUT_CHARS_MAX)}`];
}

function readResult(result: Json): string {
  return typeof result === "string" ? result : result === null ? "" : JSON.stringify(result);
}

function showInput({ input }: LedgerCall): string {
  return cut(JSON.stringify(input), RESULT_CHARS_MAX);
}

function cut(text: string, charsMax: number): string {
  return truncateText(text, charsMax).omittedBytes === 0
    ? text
    : `${truncateText(text, charsMax).text}…`;
}
