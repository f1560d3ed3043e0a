/** Why a command stops: the reason of its signal. */
export class StopSignal extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
    this.name = "StopSignal";
    this.signal = signal;
  }

  /** What a shell expects of a process that the signal ended: 130 for Ctrl-C. */
  get exitCode(): number {
    return EXIT_CODES[this.signal] ?? 130;
  }
}

const EXIT_CODES: Partial<Record<NodeJS.Signals, number>> = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGTERM: 143,
};

/** The part of `process` that is used; tests put their own in place. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: () => void): unknown;
  off(signal: NodeJS.Signals, listener: () => void): unknown;
}

/**
 * One Ctrl-C may arrive twice: from the terminal, which signals all processes in front, and from
 * npm, which hands its own signal on.
 */
const ECHO_MS = 500;

/**
 * Aborts at the first SIGINT, SIGTERM or SIGHUP; at the second `onSecond` is called, which ends the
 * process at once. What follows the first one within half a second is its echo and nothing else.
 */
export function listenForStop(
  source: SignalSource,
  onSecond: (stop: StopSignal) => void,
  monotonic: () => number = () => performance.now(),
): { readonly signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  let firstAt = 0;
  const listeners = (Object.keys(EXIT_CODES) as NodeJS.Signals[]).map((signal) => {
    const listener = (): void => {
      const stop = new StopSignal(signal);
      if (!controller.signal.aborted) {
        firstAt = monotonic();
        controller.abort(stop);
      } else if (monotonic() - firstAt > ECHO_MS) onSecond(stop);
    };
    source.on(signal, listener);
    return () => source.off(signal, listener);
  });
  return {
    signal: controller.signal,
    dispose: () => listeners.forEach((remove) => remove()),
  };
}
