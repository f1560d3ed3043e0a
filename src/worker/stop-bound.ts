import type { StopRequest } from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import type { SessionHold } from "./session-hold.ts";

/**
 * Waits for work of an attempt; once the attempt was told to stop, only for `stopGraceMs` more: then
 * it resolves with the request, and nobody waits for the work.
 */
export async function waitWithinStop<T>(
  hold: SessionHold,
  work: Promise<T>,
  { clock, stopGraceMs }: { readonly clock: Clock; readonly stopGraceMs: number },
): Promise<T | StopRequest> {
  const { signal } = hold;
  const over = new AbortController();
  const overdue = new Promise<StopRequest>((resolve) => {
    const onStop = (): void => {
      const timer = clock.setTimer(() => {
        resolve(hold.stopRequest as StopRequest);
      }, stopGraceMs);
      over.signal.addEventListener("abort", () => {
        timer.cancel();
      });
    };
    if (signal.aborted) onStop();
    else signal.addEventListener("abort", onStop, { once: true, signal: over.signal });
  });
  try {
    return await Promise.race([work, overdue]);
  } finally {
    over.abort();
    // Work that was left behind may still fail; nobody waits for it.
    work.catch(() => undefined);
  }
}
