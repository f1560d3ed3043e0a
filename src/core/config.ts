/**
 * The one configuration: every setting with its type, default, unit and description. A value comes
 * from a flag (`--lease-duration-ms`), else from the environment (`STINT_LEASE_DURATION_MS`), else
 * from `stint.config.json` (`leaseDurationMs`), else it is the default.
 */
import { z } from "zod";
import { agentsSchema } from "./agent-config.ts";
import { StintError } from "./error.ts";
import { parsePermissionPolicy } from "./permission-policy.ts";
import type { ModelPrice } from "./model.ts";
import { SANDBOX_LEVELS } from "./sandbox.ts";
import type { SessionLimits } from "./session.ts";
import { isSnapshotStoreSetting } from "./snapshot-store.ts";
import { suggestName } from "./suggestion.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** Digits of a variable or flag as a number; anything else stays, for the schema to judge. */
const readDigits = (value: unknown): unknown =>
  typeof value === "string" && /^\s*[+-]?\d+\s*$/.test(value) ? Number(value) : value;
/** A whole number; only a value that is none gets this message, one out of range the exact bound. */
const wholeNumber = (message = "must be a whole number") =>
  z
    .number({ error: (issue) => (issue.code === "invalid_type" ? message : undefined) })
    .int(message);
const integer = (min: number, max = Number.MAX_SAFE_INTEGER) =>
  z.preprocess(readDigits, wholeNumber().min(min).max(max));
const DURATION_MS_MAX = 10 * 365 * DAY_MS;
const durationMs = integer(1, DURATION_MS_MAX);
const bytes = integer(1);
const optionalMs = z.preprocess(
  (value) => (value === "none" ? null : readDigits(value)),
  wholeNumber('must be a whole number or "none"').min(1).max(DURATION_MS_MAX).nullable(),
);
const list = z.preprocess(
  (value) =>
    typeof value !== "string"
      ? value
      : value
          .split(",")
          .map((item) => item.trim())
          .filter(Boolean),
  z.array(z.string().min(1)),
);

function refuseBadRules(rules: readonly string[], context: z.RefinementCtx): void {
  try {
    parsePermissionPolicy(rules);
  } catch (thrown) {
    context.addIssue({ code: "custom", message: (thrown as Error).message });
  }
}

/** None, or a bound; a budget of nothing is no budget but a session that can do nothing. */
const optionalCount = z.preprocess(
  (value) => (value === "none" ? null : readDigits(value)),
  wholeNumber('must be a whole number or "none"').min(1).max(Number.MAX_SAFE_INTEGER).nullable(),
);
const readNumber = (value: unknown): unknown =>
  typeof value === "string" && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value;
const optionalUsd = z.preprocess(
  (value) => (value === "none" ? null : readNumber(value)),
  z.number('must be an amount or "none"').min(0.0001).max(1_000_000).nullable(),
);
const flag = z.preprocess(
  (value) => (value === "true" ? true : value === "false" ? false : value),
  z.boolean("must be true or false"),
);

const usd = z.number().min(0).max(1_000_000);
const priceSchema = z.strictObject({
  input: usd,
  output: usd,
  cacheRead: usd.optional(),
  cacheWrite: usd.optional(),
  cacheWriteLong: usd.optional(),
});
/** A text is JSON: in variables and flags. */
const readJson = (value: unknown): unknown => {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value; // The schema says that it is no object.
  }
};
/** Prices by `provider:model`. */
const prices = z.preprocess(
  readJson,
  z.record(
    z.string().regex(/^(scripted|(anthropic|openai|gemini):\S+)$/, "must be named provider:model"),
    priceSchema,
  ) as z.ZodType<Readonly<Record<string, ModelPrice>>>,
);

