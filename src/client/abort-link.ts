/**
 * Aborts a controller when any of these signals does, with the same reason; returns how to undo.
 *
 * Not `AbortSignal.any`: some runtimes let go of a combined signal that nobody but a waiting fetch
 * holds, and the abort then never arrives.
 */
export function linkAbort(
  controller: AbortController,
  ...signals: readonly (AbortSignal | undefined)[]
): () => void {
  const undo: (() => void)[] = [];
  for (const signal of signals) {
    if (signal === undefined) continue;
    const abort = (): void => controller.abort(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    undo.push(() => signal.removeEventListener("abort", abort));
  }
  return () => undo.forEach((remove) => remove());
}

/**
 * Calls off a reader when the signal aborts, so that a pending read ends; returns how to undo. A
 * fetch that has answered may no longer listen to its signal.
 */
export function cancelOnAbort(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  signal: AbortSignal,
): () => void {
  const cancel = (): void => {
    reader.cancel(signal.reason).catch(() => undefined); // broken already: ended all the same
  };
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel, { once: true });
  return () => signal.removeEventListener("abort", cancel);
}
