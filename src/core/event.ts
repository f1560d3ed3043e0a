/**
 * The events of a session: their types, payloads and bounds. Types and fields are only ever added.
 */
import { z } from "zod";
import { StintError } from "./error.ts";
import { EVENT_BYTES_MAX, toStorable, type Json, type JsonObject } from "./json.ts";
import { TOOL_KINDS } from "./permission.ts";
import { REASON_CODES, SESSION_STATES } from "./state.ts";

/** The event types, stored and sent in lower case. */
export const SessionEventType = {
  STATE_CHANGED: "state_changed",
  THINKING: "thinking",
  TERMINAL: "terminal",
  FILE_CHANGE: "file_change",
  COMPLETION: "completion",
  ERROR: "error",
  USER_MESSAGE: "user_message",
  PERMISSION: "permission",
  TOOL: "tool",
  MODEL_CALL: "model_call",
} as const;

/** One of the event types. */
export type SessionEventType = (typeof SessionEventType)[keyof typeof SessionEventType];

/** All event types. */
export const SESSION_EVENT_TYPES = Object.values(SessionEventType);

const count = z.number().int().nonnegative();
const stateSchema = z.enum(SESSION_STATES as [string, ...string[]]);

/** Token counts of model calls; `inputTokens` includes what was read from a cache. */
export const tokenUsageSchema = z.object({
  inputTokens: count,
  outputTokens: count,
  cacheReadTokens: count.default(0),
  cacheWriteTokens: count.default(0),
  reasoningTokens: count.default(0),
});
/** Token counts of model calls. */
export type TokenUsage = z.infer<typeof tokenUsageSchema>;

/** What a session has used so far: the fold of its log. */
export const sessionStatsSchema = z.object({
  iterations: count,
  inputTokens: count,
  outputTokens: count,
  cacheReadTokens: count.default(0),
  cacheWriteTokens: count.default(0),
  reasoningTokens: count.default(0),
  toolCalls: count,
  modelCalls: count.default(0),
  /** Cost in US dollars of the calls whose price is known; null where none is. */
  costUsd: z.number().nonnegative().nullable().default(null),
});
/** What a session has used so far. */
export type SessionStats = z.infer<typeof sessionStatsSchema>;

/** Stats of a session that has done nothing. */
export const EMPTY_STATS: SessionStats = {
  iterations: 0,
  inputTokens: 0,
  outputTokens: 0,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  reasoningTokens: 0,
  toolCalls: 0,
  modelCalls: 0,
  costUsd: null,
};

const text = z.string();
/** The bytes of the text field of the same name, where no text can hold them. */
const bytes = z.base64().optional();

/**
 * Payload schemas by type. Unknown fields are kept. A text field `x` may come as `xBase64` when
 * its bytes are not storable text; `…Base64` fields hold base64 with padding.
 */
