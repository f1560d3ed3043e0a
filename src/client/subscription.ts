import { delay, type Clock } from "../core/clock.ts";
import { isTerminal, type SessionState } from "../core/state.ts";
import { linkAbort } from "./abort-link.ts";
import { StintApiError } from "./api-error.ts";
import { openEventStream, readEventPage } from "./event-source.ts";
import type { Transport } from "./http.ts";
import { reconnectDelayMs } from "./reconnect-delay.ts";
import type { SessionEvent } from "./wire.ts";

/** Broken streams in a row, without an event in between, after which a server is not believed. */
const BROKEN_STREAMS_MAX = 5;

/** A connection that held this long was a good one: the next wait is the shortest again. */
const GOOD_CONNECTION_MS = 5_000;

/** Where a subscription stands. `lastSeq` is the place up to which events were given out. */
export type SubscriptionStatus =
  | { readonly state: "connecting" | "open"; readonly lastSeq: number }
  | {
      readonly state: "reconnecting";
      readonly lastSeq: number;
      readonly delayMs: number;
      readonly error: StintApiError | null;
    }
  | { readonly state: "closed"; readonly lastSeq: number; readonly error: unknown };

/** How to follow a session. */
export interface SubscribeOptions {
  /** The last seq that the caller has. @default 0, the whole log */
  readonly after?: number;
  /** Ends the subscription; not an error. */
  readonly signal?: AbortSignal;
  /** Gets each event in order; the next one waits until it has returned. */
  readonly onEvent?: (event: SessionEvent) => void | Promise<void>;
  /** Told of every change of the connection. */
  readonly onStatus?: (status: SubscriptionStatus) => void;
  /** Gives up after this time without a connection. @default null: never */
  readonly giveUpAfterMs?: number | null;
}

/** A running subscription. Without `onEvent` it is to be iterated, once. */
export interface Subscription extends AsyncIterable<SessionEvent> {
  /** The last seq that was given out. */
  readonly lastSeq: number;
  /** Resolves at the end, rejects with what broke it. */
  readonly done: Promise<void>;
  /** Ends it; idempotent. */
  close(): void;
}

/** What a subscription works with. */
export interface SubscriptionContext {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly sessionId: string;
}

/**
 * Follows a session's log: every event after `after` exactly once and in order of seq, across lost
 * connections and servers, up to and with the event that ends the session. Events are read from the
 * connection as they are taken, so memory stays bounded however slow the reader is.
 */
export function subscribe(context: SubscriptionContext, options: SubscribeOptions): Subscription {
  const reader = new LogReader(context, options);
  const events = reader.read();
  const onEvent = options.onEvent;
  if (onEvent !== undefined) void deliver(reader, events, onEvent);
  return {
    get lastSeq() {
      return reader.lastSeq;
    },
    done: reader.done,
    close: () => reader.close(),
    [Symbol.asyncIterator]: () => events,
  };
}

/** Never rejects: the outcome is in `done`. A callback that throws ends the subscription. */
async function deliver(
  reader: LogReader,
  events: AsyncIterable<SessionEvent>,
  onEvent: NonNullable<SubscribeOptions["onEvent"]>,
): Promise<void> {
  try {
    for await (const event of events) {
      try {
        await onEvent(event);
      } catch (error) {
        reader.fail(error);
        return;
      }
    }
  } catch (error) {
    reader.fail(error);
  }
}

class LogReader {
  readonly done: Promise<void>;
  lastSeq: number;
  readonly #context: SubscriptionContext;
  readonly #options: SubscribeOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #unlink: () => void;
  #settle: { resolve(): void; reject(error: unknown): void } = { resolve() {}, reject() {} };
  #failures = 0;
  #brokenStreams = 0;
  #openedAt: number | null = null;
  #lostAt: number;

  constructor(context: SubscriptionContext, options: SubscribeOptions) {
    this.#context = context;
    this.#options = options;
    this.lastSeq = options.after ?? 0;
    this.#lostAt = context.clock.monotonic();
    this.#signal = this.#stop.signal;
    this.#unlink = linkAbort(this.#stop, options.signal);
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.done.catch(() => undefined); // who does not look at `done` sees it in the loop or onStatus
  }

  close(): void {
    this.#unlink();
    this.#stop.abort();
    this.#settle.resolve();
  }

  fail(error: unknown): void {
    this.#settle.reject(error);
  }

