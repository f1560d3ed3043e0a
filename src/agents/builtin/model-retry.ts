import type { AttemptContext } from "../../core/attempt.ts";
import { delay } from "../../core/clock.ts";
import type { NewEvent } from "../../core/event.ts";
import type { ModelReply, ModelRequest, SendRequest } from "./model-client.ts";
import { ModelAbsence, ModelFailure, reportFailure } from "./model-failure.ts";

const BACKOFF_MS = 500;
const BACKOFF_MS_MAX = 30_000;
/** Shorter waits are told to nobody. */
const SHOWN_WAIT_MS_MIN = 2_000;

/**
 * Asks the model until it answers: overload, rate limits, failures of the server or the network
 * are tried again with growing, jittered waits, or after the time that the provider names; the log
 * tells of the longer ones. The waits of a step take at most `modelWaitMs` together, all of it
 * `modelCallTimeoutMs`.
 * @throws {ModelFailure} when it will not answer.
 * @throws {ModelAbsence} when it may, but not soon, or says nothing at all. Rejects with the signal's reason on abort.
 */
export async function askWithRetries(
  context: AttemptContext,
  send: SendRequest,
  request: ModelRequest,
): Promise<ModelReply> {
  const { clock, signal, limits } = context;
  const deadline = clock.monotonic() + limits.modelCallTimeoutMs;
  let patienceMs = limits.modelWaitMs;
  for (let retries = 0; ; retries++) {
    try {
      return await sendBefore(deadline, context, send, request);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ModelAbsence || error instanceof ModelFailure) throw error;
      const failure = reportFailure(error, context.model, clock.now());
      const waitMs = chooseWait(retries, failure.retryAfterMs, clock.random());
      if (!failure.isRetryable) throw new ModelFailure(failure.message, { cause: error });
      patienceMs -= waitMs;
      if (patienceMs < 0 || clock.monotonic() + waitMs >= deadline) {
        const tries = `${retries + 1} ${retries === 0 ? "try" : "tries"}`;
        throw new ModelAbsence(`${failure.message} (${tries})`, failure.retryAfterMs, error);
      }
      context.log.warn({ retry: retries + 1, waitMs, error: failure.message }, "Model call failed");
      if (waitMs >= SHOWN_WAIT_MS_MIN)
        await context.emit(showWait(failure.message, clock.now() + waitMs));
      await delay(clock, waitMs, signal);
    }
  }
}

/** The wait before a retry, in milliseconds. `random` is in [0, 1). */
export function chooseWait(retries: number, retryAfterMs: number | null, random: number): number {
  if (retryAfterMs !== null) {
    return retryAfterMs * (1 + random / 10);
  }
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** retries) * (0.5 + random / 2);
}

function showWait(message: string, until: number): NewEvent {
  const retryAt = new Date(until).toISOString();
  return { type: "error", data: { code: "model_unavailable", message, retryAt } };
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
    // A provider that accepts a request and stays silent is away, and no fault of the session's.
    throw new ModelAbsence(`The model did not answer within ${seconds} s.`, null, error);
  } finally {
    timer.cancel();
    signal.removeEventListener("abort", onAbort);
  }
}