const settings = {
  dataDir: z.string().min(1).default(".stint").describe("data folder (STINT_DATA)"),
  databaseUrl: z.string().min(1).optional().describe("your own Postgres (DATABASE_URL)"),
  host: z.string().min(1).default("127.0.0.1").describe("address the server listens on"),
  port: integer(0, 65_535).optional().describe("port; 0 any free one"),
  metricsPort: integer(0, 65_535)
    .optional()
    .describe("loopback port for the metrics of a worker alone; 0 any free one"),
  url: z.string().min(1).optional().describe("server that client commands talk to"),
  token: z.string().min(16).optional().describe("bearer token; generated when absent"),
  logLevel: z
    .enum(["debug", "info", "warn", "error", "silent"])
    .default("info")
    .describe("log level"),
  workerSlots: integer(0, 256).default(2).describe("sessions at a time"),
  workerName: z.string().min(1).max(64).optional().describe("name shown for this worker"),
  model: z.string().min(1).optional().describe("model of sessions that name none"),
  agents: z
    .preprocess(readJson, agentsSchema)
    .default({})
    .describe("further agents, and other programs for those that Stint knows"),
  allowedRoots: list.default([]).describe("folders workspaces may come from; none: any"),
  environment: list.default([]).describe("names of variables that commands may also see"),
  ignoredBytesMax: bytes.default(1_073_741_824).describe("ignored files copied into a workspace"),
  snapshotStore: z
    .string()
    .refine(isSnapshotStoreSetting, 'must be "local", "database", a path or a file:// URL')
    .default("local")
    .describe("where snapshots are kept off the host: local (not), database, or a folder"),
  snapshotBytesMax: bytes
    .default(1_073_741_824)
    .describe("stored off the host of one session; beyond it stays on its host"),
  sandbox: z
    .enum(SANDBOX_LEVELS)
    .default("strict")
    .describe("what commands see of the host: strict, workspace or none"),
  sandboxNetwork: z
    .enum(["none", "host"])
    .default("none")
    .describe("network of a strict sandbox: none but the door to models, or the host's"),
  sandboxReadPaths: list
    .default([])
    .describe("folders of the host that a strict sandbox shows read-only"),
  sandboxWritePaths: list
    .default([])
    .describe("folders of the host that a sandbox shows writable, as caches"),
  memoryBytesMax: optionalCount
    .default(null)
    .describe("memory of one session's commands; none: three quarters of the machine"),
  processesMax: integer(8, 4_194_304).default(2_048).describe("processes of one session"),
  cpusMax: optionalCount.default(null).describe("cores of one session; none: all, behind the rest"),
  fileBytesMax: bytes.default(4_294_967_296).describe("largest file that a command may write"),
  freeDiskBytesMin: bytes
    .default(1_073_741_824)
    .describe("free disk below which sessions that write are stopped"),
  inboxItemsMax: integer(1).default(1_000).describe("waiting messages a session"),
  ownerSilenceMs: durationMs
    .default(10_000)
    .describe("how long a worker may leave a pause or cancel lying"),
  permissions: list
    .superRefine(refuseBadRules)
    .default([])
    .describe("rules of what agents must ask leave for, such as: ask execute"),
  permissionTimeoutMs: durationMs.default(DAY_MS).describe("time a person has to give leave"),
  permissionDefault: z
    .enum(["deny", "allow"])
    .default("deny")
    .describe("what is decided when nobody answers in time"),
  permissionHoldMs: durationMs
    .default(2 * MINUTE_MS)
    .describe("how long an agent waits for leave before its slot is freed"),
  freezeMs: integer(0, DURATION_MS_MAX)
    .default(10 * MINUTE_MS)
    .describe("how long a paused agent is kept frozen; 0: it is stopped at once"),
  frozenAgentsMax: integer(0).default(8).describe("agents kept frozen at a time"),
  sessionTimeoutMs: durationMs.default(30 * MINUTE_MS).describe("idle limit of an active session"),
  pausedTimeoutMs: durationMs.default(7 * DAY_MS).describe("limit of a paused session"),
  queueTimeoutMs: durationMs.default(DAY_MS).describe("limit of a pending session"),
  deadlineMs: optionalMs.default(null).describe("limit from creation to end; none"),
  commandTimeoutMs: durationMs.default(10 * MINUTE_MS).describe("limit of one command"),
  modelCallTimeoutMs: durationMs.default(10 * MINUTE_MS).describe("limit of one model call"),
  modelWaitMs: durationMs
    .default(MINUTE_MS)
    .describe("wait of a step for a model that is overloaded or away"),
  backoffMs: durationMs.default(30_000).describe("first pause of a session that waits for a model"),
  backoffMsMax: durationMs.default(15 * MINUTE_MS).describe("longest such pause; it doubles"),
  backoffTimeoutMs: durationMs
    .default(DAY_MS)
    .describe("such pauses in all, until a person decides"),
  outputBytesMax: bytes.default(1_048_576).describe("output kept of one command"),
  maxIterations: integer(1, 10_000).default(100).describe("model steps"),
  tokensMax: optionalCount.default(null).describe("tokens a session may use"),
  costUsdMax: optionalUsd.default(null).describe("US dollars a session may cost"),
  modelCallsMax: optionalCount.default(null).describe("model calls a session may make"),
  modelPolicy: z
    .enum(["session", "provider", "any"])
    .default("provider")
    .describe("models an agent may call"),
  prices: prices.default({}).describe("prices of models"),
  egressAllow: list.default([]).describe("hosts that agents reach through the gateway"),
  recordExchanges: flag.default(false).describe("keep what models are asked and answer"),
  leaseDurationMs: durationMs.default(15_000).describe("lease of a worker"),
  heartbeatIntervalMs: durationMs.default(3_000).describe("time between heartbeats"),
  claimIntervalMs: durationMs.default(1_000).describe("polling net of the claim loop"),
  sweepIntervalMs: durationMs.default(MINUTE_MS).describe("time between sweeps of idle sessions"),
  lostLeaseIntervalMs: durationMs.default(1_000).describe("time between sweeps of lost leases"),
  peerIntervalMs: durationMs
    .default(200)
    .describe("time between looks at other workers of this host"),
  shutdownGraceMs: durationMs.default(4_000).describe("bound of a graceful stop"),
} as const;

