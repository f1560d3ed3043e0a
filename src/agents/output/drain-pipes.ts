import type { CustodyProcess } from "../../core/attempt.ts";
import { type Clock, waitWithin } from "../../core/clock.ts";

/** How long the pipes of an ended program may stay open: what it left behind may hold them. */
const PIPE_GRACE_MS = 2_000;

/**
 * Waits until `reading` has read what an ended program left in its pipes, then closes them. Rejects
 * as `reading` does.
 */
export async function drainPipes(
  clock: Clock,
  { stdout, stderr }: Pick<CustodyProcess, "stdout" | "stderr">,
  reading: Promise<unknown>,
): Promise<void> {
  const isRead = await waitWithin(clock, PIPE_GRACE_MS, reading);
  // A worker that was stopped meanwhile finds the time over before it has read what was there.
  if (!isRead) await readWhatIsThere();
  stdout.destroy();
  stderr.destroy();
  await reading;
}

/** Gives the event loop two rounds: in the first it reads, in the second the reader goes on. */
async function readWhatIsThere(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
