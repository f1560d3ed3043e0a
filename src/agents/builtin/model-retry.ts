import type { AttemptContext } from "../../core/attempt.ts";
import { delay } from "../../core/clock.ts";
import type { ModelReply, ModelRequest, SendRequest } from "./model-client.ts";
import { ModelFailure, reportFailure } from "./model-failure.ts";

/** Tries after the first one; with the waits between them about a minute. */
export const RETRIES_MAX = 7;
const BACKOFF_MS = 500;
const BACKOFF_MS_MAX = 30_000;
const RETRY_AFTER_MS_MAX = 120_000;

/**
 * Asks the model until it answers: overload, rate limits, failures of the server or the network
 * are tried again with growing, jittered waits, or after the time that the provider names. All
 * tries and waits together take at most `modelCallTimeoutMs`.
 * @throws {ModelFailure} when it will not answer. Rejects with the signal's reason on abort.
 */
export async function askWithRetries(
  context: AttemptContext,
  send: SendRequest,
  request: ModelRequest,
): Promise<ModelReply> {
  const { clock, signal, limits } = context;
  const deadline = clock.monotonic() + limits.modelCallTimeoutMs;
  for (let retries = 0; ; retries++) {
    try {
      return await sendBefore(deadline, context, send, request);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ModelFailure) throw error;
      const failure = reportFailure(error, context.model, clock.now());
      const waitMs = chooseWait(retries, failure.retryAfterMs, clock.random());
      if (!failure.isRetryable) throw new ModelFailure(failure.message, { cause: error });
      if (retries >= RETRIES_MAX || clock.monotonic() + waitMs >= deadline) {
        const tries = `${retries + 1} ${retries === 0 ? "try" : "tries"}`;
        throw new ModelFailure(`${failure.message} (given up after ${tries})`, { cause: error });
      }
      context.log.warn({ retry: retries + 1, waitMs, error: failure.message }, "Model call failed");
      await delay(clock, waitMs, signal);
    }
  }
}

/** The wait before a retry, in milliseconds. `random` is in [0, 1). */
export function chooseWait(retries: number, retryAfterMs: number | null, random: number): number {
  if (retryAfterMs !== null) {
    return Math.min(RETRY_AFTER_MS_MAX, retryAfterMs) * (1 + random / 10);
  }
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** retries) * (0.5 + random / 2);
}

async function sendBefore(
  deadline: number,
  context: AttemptContext,
  send: SendRequest,
  request: ModelRequest,
): Promise<ModelReply> {
  const { clock, signal, limits } = context;
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal.reason);
  let isOverdue = false;
  const timer = clock.setTimer(
    () => {
      isOverdue = true;
      controller.abort();
    },
    Math.max(0, deadline - clock.monotonic()),
  );
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    return await send(request, controller.signal, () => context.recordActivity());
  } catch (error) {
    if (!isOverdue) throw error;
    const seconds = limits.modelCallTimeoutMs / 1_000;
    throw new ModelFailure(`The model did not answer within ${seconds} s.`, { cause: error });
  } finally {
    timer.cancel();
    signal.removeEventListener("abort", onAbort);
  }
}