export const EVENT_SCHEMAS = {
  state_changed: z.looseObject({
    from: stateSchema,
    to: stateSchema,
    reason: z.enum(REASON_CODES as unknown as [string, ...string[]]),
    epoch: count,
    workerId: text.nullish(),
    /** What the session waits for to pass, with `backoff`; which budget stopped it, with `budget_reached`. */
    error: z.looseObject({ code: text, message: text }).optional(),
  }),
  thinking: z.looseObject({
    iteration: count,
    toolsUsed: z.array(text).max(1_000),
    text: text.optional(),
    textBase64: bytes,
    reasoning: text.optional(),
    reasoningBase64: bytes,
    /** As the agent counts it, to be compared: totals are of `model_call` alone. */
    usage: tokenUsageSchema.optional(),
    /** Tokens of a whole turn as an agent of others counts them. */
    agentUsage: tokenUsageSchema.optional(),
  }),
  terminal: z.looseObject({
    command: text.optional(),
    commandBase64: bytes,
    output: text.optional(),
    outputBase64: bytes,
    error: text.nullish(),
    errorBase64: bytes,
    exitCode: z.number().int().nullish(),
    callId: text.optional(),
    /** False for a piece of output while the command runs; true once, with its end. */
    final: z.boolean().optional(),
    /** False where the agent tells no exit code, or none that can be believed; on the final event. */
    exitCodeKnown: z.boolean().optional(),
    /** What the agent said of the exit code, where it cannot be believed. */
    agentExitCode: z.number().int().nullish(),
    /** Whether the agent took it as failed, where that is more than the exit code says. */
    isError: z.boolean().optional(),
    /** On the final event: `output` is all of the output, and counts instead of the pieces. */
    replacesOutput: z.boolean().optional(),
    /** Whether the program had a terminal; only of agents that are commands. */
    hasTerminal: z.boolean().optional(),
    /** Bytes of output that the cap left out; on the final event. */
    omittedBytes: count.optional(),
    /** Bytes that are missing before this piece, because of the cap. */
    omittedBefore: count.optional(),
    /** What became of the call, where it is not plainly finished; on the final event. */
    status: z.enum(["finished", "interrupted", "unknown"]).optional(),
  }),
  file_change: z
    .looseObject({
      /** Relative to the workspace; a file name need not be text, hence `pathBase64`. */
      path: text.optional(),
      pathBase64: bytes,
      action: z.enum(["created", "modified", "deleted", "renamed"]),
      oldPath: text.optional(),
      oldPathBase64: bytes,
      diff: text.optional(),
      diffBase64: bytes,
      diffTruncated: z.boolean().optional(),
      binary: z.boolean().optional(),
      callId: text.optional(),
      /** Files that changed with this one and are not told of; on the last that is. */
      omittedFiles: count.optional(),
    })
    .refine(({ path, pathBase64 }) => path !== undefined || pathBase64 !== undefined, {
      message: "a path is needed, as path or pathBase64",
      path: ["path"],
    }),
  completion: z.looseObject({
    message: text.optional(),
    messageBase64: bytes,
    stats: sessionStatsSchema.partial(),
  }),
  error: z.looseObject({
    code: text,
    message: text.optional(),
    messageBase64: bytes,
    stats: sessionStatsSchema.partial().optional(),
    /** Set where the fault passes and nothing ends: when it is tried again. */
    retryAt: text.optional(),
  }),
  user_message: z.looseObject({
    text: text.optional(),
    textBase64: bytes,
    userId: text.nullish(),
  }),
  permission: z.looseObject({
    permissionId: text,
    status: z.enum(["requested", "allowed", "denied"]),
    tool: text.optional(),
    kind: z.enum(TOOL_KINDS).optional(),
    title: text.optional(),
    input: z.unknown().optional(),
    cwd: text.optional(),
    paths: z.array(text).optional(),
    /** When it is decided without a person. */
    expiresAt: text.optional(),
    by: z.enum(["policy", "user", "expiry"]).nullish(),
    note: text.nullish(),
  }),
  tool: z.looseObject({
    callId: text,
    name: text,
    /** One line for people, where the agent gives one. */
    title: text.optional(),
    /** What the tool does, as agents of others class it. */
    kind: text.optional(),
    input: z.unknown().optional(),
    output: z.unknown().optional(),
    isError: z.boolean().optional(),
    status: z.enum(["finished", "interrupted", "unknown"]).optional(),
  }),
  model_call: z.looseObject({
    callId: text,
    provider: text,
    /** The name that the agent asked for. */
    model: text,
    wire: text.optional(),
    status: z.enum(["finished", "failed", "aborted", "lost"]),
    httpStatus: z.number().int().nullish(),
    usage: tokenUsageSchema,
    costUsd: z.number().nonnegative().nullable(),
    /** True when the provider did not say all of the usage. */
    estimated: z.boolean(),
    retries: count.optional(),
  }),
} as const satisfies Record<SessionEventType, z.ZodType>;

/** The payload of an event of type `T`. */
export type EventData<T extends SessionEventType> = z.input<(typeof EVENT_SCHEMAS)[T]>;

/** An event that is not in a log yet. */
export type NewEvent = {
  [T in SessionEventType]: { readonly type: T; readonly data: EventData<T> };
}[SessionEventType];

/** An event of a log. */
export interface SessionEvent {
  readonly id: string;
  readonly sessionId: string;
  /** Dense place in its session: 1, 2, 3 … */
  readonly seq: number;
  readonly type: SessionEventType;
  readonly data: JsonObject;
  readonly createdAt: Date;
}

/** An event checked, storable and serialised: what the log writer takes. */
export interface EncodedEvent {
  readonly type: SessionEventType;
  readonly json: string;
}

/**
 * Checks a payload against the schema of its type, makes it storable and serialises it.
 * @throws {event_invalid} naming the field, also for what JSON has no form for.
 * @throws {event_too_large} over `EVENT_BYTES_MAX`.
 */
export function encodeEvent(event: NewEvent): EncodedEvent {
  if (!isSessionEventType(event.type)) {
    throw new StintError("event_invalid", `${String(event.type)} is no type of event`);
  }
  const parsed = EVENT_SCHEMAS[event.type].safeParse(event.data);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const path = issue?.path.join(".") ?? "";
    throw new StintError("event_invalid", `${event.type}: ${path} ${issue?.message ?? "invalid"}`);
  }
  const json = serialize(event.type, keepProtoKey(event.data, parsed.data));
  if (Buffer.byteLength(json) > EVENT_BYTES_MAX) {
    throw new StintError(
      "event_too_large",
      `${event.type}: the payload is larger than ${EVENT_BYTES_MAX} bytes`,
    );
  }
  return { type: event.type, json };
}

/** Unknown fields are kept, also one with the name that the schema library leaves out. */
function keepProtoKey(given: object, parsed: object): object {
  const key = "__proto__";
  const field = Object.getOwnPropertyDescriptor(given, key);
  return field ? Object.defineProperty(parsed, key, field) : parsed;
}

function serialize(type: SessionEventType, data: object): string {
  try {
    return JSON.stringify(toStorable(data as Json));
  } catch (cause) {
    // A number of the BigInt kind, or an object that holds itself.
    throw new StintError("event_invalid", `${type}: ${(cause as Error).message}`, { cause });
  }
}

/** Whether a value names an event type. */
export function isSessionEventType(value: unknown): value is SessionEventType {
  return SESSION_EVENT_TYPES.includes(value as SessionEventType);
}
