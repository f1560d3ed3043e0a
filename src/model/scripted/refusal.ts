/** Why a request gets an error instead of an answer; the message is for its sender. */
export class RequestRefused extends Error {
  readonly status: number;
  /** When the client may try again; null when that would not help. */
  readonly retryAfterMs: number | null;

  constructor(
    status: number,
    message: string,
    options: { readonly retryAfterMs?: number; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RequestRefused";
    this.status = status;
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** A refusal for too much at once; clients take it as overload and try again. */
export function refuseOverload(): RequestRefused {
  return new RequestRefused(529, "Too many requests at once.", { retryAfterMs: 1_000 });
}

/** A failure that the script asks for; it may be tried again at once, as no load causes it. */
export function refuseByScript(status: number): RequestRefused {
  const isRetryable = status === 408 || status === 409 || status === 429 || status >= 500;
  const options = isRetryable ? { retryAfterMs: 20 } : {};
  return new RequestRefused(status, "The script asks for this failure.", options);
}
