import type { TurnResult } from "../../core/attempt.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { asObject, readField, readList, readText } from "../json-fields.ts";
import { cleanText } from "../output/clean-text.ts";

/** How an agent ended a turn. */
export interface TurnEnd {
  /** As the protocol names it. */
  readonly stopReason: string;
  /** What it said last. */
  readonly text: string;
  /** Set when it neither said nor did anything. */
  readonly isEmpty?: boolean;
  /** What people said with their decisions, and the agent is still to be told; with it the turn is not over. */
  readonly notes?: readonly string[];
}

const FORMAT = "acp-1";

/** The form in which the end of a turn is stored as the answer to its step. */
export function encodeTurn({ stopReason, text, isEmpty, notes = [] }: TurnEnd): JsonObject {
  const end = { format: FORMAT, stopReason: cleanText(stopReason).slice(0, 100), text };
  return { ...end, ...(isEmpty && { isEmpty }), ...(notes.length > 0 && { notes }) };
}

/** The end of a turn as it is stored; null for the answer of another kind of agent. */
export function decodeTurn(response: Json): TurnEnd | null {
  const stored = asObject(response);
  const stopReason = readText(stored, "stopReason");
  if (readText(stored, "format") !== FORMAT || stopReason === null) return null;
  const isEmpty = readField(stored, "isEmpty") === true;
  const notes = readList(stored, "notes").filter((note) => typeof note === "string");
  const end = { stopReason, text: readText(stored, "text") ?? "" };
  return { ...end, ...(isEmpty && { isEmpty }), ...(notes.length > 0 && { notes }) };
}

function fail(
  reason: Extract<TurnResult, { outcome: "failed" }>["reason"],
  message: string,
): TurnResult {
  return { outcome: "failed", reason, message };
}

/** What the end of a turn means for the session. */
export function concludeTurn({ stopReason, text, isEmpty }: TurnEnd): TurnResult {
  const said = text === "" ? "" : ` It said last: ${text.slice(0, 2_000)}`;
  switch (stopReason) {
    case "end_turn":
      return isEmpty
        ? fail("agent_error", "The agent ended its turn without having said or done anything.")
        : { outcome: "end_turn", message: text };
    case "max_tokens":
      return fail("model_error", `The model's answer was cut off at its output limit.${said}`);
    case "max_turn_requests":
      return fail("max_iterations", `The agent reached its limit of model requests.${said}`);
    case "refusal":
      return fail("refusal", text === "" ? "The agent declined to go on." : text);
    case "cancelled":
      return fail("agent_error", `The agent gave up its turn by itself.${said}`);
    default:
      return fail("agent_error", `The agent ended its turn for a reason that nobody knows.${said}`);
  }
}
