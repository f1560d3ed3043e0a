import { posix } from "node:path";
import type { AttemptContext, CallId } from "../../core/attempt.ts";
import type { NewEvent } from "../../core/event.ts";
import type { JsonObject } from "../../core/json.ts";
import type { PermissionDecision } from "../../core/permission.ts";
import { asObject, readList, readObject, readText } from "../json-fields.ts";
import { shortenInput } from "../shown-input.ts";
import { identifyInput, listPossibleKinds, type ToolCall } from "./tool-call.ts";
import type { ToolCalls } from "./tool-calls.ts";

/** What a permission is decided with. */
export interface PermissionOptions {
  readonly context: Pick<
    AttemptContext,
    "workspace" | "home" | "ask" | "emit" | "clock" | "signal" | "log"
  >;
  readonly calls: Pick<ToolCalls, "find" | "findCallId" | "intend" | "refuse">;
  /** Told before anybody is asked: what the agent said before it comes first. */
  readonly onCall: (call: ToolCall) => Promise<void>;
  /** Told why a call was decided so, for the agent: an answer has no place for it. */
  readonly onNote: (note: string, by: "user" | "policy") => void;
}

const CANCELLED: JsonObject = { outcome: { outcome: "cancelled" } };
/** Never "always": the agent would remember it, and ask no more. */
const ALLOWING = "allow_once";
const DENYING = "reject_once";
const PATHS_SHOWN_MAX = 50;
/** Kinds of tools that change what they name. */
const CHANGING = ["edit", "delete", "move"];

/**
 * Answers an agent that asks leave for a call. The call is in the ledger, and the decision used up,
 * before the agent hears of it: neither counts for another call, whatever dies meanwhile. What
 * would change a file outside the workspace is denied without asking anybody. An answer is for this
 * once: what is to be allowed always is the policy's to say, not the agent's to remember.
 */
export async function answerPermission(
  params: JsonObject,
  options: PermissionOptions,
): Promise<JsonObject> {
  const { context, calls } = options;
  const choices = readChoices(params);
  const asked = readObject(params, "toolCall") ?? {};
  const call = calls.find(asked);
  if (context.signal.aborted) return CANCELLED;
  if (call === null) return choose(choices, DENYING);
  await options.onCall(call);
  if (leadsOutside(call, context)) {
    context.log.warn(
      { tool: call.tool, paths: call.paths },
      "An agent asked to leave its workspace",
    );
    const why = `it leads out of the workspace ${context.workspace}.`;
    options.onNote(`"${call.title}" was denied: ${why}`, "policy");
    await context.emit(tellDenial(call, context, why));
    return choose(choices, DENYING);
  }
  if (choose(choices, ALLOWING) === CANCELLED) {
    context.log.warn({ tool: call.tool }, "An agent asks leave that cannot be given for once");
    options.onNote(
      `"${call.title}" was not allowed: leave is given for one call, never for always.`,
      "policy",
    );
    return choose(choices, DENYING);
  }
  const input = identifyInput(call, asked, context);
  const callId = await calls.findCallId(call.toolCallId);
  const decision = await askLeave({ ...call, input }, callId, context);
  if (decision === null || context.signal.aborted) return CANCELLED;
  if (decision.note !== null) options.onNote(`To "${call.title}": ${decision.note}`, "user");
  if (decision.decision === "deny") {
    await calls.refuse(decision.permissionId);
    return choose(choices, DENYING);
  }
  await calls.intend(call.toolCallId, decision.permissionId);
  return choose(choices, ALLOWING);
}

/** The log says who denied it, and why: nobody was asked. */
function tellDenial(
  { tool, kind, title, paths, input }: ToolCall,
  { clock, workspace: cwd }: PermissionOptions["context"],
  note: string,
): NewEvent {
  const shown = { tool, kind, cwd, title, paths: paths.slice(0, PATHS_SHOWN_MAX) };
  const answer = { permissionId: clock.newId(), status: "denied", by: "policy", note } as const;
  return { type: "permission", data: { ...shown, input: shortenInput(input), ...answer } };
}

/** Null when the attempt is told to stop meanwhile. */
async function askLeave(
  call: ToolCall,
  callId: CallId | null,
  context: PermissionOptions["context"],
): Promise<PermissionDecision | null> {
  const { tool, kind, title, input, paths, toolCallId: modelCallId } = call;
  const shown = { tool, kind, mayBe: listPossibleKinds(call), title, input, paths };
  const request = { ...shown, modelCallId, callId, cwd: context.workspace };
  try {
    return await context.ask(request);
  } catch (thrown) {
    if (context.signal.aborted) return null;
    throw thrown;
  }
}

interface Choice {
  readonly optionId: string;
  readonly kind: string;
}

function readChoices(params: JsonObject): readonly Choice[] {
  return readList(params, "options").flatMap((item) => {
    const option = asObject(item);
    const optionId = readText(option, "optionId");
    return optionId === null ? [] : [{ optionId, kind: readText(option, "kind") ?? "" }];
  });
}

/** The first offered choice of a kind; an agent that offers none is told that nobody chose. */
function choose(choices: readonly Choice[], wanted: string): JsonObject {
  const chosen = choices.find(({ kind }) => kind === wanted);
  if (chosen === undefined) return CANCELLED;
  return { outcome: { outcome: "selected", optionId: chosen.optionId } };
}

function leadsOutside(call: ToolCall, { workspace, home }: PermissionOptions["context"]): boolean {
  if (![call.kind, ...listPossibleKinds(call)].some((kind) => CHANGING.includes(kind)))
    return false;
  return call.paths.some((path) => {
    const absolute = posix.resolve(workspace, path);
    return !isBelow(absolute, workspace) && !isBelow(absolute, home);
  });
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}
