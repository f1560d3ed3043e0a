/** Problem documents (RFC 9457): how every error of the server looks. */
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { ERRORS, StintError, type ErrorCode, type ErrorFields } from "../core/error.ts";
import type { Logger } from "../core/log.ts";

/** An error as it stands in an answer of type `application/problem+json`. */
export interface Problem {
  /** Names the kind of error; the same for the same code. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly remedy: string;
  readonly retryable: boolean;
  readonly fields: ErrorFields;
}

/** Seconds after which a refused client may come again. */
const RETRY_AFTER_S = 2;

/** The media type of problem documents. */
export const PROBLEM_TYPE = "application/problem+json";

/** Describes an error to a client. */
export function toProblem(error: StintError): Problem {
  return {
    type: `urn:stint:error:${error.code}`,
    title: titleOf(error.code),
    status: error.status,
    detail: error.message,
    code: error.code,
    remedy: error.remedy,
    retryable: error.retryable,
    fields: error.fields,
  };
}

/** The title of an error code: the same words for every occurrence. */
export function titleOf(code: ErrorCode): string {
  const words = code.replaceAll("_", " ");
  return words[0]?.toUpperCase() + words.slice(1);
}

/**
 * Answers with a problem document. What is no StintError is a defect: the log gets it with its
 * stack under an id, the client gets the id and nothing else.
 */
export function answerProblem(
  c: Context,
  thrown: unknown,
  options: { readonly logger: Logger; readonly newId: () => string },
): Response {
  const error = thrown instanceof StintError ? thrown : hideDefect(thrown, options);
  const problem = toProblem(error);
  for (const [name, value] of headersOf(error.code)) c.header(name, value);
  c.header("content-type", PROBLEM_TYPE);
  return c.body(JSON.stringify(problem), problem.status as ContentfulStatusCode);
}

function hideDefect(
  thrown: unknown,
  { logger, newId }: { readonly logger: Logger; readonly newId: () => string },
): StintError {
  const errorId = newId();
  logger.error({ err: thrown, code: "internal", errorId }, "Request failed");
  return new StintError("internal", "The server failed to answer this request.", {
    cause: thrown,
    fields: { errorId },
  });
}

function headersOf(code: ErrorCode): readonly (readonly [string, string])[] {
  if (code === "unauthorized") return [["www-authenticate", 'Bearer realm="stint"']];
  const isUnavailable = ERRORS[code].status === 503 && ERRORS[code].retryable;
  return isUnavailable || code === "inbox_full" ? [["retry-after", String(RETRY_AFTER_S)]] : [];
}
