import { StintApiError } from "../client/api-error.ts";
import { ERRORS, isErrorCode, toStintError, type ErrorFields } from "../core/error.ts";

/** An error as the command line shows it, to people and, with --json, to machines. */
export interface CliProblem {
  readonly type: string;
  readonly status: number;
  readonly code: string;
  /** What happened and why. */
  readonly detail: string;
  /** What to do next. */
  readonly remedy: string;
  readonly retryable: boolean;
  readonly exitCode: number;
  readonly fields: ErrorFields;
}

/** Describes anything thrown; never a stack. */
export function toCliProblem(thrown: unknown): CliProblem {
  const error = thrown instanceof StintApiError ? thrown : toStintError(thrown);
  return {
    type: `urn:stint:error:${error.code}`,
    status: error.status === 0 ? ERRORS.server_unreachable.status : error.status,
    code: error.code,
    detail: error.message,
    remedy: error.remedy,
    retryable: error.retryable,
    exitCode: exitCodeOf(error.code, error.status),
    fields: error.fields,
  };
}

/** A newer server may know codes that this table does not: then its status decides. */
function exitCodeOf(code: string, status: number): number {
  if (isErrorCode(code)) return ERRORS[code].exitCode;
  return status >= 500 || status === 0 ? 3 : 2;
}
