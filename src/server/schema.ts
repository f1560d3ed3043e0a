/** The JSON that the server speaks: schemas for the description of the API and for its tests. */
import { z } from "@hono/zod-openapi";
import { ERROR_CODES } from "../core/error.ts";
import {
  EVENT_SCHEMAS,
  SESSION_EVENT_TYPES,
  sessionStatsSchema,
  type SessionEventType,
} from "../core/event.ts";
import { SANDBOX_LEVELS } from "../core/sandbox.ts";
import { TOOL_KINDS } from "../core/permission.ts";
import { REASON_CODES, SESSION_STATES, type SessionState } from "../core/state.ts";

const instant = z.iso.datetime().openapi({ description: "Instant in UTC." });
const count = z.number().int().min(0);
const stateSchema = z.enum(SESSION_STATES as [SessionState, ...SessionState[]]);
const millis = count.openapi({ description: "Milliseconds." });

/** A session as it is sent. */
export const sessionSchema = z
  .strictObject({
    id: z.uuid(),
    userId: z.uuid(),
    status: stateSchema,
    reason: z.enum(REASON_CODES as unknown as [string, ...string[]]),
    waitingFor: z.enum(["input", "permission"]).nullable(),
    resumeAt: instant.nullable(),
    frozenUntil: instant.nullable().openapi({
      description: "Until when its worker keeps its processes frozen, at most.",
    }),
    epoch: count,
    workerId: z.string().nullable(),
    agent: z.string(),
    model: z.string().nullable(),
    prompt: z.string(),
    workspace: z.strictObject({
      mode: z.enum(["copy", "in-place"]),
      source: z.string().nullable(),
      ref: z.string().nullable(),
      path: z.string().nullable(),
      host: z.string().nullable().openapi({ description: "Where the files were last worked on." }),
      snapshotId: z.string().nullable(),
      snapshotStore: z.string().nullable().openapi({
        description: "Place off the host that holds the snapshot; null: it is on the host alone.",
      }),
    }),
    sandbox: z
      .strictObject({
        level: z.enum(SANDBOX_LEVELS),
        wanted: z.enum(SANDBOX_LEVELS),
        limits: z.enum(["cgroup", "none"]),
        reason: z.string().nullable(),
      })
      .nullable(),
    recovery: z.enum(["restore", "adopt"]),
    limits: z.strictObject({
      idleTimeoutMs: millis,
      pausedTimeoutMs: millis,
      queueTimeoutMs: millis,
      deadlineMs: millis.nullable(),
      commandTimeoutMs: millis,
      modelCallTimeoutMs: millis,
      outputBytesMax: count,
      maxIterations: count,
      tokensMax: count.nullable(),
      costUsdMax: z.number().min(0).nullable(),
      modelCallsMax: count.nullable(),
    }),
    keepOpen: z.boolean(),
    metadata: z.record(z.string(), z.unknown()),
    permissions: z.array(z.string()),
    stats: sessionStatsSchema,
    error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
    lastSeq: count,
    parentId: z.uuid().nullable(),
    createdAt: instant,
    startedAt: instant.nullable(),
    pausedAt: instant.nullable(),
    completedAt: instant.nullable(),
    lastActivityAt: instant,
    activeMs: z.number().min(0),
    attempts: count,
  })
  .openapi("Session");

/** What an agent asked leave for, as it is sent. */
export const permissionSchema = z
  .strictObject({
    id: z.uuid(),
    status: z.enum(["pending", "allowed", "denied", "lapsed"]),
    tool: z.string(),
    kind: z.enum(TOOL_KINDS),
    title: z.string(),
    input: z.record(z.string(), z.unknown()),
    cwd: z.string(),
    paths: z.array(z.string()),
    note: z.string().nullable(),
    decidedBy: z.enum(["user", "expiry"]).nullable(),
    askedAt: instant,
    expiresAt: instant.openapi({ description: "When it is decided without a person." }),
    decidedAt: instant.nullable(),
  })
  .openapi("Permission");

/** What the agent of a session asked leave for. */
export const permissionListSchema = z
  .strictObject({ permissions: z.array(permissionSchema) })
  .openapi("PermissionList");

/** A page of sessions, newest first. */
export const sessionListSchema = z
  .strictObject({ sessions: z.array(sessionSchema), nextCursor: z.string().nullable() })
  .openapi("SessionList");

function describeEvent(type: SessionEventType) {
  const name = type.replace(/(^|_)(\w)/g, (_, __, letter: string) => letter.toUpperCase());
  return z
    .strictObject({
      id: z.uuid(),
      sessionId: z.uuid(),
      seq: z.number().int().min(1).openapi({ description: "Dense place in its session." }),
      type: z.literal(type),
      data: EVENT_SCHEMAS[type],
      createdAt: instant,
    })
    .openapi(`${name}Event`);
}

type DescribedEvent = ReturnType<typeof describeEvent>;

/** An event as it is sent: one schema for each type. */
export const eventSchema = z
  .discriminatedUnion("type", SESSION_EVENT_TYPES.map(describeEvent) as [DescribedEvent])
  .openapi("Event");

/** A page of events in order of seq. */
export const eventListSchema = z
  .strictObject({
    events: z.array(eventSchema),
    nextCursor: z.string().nullable().openapi({
      description: "Pass it as `after` to read on; null when the log ended here.",
    }),
  })
  .openapi("EventList");

/** What changed in a workspace. */
export const diffSchema = z
  .strictObject({
    files: z.array(
      z.strictObject({
        path: z.string(),
        pathBase64: z.string().optional(),
        oldPath: z.string().optional(),
        oldPathBase64: z.string().optional(),
        action: z.enum(["created", "modified", "deleted", "renamed"]),
        additions: count,
        deletions: count,
        binary: z.boolean(),
        patch: z.string().optional(),
        patchBase64: z.string().optional(),
        truncated: z.boolean().optional(),
      }),
    ),
    filesOmitted: count.optional(),
    additions: count,
    deletions: count,
    patch: z.string(),
    truncated: z.boolean(),
  })
  .openapi("Diff");

/** The workers with their leases. */
export const workerListSchema = z
  .strictObject({
    workers: z.array(
      z
        .strictObject({
          id: z.string(),
          name: z.string(),
          host: z.string(),
          pid: count,
          version: z.string(),
          slots: count,
          agents: z.array(z.string()),
          activeSessions: count,
          startedAt: instant,
          heartbeatAt: instant,
          leaseExpiresAt: instant,
          isLive: z.boolean(),
        })
        .openapi("Worker"),
    ),
  })
  .openapi("WorkerList");

/** Figures over the sessions of a viewer. */
export const statsSchema = z
  .strictObject({
    sessions: z.record(stateSchema, count),
    averageDurationMs: z.number().nullable(),
    expirationRatePercent: z.number().nullable(),
    eventVolume: z.record(z.string(), count),
    workers: count,
    slots: count,
  })
  .openapi("Stats");

/** That the server answers. */
export const healthSchema = z
  .strictObject({ status: z.enum(["ok", "ready"]), version: z.string() })
  .openapi("Health");

/** An error: RFC 9457 with a stable code. */
export const problemSchema = z
  .strictObject({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: z.enum(ERROR_CODES as [string, ...string[]]),
    remedy: z.string(),
    retryable: z.boolean(),
    fields: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  })
  .openapi("Problem");