/** All settings with their values. */
export type Config = { readonly [K in keyof typeof settings]: z.output<(typeof settings)[K]> };

/** A setting's name. */
export type SettingName = keyof typeof settings;

/** All settings: name, environment variable, flag and description, for help and docs. */
export const SETTINGS: readonly {
  readonly name: SettingName;
  readonly variable: string;
  readonly flag: string;
  readonly description: string;
}[] = (Object.keys(settings) as SettingName[]).map((name) => ({
  name,
  variable: variableOf(name),
  flag: `--${kebabCase(name)}`,
  description: settings[name].description ?? "",
}));

const SETTING_NAMES = SETTINGS.map((setting) => setting.name) as readonly string[];
const VARIABLES = SETTINGS.map((setting) => setting.variable);

/** `STINT_` names that are no settings: cookies that a command inside an attempt finds set. */
const FOREIGN_VARIABLES = [
  "STINT_ATTEMPT",
  "STINT_COMMAND",
  "STINT_MODEL_ORIGIN",
  "STINT_PROMPT",
  "STINT_SESSION",
  "STINT_WORKER",
];

/** The sources of a configuration, strongest first. */
export interface ConfigSources {
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Parsed content of `stint.config.json`. */
  readonly file?: unknown;
}

/**
 * Merges and checks the sources.
 * @throws {config_invalid} naming source and key, with "did you mean" for an unknown one.
 */
export function loadConfig(sources: ConfigSources = {}): Config {
  const values: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  const put = (name: string, value: unknown, origin: string): void => {
    if (value === undefined || value === "") return;
    values[name] = value;
    origins[name] = origin;
  };
  for (const [key, value] of Object.entries(readFile(sources.file))) {
    assertKnown(key, SETTING_NAMES, `stint.config.json: unknown setting "${key}"`);
    put(key, value, `stint.config.json: ${key}`);
  }
  const env = sources.env ?? {};
  for (const variable of Object.keys(env)) {
    if (!variable.startsWith("STINT_") || FOREIGN_VARIABLES.includes(variable)) continue;
    assertKnown(variable, VARIABLES, `unknown environment variable ${variable}`);
  }
  for (const { name, variable } of SETTINGS) put(name, env[variable], variable);
  for (const [name, value] of Object.entries(sources.flags ?? {})) {
    if (SETTING_NAMES.includes(name)) put(name, value, `--${kebabCase(name)}`);
  }
  return checkValues(values, origins);
}

