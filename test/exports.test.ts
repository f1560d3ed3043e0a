import { describe, expect, it } from "vitest";
import * as stint from "../src/index.ts";
import type {
  SessionEvent,
  SessionEventType,
  SessionMetadata,
  SessionSnapshot,
  SessionState,
  StateTransition,
} from "../src/index.ts";
import * as testing from "../src/testing.ts";

/** The names that others build on: they stay. */
describe("the library", () => {
  it("exports the six states and the six first event types under their names", () => {
    expect(stint.SessionState).toEqual({
      PENDING: "pending",
      ACTIVE: "active",
      PAUSED: "paused",
      COMPLETED: "completed",
      FAILED: "failed",
      EXPIRED: "expired",
    });
    expect(stint.SessionEventType).toMatchObject({
      STATE_CHANGED: "state_changed",
      THINKING: "thinking",
      TERMINAL: "terminal",
      FILE_CHANGE: "file_change",
      COMPLETION: "completion",
      ERROR: "error",
    });
  });

  it("exports the transition table as a table that can be written with those names", () => {
    const { SessionState: S } = stint;
    const table: Readonly<Record<SessionState, readonly SessionState[]>> = {
      [S.PENDING]: [S.ACTIVE, S.EXPIRED],
      [S.ACTIVE]: [S.PAUSED, S.COMPLETED, S.FAILED, S.EXPIRED],
      [S.PAUSED]: [S.ACTIVE, S.EXPIRED, S.FAILED],
      [S.COMPLETED]: [],
      [S.FAILED]: [],
      [S.EXPIRED]: [],
    };
    expect(stint.VALID_TRANSITIONS).toEqual(table);
  });

  it("exports the types of a session's life", () => {
    const type: SessionEventType = stint.SessionEventType.TOOL;
    const transition: Pick<StateTransition, "from" | "to" | "reason"> = {
      from: "pending",
      to: "active",
      reason: "started",
    };
    const event: Pick<SessionEvent, "seq" | "type" | "data"> = { seq: 1, type, data: {} };
    const metadata: Pick<SessionMetadata, "state" | "durationMs"> = {
      state: "active",
      durationMs: 1,
    };
    const snapshot: Pick<SessionSnapshot, "status" | "epoch"> = { status: "paused", epoch: 2 };
    expect([transition.to, event.type, metadata.state, snapshot.status]).toEqual([
      "active",
      "tool",
      "active",
      "paused",
    ]);
  });

  it.each([
    "AgentRunner",
    "JobProcessor",
    "SessionLifecycleManager",
    "StintError",
    "attachEmbeddedPostgres",
    "connectStore",
    "createAgentRegistry",
    "createBuiltinAgent",
    "createLocalWorkspaces",
    "createPrometheusMetrics",
    "createServer",
    "createSweeper",
    "createWorker",
    "encodeEvent",
    "loadConfig",
    "migrateDatabase",
    "readHostIdentity",
    "toEvent",
  ])("exports %s", (name) => {
    const exported: Readonly<Record<string, unknown>> = stint;
    expect(typeof exported[name]).toBe("function");
  });

  it("gives the lifecycle manager the verbs of a session's life", () => {
    const verbs = Object.getOwnPropertyNames(stint.SessionLifecycleManager.prototype);
    expect(verbs).toEqual(
      expect.arrayContaining([
        "startSession",
        "completeSession",
        "failSession",
        "pauseSession",
        "resumeSession",
        "expireSession",
        "checkExpiredSessions",
        "emitEvent",
        "recordActivity",
        "getSession",
        "getMetadata",
        "getEventHistory",
        "shutdown",
      ]),
    );
  });
});

describe("the library for tests", () => {
  it("exports a fake agent, a scripted model and a clock, and nothing else", () => {
    expect(Object.keys(testing).sort()).toEqual([
      "FAKE_USAGE",
      "ManualClock",
      "createFakeAgent",
      "parseScript",
      "silentLogger",
      "silentMetrics",
      "startScriptedModelServer",
    ]);
  });
});
