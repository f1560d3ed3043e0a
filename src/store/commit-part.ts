import type { Json } from "../core/json.ts";
import type { OwnerCommit } from "../core/store.ts";
import { encodeOpaque, toStorableText } from "./opaque-json.ts";
import type { PartFields } from "./slot.ts";

/**
 * The part of a commit beside its events, in the form that `stint.apply_commit` reads. Whatever an
 * agent or a model said is made storable on the way; `readCheckpoint` undoes it.
 */
export function toPartFields(commit: OwnerCommit): PartFields {
  const fields = {
    workspacePath: commit.workspacePath,
    sandbox: commit.sandbox,
    continuesEpoch: commit.continuesEpoch,
    snapshot: commit.snapshot && {
      ...commit.snapshot,
      undone: commit.snapshot.undone?.map(({ callId, result }) => ({
        callId,
        result: encodeOpaque(result),
      })),
    },
    agentSessionId: commit.agentSessionId,
    inboxConsumed: commit.inboxConsumed?.length ? commit.inboxConsumed : undefined,
    beginStep: commit.beginStep && {
      ...commit.beginStep,
      inputs: encodeOpaque(commit.beginStep.inputs),
    },
    finishStep: commit.finishStep && {
      ...commit.finishStep,
      response: encodeOpaque(commit.finishStep.response),
    },
    openCall: commit.openCall && {
      ...commit.openCall,
      modelCallId: toStorableText(commit.openCall.modelCallId),
      tool: toStorableText(commit.openCall.tool),
      input: encodeOpaque(commit.openCall.input),
      evidence: commit.openCall.evidence && encodeOpaque(commit.openCall.evidence),
    },
    closeCall: commit.closeCall && {
      ...commit.closeCall,
      result: encodeOpaque(commit.closeCall.result),
    },
    askPermission: commit.askPermission && {
      ...commit.askPermission,
      request: encodeOpaque(commit.askPermission.request as unknown as Json),
    },
    bindPermission: commit.bindPermission,
    tellPermission: commit.tellPermission,
    usePermission: commit.usePermission,
    openModelCall: commit.openModelCall && {
      ...commit.openModelCall,
      model: toStorableText(commit.openModelCall.model),
    },
    closeModelCall: commit.closeModelCall,
    rawMessages: commit.rawMessages?.length ? commit.rawMessages.map(encodeOpaque) : undefined,
    transition: commit.transition && {
      ...commit.transition,
      error: commit.transition.error && {
        code: commit.transition.error.code,
        message: toStorableText(commit.transition.error.message),
      },
    },
  };
  return Object.values(fields).some((field) => field !== undefined) ? fields : null;
}