function checkValues(values: Record<string, unknown>, origins: Record<string, string>): Config {
  const parsed = z.object(settings).safeParse(values);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const name = String(issue?.path[0] ?? "");
    const inside = issue?.path.slice(1).filter((part) => typeof part === "string") ?? [];
    const below = inside.map((part) => `.${part}`).join("");
    const where = `${origins[name] ?? name}${below}`;
    throw new StintError("config_invalid", `${where}: ${issue?.message ?? ""}`);
  }
  const config = parsed.data as Config;
  if (config.heartbeatIntervalMs * 2 > config.leaseDurationMs) {
    throw new StintError(
      "config_invalid",
      "heartbeatIntervalMs must be at most half of leaseDurationMs",
    );
  }
  return config;
}

function readFile(file: unknown): Record<string, unknown> {
  if (file === undefined || file === null) return {};
  if (typeof file === "object" && !Array.isArray(file)) return file as Record<string, unknown>;
  throw new StintError("config_invalid", "stint.config.json: must hold one JSON object");
}

function assertKnown(name: string, known: readonly string[], message: string): void {
  if (known.includes(name)) return;
  const near = suggestName(name, known);
  throw new StintError("config_invalid", near ? `${message}, did you mean ${near}?` : message);
}

function variableOf(name: string): string {
  if (name === "databaseUrl") return "DATABASE_URL";
  if (name === "dataDir") return "STINT_DATA";
  return `STINT_${kebabCase(name).replaceAll("-", "_").toUpperCase()}`;
}

function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

const limit = z.number().int().min(1).max(DURATION_MS_MAX);
const budgetCount = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).nullable().optional();
const budgetFields = {
  tokensMax: budgetCount,
  costUsdMax: z.number().min(0.0001).max(1_000_000).nullable().optional(),
  modelCallsMax: budgetCount,
};

/** Budgets that a request may set anew for a session that goes on. */
export const budgetLimitsSchema = z.strictObject(budgetFields);

/** Limits that a request may set for its session; what it leaves out comes from the configuration. */
export const sessionLimitsSchema = z.strictObject({
  idleTimeoutMs: limit.optional(),
  pausedTimeoutMs: limit.optional(),
  queueTimeoutMs: limit.optional(),
  deadlineMs: limit.nullable().optional(),
  commandTimeoutMs: limit.optional(),
  modelCallTimeoutMs: limit.optional(),
  outputBytesMax: z.number().int().min(1_024).max(67_108_864).optional(),
  maxIterations: z.number().int().min(1).max(10_000).optional(),
  ...budgetFields,
});

/** Fills the limits of a session from the configuration. */
export function resolveLimits(
  config: Config,
  requested: z.infer<typeof sessionLimitsSchema> = {},
): SessionLimits {
  const limits: SessionLimits = {
    idleTimeoutMs: config.sessionTimeoutMs,
    pausedTimeoutMs: config.pausedTimeoutMs,
    queueTimeoutMs: config.queueTimeoutMs,
    deadlineMs: config.deadlineMs,
    commandTimeoutMs: config.commandTimeoutMs,
    modelCallTimeoutMs: config.modelCallTimeoutMs,
    outputBytesMax: config.outputBytesMax,
    maxIterations: config.maxIterations,
    tokensMax: config.tokensMax,
    costUsdMax: config.costUsdMax,
    modelCallsMax: config.modelCallsMax,
  };
  const given = Object.entries(requested).filter(([, value]) => value !== undefined);
  return { ...limits, ...Object.fromEntries(given) };
}
