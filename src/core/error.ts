/** How one error code is shown to each kind of caller. */
export interface ErrorEntry {
  /** HTTP status of the problem document. */
  readonly status: number;
  /** Exit code of the command line. */
  readonly exitCode: number;
  /** True when the same call may succeed later without any change. */
  readonly retryable: boolean;
  /** What the caller can do about it, in one line. */
  readonly remedy: string;
}

const entry = (
  status: number,
  exitCode: number,
  retryable: boolean,
  remedy: string,
): ErrorEntry => ({ status, exitCode, retryable, remedy });

/**
 * Every error code of Stint: one row per code, closed. `docs/reference/errors.md` holds the same
 * codes and a test compares the two. Exit codes: 1 the session failed, 2 usage, 3 the environment
 * (server, database, host) is not there or not fit, 4 the session expired.
 */
export const ERRORS = {
  // Requests
  invalid_request: entry(400, 2, false, "Correct the field that the message names."),
  usage_invalid: entry(400, 2, false, "Run the command with --help to see its options."),
  config_invalid: entry(400, 2, false, "Correct the setting that the message names."),
  cursor_invalid: entry(400, 2, false, "Use a cursor that this server returned, or none."),
  unauthorized: entry(
    401,
    2,
    false,
    "Send the token from STINT_DATA/server.json as a bearer token.",
  ),
  forbidden: entry(403, 2, false, "Use the token of an operator."),
  forbidden_origin: entry(403, 2, false, "Call the server by the host name that it printed."),
  session_not_found: entry(404, 2, false, "List the sessions with `stint ls`."),
  not_found: entry(404, 2, false, "See /openapi.json for the routes of this server."),
  method_not_allowed: entry(405, 2, false, "See /openapi.json for the methods of this route."),
  payload_too_large: entry(413, 2, false, "Send less; the message names the limit."),
  prompt_empty: entry(422, 2, false, "Give the agent something to do."),
  prompt_too_large: entry(413, 2, false, "Put the material into a file of the workspace."),
  agent_unknown: entry(422, 2, false, "Use one of the agents that the message lists."),
  model_unknown: entry(422, 2, false, "Use anthropic:NAME, openai:NAME, gemini:NAME or scripted."),
  model_key_missing: entry(
    422,
    2,
    false,
    "Set the variable that the message names where the worker runs.",
  ),
  model_login_unsupported: entry(
    422,
    2,
    false,
    "Give the worker an API key of the provider, and log the agent out of the account.",
  ),
  script_invalid: entry(422, 2, false, "Correct the step that the message names."),
  script_missing: entry(
    422,
    2,
    false,
    "Give a script: `stint run --model scripted --script FILE`.",
  ),
  id_ambiguous: entry(409, 2, false, "Give more characters of the id."),
  idempotency_key_reused: entry(422, 2, false, "Use a new Idempotency-Key for a new request."),
  inbox_full: entry(429, 2, true, "Wait until the agent has read its messages."),

  // States
  illegal_transition: entry(409, 2, false, "Look at the session's state with `stint show ID`."),
  session_terminal: entry(409, 2, false, "Start a new session; a finished one never changes."),
  session_not_terminal: entry(409, 2, false, "Cancel the session before you delete it."),
  not_claimable: entry(409, 2, true, "Another worker has it, or it is not due yet."),
  stale_epoch: entry(409, 2, false, "Stop: another owner or a transition has taken this session."),
  inbox_not_empty: entry(409, 2, true, "Read the waiting messages first."),
  message_taken: entry(409, 1, false, "Read the inbox again; an item was taken before."),
  call_not_open: entry(409, 1, false, "Read the ledger; this call has its outcome already."),
  permission_not_found: entry(404, 2, false, "List them with `stint show ID`."),
  permission_decided: entry(409, 2, false, "Nothing: the request was answered before, or lapsed."),
  permission_not_decided: entry(409, 1, false, "Ask anew; a decision is used once."),
  resync_required: entry(410, 2, false, "Read again from the earliest seq that the answer names."),

  // Workspaces
  workspace_missing: entry(422, 2, false, "Give a path that exists on the worker's host."),
  workspace_invalid: entry(422, 2, false, "Give a readable directory or a git URL."),
  workspace_outside_roots: entry(
    422,
    2,
    false,
    "Use a path under an allowed root, or extend STINT_ALLOWED_ROOTS.",
  ),
  workspace_busy: entry(409, 2, true, "Wait for the session that works there, or work in a copy."),
  workspace_clone_failed: entry(422, 2, true, "Check the repository and the ref."),
  workspace_conflict: entry(409, 2, false, "Resolve the files that the message names, then retry."),
  workspace_gone: entry(410, 2, false, "The files of this session were removed or are elsewhere."),
  workspace_elsewhere: entry(
    409,
    2,
    false,
    "Ask on the host that the message names; a STINT_SNAPSHOT_STORE keeps later sessions readable.",
  ),
  snapshot_store_failed: entry(503, 3, true, "Look at the place that STINT_SNAPSHOT_STORE names."),
  path_outside_workspace: entry(422, 2, false, "Use a relative path inside the workspace."),
  git_missing: entry(422, 2, false, "Install git on the worker's host."),

  // Events
  event_invalid: entry(422, 2, false, "Correct the field of the payload that the message names."),
  event_too_large: entry(413, 2, false, "Split the payload; the message names the limit."),
  event_rejected: entry(422, 1, false, "The database refused this payload; it is not stored."),

  // Attempts
  agent_error: entry(500, 1, false, "Read the session's log with `stint logs ID`."),
  agent_missing: entry(422, 2, false, "Install it: `stint agents` lists what there is, and how."),
  agent_version: entry(422, 2, false, "Install the version that `stint agents` names."),
  agent_not_logged_in: entry(422, 2, false, "Give it a model, or log in where the worker runs."),
  agent_protocol_error: entry(502, 1, false, "Read what it printed with `stint logs ID`."),
  agent_crashed: entry(502, 1, true, "Wait: it is started again by itself, a few times."),
  agent_install_failed: entry(
    503,
    3,
    true,
    "Look at the message; an install needs npm and a network.",
  ),
  model_unavailable: entry(503, 1, true, "Wait: it is asked again by itself. See `stint show ID`."),
  model_error: entry(502, 1, true, "Check the model's name, the key and the provider's status."),
  budget_reached: entry(
    409,
    1,
    false,
    "Raise the budget: `stint resume ID` with --max-tokens, --max-cost or --max-calls.",
  ),
  price_unknown: entry(
    422,
    2,
    false,
    "Set the model's price in the setting `prices` where the worker runs, or resume with --max-cost none.",
  ),
  max_iterations: entry(422, 1, false, "Raise limits.maxIterations and start again."),
  refusal: entry(422, 1, false, "The model declined; change the prompt."),
  cancelled: entry(409, 1, false, "The session was cancelled."),
  idle_timeout: entry(408, 4, false, "Raise limits.idleTimeoutMs if the agent needs longer."),
  queue_timeout: entry(408, 4, false, "Start a worker, or raise limits.queueTimeoutMs."),
  paused_timeout: entry(408, 4, false, "Resume sooner, or raise limits.pausedTimeoutMs."),
  deadline: entry(408, 4, false, "Raise limits.deadlineMs."),
  custody_unavailable: entry(503, 3, false, "Run `stint doctor` to see what this host lacks."),
  command_not_found: entry(
    422,
    2,
    false,
    "Install the program on the worker's host, or give its path.",
  ),

  // Environment
  server_unreachable: entry(503, 3, true, "Start it with `stint dev`, or set STINT_URL."),
  port_taken: entry(
    409,
    3,
    false,
    "Choose another port, or leave --port out for the next free one.",
  ),
  disk_full: entry(507, 3, true, "Free disk space."),
  disk_failed: entry(507, 3, true, "Look at the disk of the worker's data folder."),
  data_dir_unusable: entry(500, 3, false, "Give STINT_DATA a folder that this user may write."),
  postgres_missing: entry(500, 3, false, "Run npm ci with optional packages, or set DATABASE_URL."),
  database_unavailable: entry(
    503,
    3,
    true,
    "Check that the database runs and that its URL is right.",
  ),
  database_auth_failed: entry(503, 3, false, "Correct user and password in DATABASE_URL."),
  database_newer: entry(500, 3, false, "Use the version of stint that migrated this database."),
  database_outdated: entry(500, 3, false, "Run `stint db migrate`."),
  database_roles_missing: entry(500, 3, false, "Let an administrator run the SQL in the message."),
  migration_changed: entry(500, 3, false, "Restore the migration file; applied ones never change."),
  overloaded: entry(503, 3, true, "Try again after a moment."),
  internal: entry(500, 3, false, "Report it with the log line that carries this code."),
} as const satisfies Record<string, ErrorEntry>;

