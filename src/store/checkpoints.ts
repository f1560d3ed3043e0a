import type {
  CallEvidence,
  Checkpoint,
  InboxMessage,
  LedgerCall,
  StepRecord,
} from "../core/attempt.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { OpenModelCall } from "../core/model-call.ts";
import type { Queryable } from "./connection-pool.ts";
import { decodeOpaque } from "./opaque-json.ts";
import { selectPermissions } from "./permissions.ts";

/** Reads all that a resumed attempt starts from. Empty for a session that has done nothing. */
export async function selectCheckpoint(client: Queryable, sessionId: string): Promise<Checkpoint> {
  return {
    ...(await selectPlaces(client, sessionId)),
    steps: await selectSteps(client, sessionId),
    calls: await selectCalls(client, sessionId),
    undelivered: await selectUndelivered(client, sessionId),
    ...(await selectOpenModelCalls(client, sessionId)),
    permissions: await selectOpenPermissions(client, sessionId),
  };
}

async function selectPlaces(
  client: Queryable,
  sessionId: string,
): Promise<Pick<Checkpoint, "agentSessionId" | "snapshotId">> {
  const { rows } = await client.query<Pick<Checkpoint, "agentSessionId" | "snapshotId">>(
    `select agent_session_id as "agentSessionId", snapshot_id as "snapshotId"
     from public.coding_sessions where id = $1`,
    [sessionId],
  );
  return rows[0] ?? { agentSessionId: null, snapshotId: null };
}

async function selectSteps(client: Queryable, sessionId: string): Promise<StepRecord[]> {
  const { rows } = await client.query<StepRecord & { inputs: Json }>(
    `select iteration, inputs, response, usage from stint.steps
     where session_id = $1 order by iteration`,
    [sessionId],
  );
  return rows.map((row) => ({
    iteration: row.iteration,
    inputs: decodeOpaque(row.inputs) as readonly string[],
    response: decodeOpaque(row.response),
    usage: row.usage,
  }));
}

async function selectCalls(client: Queryable, sessionId: string): Promise<LedgerCall[]> {
  const { rows } = await client.query<Omit<LedgerCall, "evidence"> & { evidence: Json }>(
    `select id as "callId", iteration, ordinal, epoch, model_call_id as "modelCallId", tool, input,
       (extract(epoch from deadline_at - opened_at) * 1000)::bigint as "timeoutMs", status, result,
       is_error as "isError", has_effect as "hasEffect", snapshot_id as "snapshotId", evidence
     from stint.tool_calls where session_id = $1 order by iteration, ordinal`,
    [sessionId],
  );
  return rows.map(({ evidence, ...row }) => ({
    ...row,
    input: decodeOpaque(row.input) as JsonObject,
    result: decodeOpaque(row.result),
    ...(evidence && { evidence: decodeOpaque(evidence) as unknown as CallEvidence }),
  }));
}

async function selectOpenModelCalls(
  client: Queryable,
  sessionId: string,
): Promise<Pick<Checkpoint, "openModelCalls">> {
  const { rows } = await client.query<OpenModelCall>(
    `select id as "callId", provider, wire, model, epoch,
       input_tokens_estimate as "inputTokensEstimate"
     from stint.model_calls where session_id = $1 and status = 'open' order by opened_at, id`,
    [sessionId],
  );
  return rows.length === 0 ? {} : { openModelCalls: rows };
}

/** Logged, but carried by no model step: an agent may have seen them before the crash. */
async function selectUndelivered(client: Queryable, sessionId: string): Promise<InboxMessage[]> {
  const { rows } = await client.query<{ id: string; text: string }>(
    `select id, body as text from stint.inbox
     where session_id = $1 and kind = 'message' and consumed_at is not null
       and delivered_iteration is null
     order by position`,
    [sessionId],
  );
  return rows.map(({ id, text }) => ({ id, text, possibleDuplicate: true }));
}

/** Denied ones were told; they count no more. */
async function selectOpenPermissions(
  client: Queryable,
  sessionId: string,
): Promise<Checkpoint["permissions"]> {
  const permissions = await selectPermissions(client, sessionId, { isOpen: true });
  return permissions.map(({ id, tool, title, status, note, callId }) => ({
    ...{ permissionId: id, tool, title, status, note, callId },
  }));
}
