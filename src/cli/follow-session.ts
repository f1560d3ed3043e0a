import type { SessionEvent, StintClient, SubscriptionStatus } from "../client.ts";
import { linkAbort } from "../client/abort-link.ts";
import type { CommandContext } from "./command.ts";
import { formatDuration } from "./duration.ts";

/** How long a lost server is looked for. */
const GIVE_UP_AFTER_MS = 120_000;

/** How to follow. */
export interface FollowOptions {
  readonly after?: number;
  /** Called for each event in order; true ends the following. */
  readonly onEvent: (event: SessionEvent) => boolean | void | Promise<boolean | void>;
  /** Ends the following as Ctrl-C does. */
  readonly signal?: AbortSignal;
}

/** Why following ended: the session did, `onEvent` said so, or the person left. */
export type FollowEnd = "ended" | "enough" | "detached";

/**
 * Follows a session until it ends, `onEvent` has enough, or Ctrl-C. Lost connections are told and
 * mended.
 * @throws {StintApiError} `server_unreachable` when the server stays away for two minutes.
 */
export async function followSession(
  context: Pick<CommandContext, "output" | "signal">,
  client: StintClient,
  sessionId: string,
  options: FollowOptions,
): Promise<FollowEnd> {
  const detach = new AbortController();
  const unlink = linkAbort(detach, context.signal, options.signal);
  const teller = new ConnectionTeller(context.output);
  const events = client.subscribe(sessionId, {
    after: options.after ?? 0,
    signal: detach.signal,
    giveUpAfterMs: GIVE_UP_AFTER_MS,
    onStatus: (status) => teller.tell(status),
  });
  try {
    for await (const event of events) {
      if ((await options.onEvent(event)) === true) return "enough";
    }
  } finally {
    unlink();
  }
  return detach.signal.aborted ? "detached" : "ended";
}

/** Says that the connection is lost, once, and that it is back. */
class ConnectionTeller {
  readonly #output: CommandContext["output"];
  #isLost = false;

  constructor(output: CommandContext["output"]) {
    this.#output = output;
  }

  tell(status: SubscriptionStatus): void {
    if (status.state === "reconnecting" && status.error !== null && !this.#isLost) {
      this.#isLost = true;
      const limit = formatDuration(GIVE_UP_AFTER_MS);
      this.#output.notice(
        `reconnecting, showing up to #${status.lastSeq}: ${status.error.message}; trying for ${limit}`,
      );
    } else if (status.state === "open" && this.#isLost) {
      this.#isLost = false;
      this.#output.notice(`connected again after #${status.lastSeq}`);
    }
  }
}

/** Tells a person who left how to come back; the session goes on without them. */
export function tellDetached(context: Pick<CommandContext, "output">, sessionId: string): number {
  context.output.notice(
    context.output.hint(
      `\ndetached; the session goes on. Come back with: stint attach ${sessionId}`,
    ),
  );
  return 130;
}