  async *read(): AsyncGenerator<SessionEvent, void, void> {
    let outcome: { error: unknown } | null = null;
    try {
      yield* this.#readAcrossConnections();
    } catch (error) {
      if (!this.#signal.aborted) {
        outcome = { error };
        throw error;
      }
    } finally {
      this.#unlink();
      this.#stop.abort();
      this.#report({ state: "closed", lastSeq: this.lastSeq, error: outcome?.error ?? null });
      if (outcome) this.#settle.reject(outcome.error);
      else this.#settle.resolve();
    }
  }

  async *#readAcrossConnections(): AsyncGenerator<SessionEvent, void, void> {
    this.#report({ state: "connecting", lastSeq: this.lastSeq });
    for (;;) {
      let failure: StintApiError | null = null;
      try {
        if ((yield* this.#readConnection()) === "ended") return;
      } catch (error) {
        failure = this.#judge(error);
      }
      await this.#waitBeforeReconnect(failure);
    }
  }

  async *#readConnection(): AsyncGenerator<SessionEvent, "ended" | "cut", void> {
    this.#openedAt = null;
    const stream = await openEventStream(this.#context, this.lastSeq, this.#signal);
    if (stream === null) return "ended";
    this.#openedAt = this.#context.clock.monotonic();
    this.#report({ state: "open", lastSeq: this.lastSeq });
    for await (const event of stream) {
      if (event.seq <= this.lastSeq) continue;
      if (event.seq > this.lastSeq + 1) yield* this.#readGap(event.seq);
      if (event.seq !== this.lastSeq + 1) continue;
      this.#advance(event);
      yield event;
      if (endsSession(event)) return "ended";
    }
    return "cut";
  }

  /** Reads from the log what the stream left out before `seq`. */
  async *#readGap(seq: number): AsyncGenerator<SessionEvent, void, void> {
    while (this.lastSeq + 1 < seq) {
      const { events } = await readEventPage(this.#context, this.lastSeq, this.#signal);
      const from = this.lastSeq;
      for (const event of events) {
        if (event.seq !== this.lastSeq + 1 || event.seq >= seq) continue;
        this.#advance(event);
        yield event;
      }
      if (this.lastSeq === from) {
        throw new BrokenStream(`the log has nothing at seq ${from + 1}, but goes on at ${seq}`);
      }
    }
  }

  #advance(event: SessionEvent): void {
    this.lastSeq = event.seq;
    this.#failures = 0;
    this.#brokenStreams = 0;
  }

  /** Whether to try again. @throws what no retry can mend */
  #judge(error: unknown): StintApiError | null {
    if (this.#signal.aborted) throw error;
    if (error instanceof StintApiError) {
      if (!error.retryable) throw error;
      return error;
    }
    this.#brokenStreams += 1;
    const broken = new StintApiError({
      code: "internal",
      message: `the event stream is broken: ${error instanceof Error ? error.message : "unreadable"}`,
      status: 0,
      cause: error,
    });
    if (this.#brokenStreams >= BROKEN_STREAMS_MAX) throw broken;
    return broken;
  }

  async #waitBeforeReconnect(error: StintApiError | null): Promise<void> {
    const clock = this.#context.clock;
    const now = clock.monotonic();
    if (this.#openedAt !== null) {
      this.#lostAt = now;
      if (now - this.#openedAt >= GOOD_CONNECTION_MS) this.#failures = 0;
    }
    this.#failures += 1;
    const giveUpAfterMs = this.#options.giveUpAfterMs ?? null;
    if (giveUpAfterMs !== null && now - this.#lostAt >= giveUpAfterMs) {
      throw error ?? new Error("the server closes every stream at once");
    }
    const delayMs = reconnectDelayMs(this.#failures, clock.random(), error?.retryAfterMs);
    this.#report({ state: "reconnecting", lastSeq: this.lastSeq, delayMs, error });
    await delay(clock, delayMs, this.#signal);
  }

  #report(status: SubscriptionStatus): void {
    this.#options.onStatus?.(status);
  }
}

/** The stream contradicts itself; a new connection may mend it. */
class BrokenStream extends Error {}

/** Whether this is the last event that a session can have. */
export function endsSession(event: SessionEvent): boolean {
  if (event.type !== "state_changed") return false;
  const to = event.data["to"];
  return typeof to === "string" && to in TERMINAL && isTerminal(to as SessionState);
}

const TERMINAL = { completed: true, failed: true, expired: true } as const;
