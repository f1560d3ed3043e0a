import { ERRORS, isErrorCode, type ErrorCode, type ErrorFields } from "../core/error.ts";

/** What a StintApiError is made of. */
export interface StintApiErrorInit {
  /** A code of the error table; a newer server may send one that is not in it. */
  readonly code: string;
  readonly message: string;
  /** HTTP status, or 0 when there was no answer. */
  readonly status: number;
  /** @default the remedy of the code's row */
  readonly remedy?: string;
  /** @default as the code's row says, else by status: 429 and 5xx are */
  readonly retryable?: boolean;
  readonly fields?: ErrorFields;
  /** What the server asked to wait before the next try. */
  readonly retryAfterMs?: number | null;
  readonly cause?: unknown;
}

/** The one error of the client: a refusal by the server, or `server_unreachable`. */
export class StintApiError extends Error {
  readonly code: ErrorCode | (string & {});
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** What can be done about it, in one line. */
  readonly remedy: string;
  /** True when the same call may succeed later without any change. */
  readonly retryable: boolean;
  /** Facts for machines, as the problem document carried them. */
  readonly fields: ErrorFields;
  /** What the server asked to wait before the next try, or null. */
  readonly retryAfterMs: number | null;

  constructor(init: StintApiErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    const row = isErrorCode(init.code) ? ERRORS[init.code] : null;
    this.name = "StintApiError";
    this.code = init.code;
    this.status = init.status;
    this.remedy = init.remedy ?? row?.remedy ?? "";
    this.retryable = init.retryable ?? row?.retryable ?? isPassing(init.status);
    this.fields = init.fields ?? {};
    this.retryAfterMs = init.retryAfterMs ?? null;
  }
}

/** Statuses that say "later" rather than "no". */
function isPassing(status: number): boolean {
  return status === 0 || status === 408 || status === 429 || status >= 500;
}

const STATUS_CODES: Readonly<Record<number, ErrorCode>> = {
  400: "invalid_request",
  401: "unauthorized",
  403: "forbidden_origin",
  404: "not_found",
  405: "method_not_allowed",
  413: "payload_too_large",
  429: "overloaded",
  502: "server_unreachable",
  503: "overloaded",
  504: "server_unreachable",
};

const OWN_MEMBERS = new Set(["type", "title", "status", "detail", "instance", "code", "remedy"]);

/** Makes the error of an answer that is none of success: problem document or not. */
export function readProblem(response: Response, body: string): StintApiError {
  const retryAfterMs = readRetryAfter(response.headers.get("retry-after"));
  const status = response.status;
  const problem = parseObject(body);
  const code = problem?.["code"];
  if (problem === null || typeof code !== "string") {
    return new StintApiError({
      code: STATUS_CODES[status] ?? (status >= 500 ? "internal" : "invalid_request"),
      message: `the server answered ${status} without saying why`,
      status,
      retryAfterMs,
    });
  }
  const text = (key: string): string | undefined =>
    typeof problem[key] === "string" ? (problem[key] as string) : undefined;
  const remedy = text("remedy");
  return new StintApiError({
    code,
    message: text("detail") ?? text("title") ?? code,
    status,
    ...(remedy === undefined ? {} : { remedy }),
    ...(typeof problem["retryable"] === "boolean" ? { retryable: problem["retryable"] } : {}),
    fields: readFields(problem),
    retryAfterMs,
  });
}

function readFields(problem: Record<string, unknown>): ErrorFields {
  const nested = problem["fields"];
  const source = typeof nested === "object" && nested !== null ? nested : problem;
  return Object.fromEntries(
    Object.entries(source).filter(
      ([key, value]) => isFact(value) && !OWN_MEMBERS.has(key) && key !== "retryable",
    ),
  ) as ErrorFields;
}

function isFact(value: unknown): value is ErrorFields[string] {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}

function readRetryAfter(header: string | null): number | null {
  return header !== null && /^\d{1,6}$/.test(header) ? Number(header) * 1_000 : null;
}

function parseObject(body: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null; // not JSON: a proxy's page, say
  }
}