/** A code of the closed error table. */
export type ErrorCode = keyof typeof ERRORS;

/** All codes, in table order. */
export const ERROR_CODES: readonly ErrorCode[] = Object.keys(ERRORS) as ErrorCode[];

/** Facts that belong to an error, for machines: shown in the problem document and in logs. */
export type ErrorFields = Readonly<Record<string, string | number | boolean | null>>;

/** Options of a StintError. */
export interface StintErrorOptions {
  readonly cause?: unknown;
  readonly fields?: ErrorFields;
  /** Replaces the remedy of the table where a more exact one is known. */
  readonly remedy?: string;
}

/**
 * The one error class of Stint. The message says what happened and to which id; status, exit code,
 * retryability and remedy follow from the code.
 */
export class StintError extends Error {
  readonly code: ErrorCode;
  readonly fields: ErrorFields;
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, options: StintErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "StintError";
    this.code = code;
    this.fields = options.fields ?? {};
    this.remedy = options.remedy ?? ERRORS[code].remedy;
  }

  /** HTTP status of this error. */
  get status(): number {
    return ERRORS[this.code].status;
  }

  /** Exit code of the command line for this error. */
  get exitCode(): number {
    return ERRORS[this.code].exitCode;
  }

  /** True when the same call may succeed later. */
  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

/** Whether a value is a known error code. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERRORS, value);
}

/** Turns anything thrown into a StintError; what is unknown becomes `internal`, its cause kept. */
export function toStintError(thrown: unknown): StintError {
  if (thrown instanceof StintError) return thrown;
  return new StintError("internal", messageOf(thrown), { cause: thrown });
}

function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  try {
    return String(thrown);
  } catch {
    // An object without a prototype, or with a broken toString: it has nothing to say.
    return "something that is no error was thrown";
  }
}
