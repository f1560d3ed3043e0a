const DELAY_MS_MIN = 250;
const DELAY_MS_MAX = 10_000;

/**
 * How long to wait before try number `failures` (from 1): doubling from 250 ms to 10 s, of which a
 * random half is taken off, so that many readers of a restarted server do not come all at once.
 * What the server asked for is never undercut.
 */
export function reconnectDelayMs(
  failures: number,
  random: number,
  retryAfterMs: number | null = null,
): number {
  const ceiling = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** Math.min(20, failures - 1));
  const jittered = ceiling * (0.5 + random / 2);
  return Math.round(Math.max(jittered, Math.min(retryAfterMs ?? 0, 60_000)));
}
