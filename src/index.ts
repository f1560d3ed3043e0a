/**
 * `stint`: the session runtime as a library. The parts are put together by the caller; nothing
 * starts, connects or reads the environment by being imported.
 */

// The state machine and the log: words and tables that everything else is written in.
export {
  assertTransition,
  isReasonFor,
  isSessionState,
  isTerminal,
  isValidTransition,
  REASON_CODES,
  REASONS,
  SESSION_STATES,
  SessionState,
  VALID_TRANSITIONS,
} from "./core/state.ts";
export type { Reason, WaitingFor } from "./core/state.ts";
export {
  encodeEvent,
  EVENT_SCHEMAS,
  isSessionEventType,
  SESSION_EVENT_TYPES,
  SessionEventType,
} from "./core/event.ts";
export { toEvent } from "./core/event-row.ts";
export type { SessionEventRow } from "./core/event-row.ts";
export type {
  EncodedEvent,
  EventData,
  NewEvent,
  SessionEvent,
  SessionStats,
  TokenUsage,
} from "./core/event.ts";
export { EMPTY_FOLD, foldEvent, foldEvents } from "./core/fold.ts";
export type { FoldedSession } from "./core/fold.ts";
export { decodeOutput, EVENT_BYTES_MAX, toStorable, truncateText } from "./core/json.ts";
export type { Json, JsonObject } from "./core/json.ts";
export { LOCAL_USER_ID, PROMPT_BYTES_MAX } from "./core/session.ts";
export type {
  NewSession,
  RecoveryMode,
  SessionLimits,
  SessionMetadata,
  SessionSnapshot,
  StateTransition,
} from "./core/session.ts";
export { parseScript } from "./core/script.ts";
export type { Script, ScriptStep } from "./core/script.ts";
export type { WorkspaceDiff, WorkspaceFiles, WorkspaceRequest } from "./core/workspace.ts";
export type { WorkspaceReader } from "./core/workspace-reader.ts";

// Errors and settings.
export { ERROR_CODES, ERRORS, isErrorCode, StintError, toStintError } from "./core/error.ts";
export type { ErrorCode, ErrorEntry, ErrorFields, StintErrorOptions } from "./core/error.ts";
export { loadConfig, resolveLimits, sessionLimitsSchema, SETTINGS } from "./core/config.ts";
export type { Config, ConfigSources, SettingName } from "./core/config.ts";

// Ports, and what stands behind them in a process of one's own.
export type { Clock, Timer } from "./core/clock.ts";
export { LOG_MESSAGES, silentLogger } from "./core/log.ts";
export type { Logger } from "./core/log.ts";
export { METRICS, silentMetrics } from "./core/metrics.ts";
export type { Metrics, MetricsRegistry } from "./core/metrics.ts";
export type * from "./core/store.ts";
export { systemClock } from "./cli/system-clock.ts";
export { createPrometheusMetrics } from "./server/prometheus.ts";

// The database: your own, or the embedded one.
export { connectStore } from "./store/postgres-store.ts";
export type { StoreOptions } from "./store/postgres-store.ts";
export { migrateDatabase, readMigrationStatus } from "./store/migrate.ts";
export type { MigrationStatus } from "./store/migrate.ts";
export type { ConnectionSource } from "./store/connect.ts";
export { attachEmbeddedPostgres } from "./store/embedded/attach.ts";
export type { AttachOptions, EmbeddedPostgres } from "./store/embedded/attach.ts";

// The worker and the sweeps.
export { SessionLifecycleManager } from "./worker/session-lifecycle-manager.ts";
export type {
  LifecycleOptions,
  PauseOptions,
  SessionFailure,
} from "./worker/session-lifecycle-manager.ts";
export { JobProcessor } from "./worker/job-processor.ts";
export type { JobProcessorOptions } from "./worker/job-processor.ts";
export { AgentRunner } from "./worker/agent-runner.ts";
export type { AgentRunnerOptions } from "./worker/agent-runner.ts";
export type { AttemptWorkspace, OpenAttemptWorkspace } from "./worker/attempt-workspace.ts";
export { Heartbeat } from "./worker/heartbeat.ts";
export type { HeartbeatOptions } from "./worker/heartbeat.ts";
export { createWorker } from "./worker/worker.ts";
export type { Worker, WorkerOptions } from "./worker/worker.ts";
export { createSweeper } from "./worker/sweeper.ts";
export type { SweeperOptions } from "./worker/sweeper.ts";
export { createPeriodicService } from "./worker/service.ts";
export type { PeriodicOptions, Service } from "./worker/service.ts";
export { readHostIdentity } from "./worker/host-identity.ts";
export type { HostIdentity } from "./worker/host-identity.ts";
export { createLocalWorkspaces } from "./worker/local-workspaces.ts";
export type { LocalWorkspaces, LocalWorkspacesOptions } from "./worker/local-workspaces.ts";
export { openSnapshotStores } from "./worker/snapshot-stores.ts";
export type { SnapshotStores } from "./worker/snapshot-stores.ts";
export { createDatabaseSnapshots } from "./store/database-snapshots.ts";
export type { DatabaseSnapshots, SnapshotRemovals } from "./store/database-snapshots.ts";
export type { WorkspaceRemovals } from "./store/workspace-removals.ts";
export { createWorkspaceSweep } from "./worker/workspace-sweep.ts";
export type { WorkspaceSweepOptions } from "./worker/workspace-sweep.ts";
export type { SnapshotPart, SnapshotStore } from "./core/snapshot-store.ts";

// Agents: the one that comes with Stint, and the seam for others.
export { createAcpAgent } from "./agents/acp/agent.ts";
export type { AcpAgentOptions } from "./agents/acp/agent.ts";
export type {
  AcpAgentDefinition,
  AgentPackage,
  AgentQuirks,
  AgentSetting,
  AgentWire,
} from "./agents/acp/definition.ts";
export { modelEnvironment } from "./agents/acp/model-environment.ts";
export { PRESETS } from "./agents/acp/presets.ts";
export { createBuiltinAgent } from "./agents/builtin/agent.ts";
export { createCommandAgent } from "./agents/command/agent.ts";
export type { CommandAgentOptions } from "./agents/command/agent.ts";
export type { CommandAgentDefinition } from "./agents/command/definition.ts";
export type { ProgramPlaces } from "./agents/program.ts";
export { createAgentRegistry } from "./agents/registry.ts";
export type { AgentProbe, AgentRegistry } from "./agents/registry.ts";
export { AttemptStopped } from "./core/attempt.ts";
export type * from "./core/attempt.ts";
export { parseModelName } from "./core/model.ts";
export type * from "./core/model.ts";
export type * from "./core/model-call.ts";

// The server.
export { createServer } from "./server/app.ts";
export type { ServerOptions, StintServer } from "./server/app.ts";
export type { ListeningServer, ListenOptions } from "./server/listen.ts";
export type { Authenticator } from "./server/auth.ts";
