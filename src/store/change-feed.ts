import type pg from "pg";
import { StintError } from "../core/error.ts";
import type { ChangeListener } from "../core/store.ts";
import { delay, type Timer } from "../core/clock.ts";
import {
  type ConnectionSource,
  cutConnection,
  onConnectionLost,
  openConnection,
} from "./connect.ts";
import type { Queryable } from "./connection-pool.ts";
import { toStoreError } from "./database-error.ts";
import { CHANNEL, type Notifier, unpackNews } from "./notifier.ts";

const POLL_MS = 1_000;
const SELF_TEST_MS = 30_000;
const SELF_TEST_TIMEOUT_MS = 3_000;
const RECONNECT_MS_MIN = 100;
const RECONNECT_MS_MAX = 5_000;
const LISTENERS_MAX = 50_000;
const STATEMENT_TIMEOUT_MS = 5_000;

interface Watched {
  lastSeq: number;
  readonly listeners: Set<ChangeListener>;
}

/** What a change feed needs. */
export interface ChangeFeedOptions {
  readonly source: ConnectionSource;
  readonly notifier: Notifier;
  /** Runs a query of the polling net. */
  readonly run: <T>(work: (client: Queryable) => Promise<T>) => Promise<T>;
}

/**
 * Tells listeners of this process that sessions have news, wherever it was made. Three sources, one
 * promise: a change is told within about a second. News of this process comes at once; news of
 * others by LISTEN, which is tested and never trusted; and one query a second over all that is
 * watched finds what both have missed. Listeners hear of each seq once, and only of larger ones.
 */
export class ChangeFeed {
  readonly #options: ChangeFeedOptions;
  readonly #source: ConnectionSource;
  readonly #watched = new Map<string, Watched>();
  readonly #workListeners = new Set<() => void>();
  readonly #stop = new AbortController();
  #listenerCount = 0;
  #listening: Promise<void> | null = null;
  #client: pg.Client | null = null;
  #pollTimer: Timer | null = null;
  #polling: Promise<void> | null = null;
  #probe: { readonly word: string; readonly timer: Timer } | null = null;

  constructor(options: ChangeFeedOptions) {
    this.#options = options;
    this.#source = options.source;
  }

  /** Calls back on each larger seq of a session, at first within a second; returns how to stop. */
  watchSession(sessionId: string, listener: ChangeListener): () => void {
    this.#count(1);
    const watched = this.#watched.get(sessionId) ?? { lastSeq: 0, listeners: new Set() };
    // The same function may be given twice: each watch is its own.
    const own: ChangeListener = (change) => listener(change);
    watched.listeners.add(own);
    this.#watched.set(sessionId, watched);
    this.#start();
    return () => {
      if (!watched.listeners.delete(own)) return;
      this.#count(-1);
      if (watched.listeners.size === 0 && this.#watched.get(sessionId) === watched) {
        this.#watched.delete(sessionId);
      }
    };
  }

  /** Calls back when something may be claimable or an inbox has news; returns how to stop. */
  watchWork(listener: () => void): () => void {
    this.#count(1);
    const own = (): void => listener();
    this.#workListeners.add(own);
    this.#start();
    return () => {
      if (this.#workListeners.delete(own)) this.#count(-1);
    };
  }

  /** Tells this process at once and the others soon that a log has grown. */
  announceEvents(sessionId: string, lastSeq: number): void {
    this.#tell(sessionId, lastSeq);
    this.#options.notifier.announceEvents(sessionId, lastSeq);
  }

  /** Tells this process at once and the others soon that there may be work. */
  announceWork(): void {
    this.#tellWork();
    this.#options.notifier.announceWork();
  }

  /** Stops listening and polling. */
  async close(): Promise<void> {
    this.#stop.abort(new StintError("database_unavailable", "the store was closed"));
    this.#pollTimer?.cancel();
    this.#probe?.timer.cancel();
    if (this.#client !== null) cutConnection(this.#client);
    await Promise.all([this.#listening, this.#polling]);
  }

  #count(change: number): void {
    if (change > 0 && this.#listenerCount >= LISTENERS_MAX) {
      throw new StintError("overloaded", "too many listeners watch for changes");
    }
    this.#listenerCount += change;
  }

  #tell(sessionId: string, lastSeq: number): void {
    const watched = this.#watched.get(sessionId);
    if (watched === undefined || lastSeq <= watched.lastSeq) return;
    watched.lastSeq = lastSeq;
    for (const listener of watched.listeners) this.#call(() => listener({ sessionId, lastSeq }));
  }

  #tellWork(): void {
    for (const listener of this.#workListeners) this.#call(listener);
  }

  /** One listener's failure is its own. */
  #call(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.#source.logger.error({ error: String(error) }, "a listener failed");
    }
  }

  #start(): void {
    if (this.#stop.signal.aborted) return;
    this.#listening ??= this.#listen();
    this.#schedulePoll();
  }

  // -- LISTEN ------------------------------------------------------------------------------------

  async #listen(): Promise<void> {
    const { clock, logger } = this.#source;
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#listenOnce(() => (failures = 0));
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const { code, message } = toStoreError(error, "listen");
        if (failures === 0) logger.warn({ code, error: message }, "not listening: polling instead");
      }
      const longest = Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2 ** Math.min(failures++, 10));
      await delay(clock, longest * (0.5 + clock.random() / 2), this.#stop.signal).catch(
        () => undefined, // Closed: the loop ends.
      );
    }
  }

  /** Resolves when the connection is lost or fails its test. */
  async #listenOnce(onHeard: () => void): Promise<void> {
    const client = await openConnection(this.#source, {
      statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    });
    this.#client = client;
    try {
      const lost = new Promise<void>((resolve) => onConnectionLost(client, () => resolve()));
      client.on("notification", (message) => this.#hear(message, onHeard));
      await client.query(
        Object.values(CHANNEL)
          .map((channel) => `listen ${channel}`)
          .join("; "),
      );
      if (this.#stop.signal.aborted) return;
      this.#testHearing(client);
      // What was said before we listened, the poll finds; ask it now instead of in a second.
      this.#pollSoon();
      await lost;
    } finally {
      this.#probe?.timer.cancel();
      this.#client = null;
      cutConnection(client);
    }
  }

  #hear(message: pg.Notification, onHeard: () => void): void {
    if (message.channel === CHANNEL.events) {
      for (const [sessionId, lastSeq] of unpackNews(message.payload ?? "")) {
        this.#tell(sessionId, lastSeq);
      }
    } else if (message.channel === CHANNEL.work) {
      this.#tellWork();
    } else if (message.payload === this.#probe?.word) {
      onHeard();
      this.#probe?.timer.cancel();
      const { clock } = this.#source;
      const client = this.#client;
      const timer = clock.setTimer(() => client && this.#testHearing(client), SELF_TEST_MS);
      this.#probe = { word: "", timer };
    }
  }

  /** A pooler may take LISTEN and deliver nothing: only a word that arrives proves the way. */
  #testHearing(client: pg.Client): void {
    const { clock, logger } = this.#source;
    const word = clock.newId();
    const timer = clock.setTimer(() => {
      logger.warn({}, "the database does not deliver notifications: connecting anew, and polling");
      cutConnection(client);
    }, SELF_TEST_TIMEOUT_MS);
    this.#probe = { word, timer };
    this.#options.notifier.sendProbe(word);
  }

  // -- the polling net ---------------------------------------------------------------------------

  #schedulePoll(): void {
    if (this.#pollTimer !== null || this.#polling !== null || this.#stop.signal.aborted) return;
    if (this.#listenerCount === 0) return;
    this.#pollTimer = this.#source.clock.setTimer(() => this.#pollSoon(), POLL_MS);
  }

  #pollSoon(): void {
    this.#pollTimer?.cancel();
    this.#pollTimer = null;
    if (this.#polling !== null || this.#stop.signal.aborted) return;
    this.#polling = this.#poll()
      .catch((error: unknown) => {
        // Told by whoever needs an answer; the net only tries again.
        const { code, message } = toStoreError(error, "poll");
        this.#source.logger.debug({ code, error: message }, "the polling net had no answer");
      })
      .finally(() => {
        this.#polling = null;
        this.#schedulePoll();
      });
  }

  async #poll(): Promise<void> {
    const ids = [...this.#watched.keys()];
    const wantsWork = this.#workListeners.size > 0;
    if (ids.length === 0 && !wantsWork) return;
    const { rows } = await this.#options.run((client) =>
      client.query<{ seqs: Record<string, number>; has_work: boolean }>({
        name: "poll",
        text: POLL,
        values: [ids, wantsWork],
      }),
    );
    for (const [id, lastSeq] of Object.entries(rows[0]?.seqs ?? {})) this.#tell(id, lastSeq);
    if (rows[0]?.has_work === true) this.#tellWork();
  }
}

const POLL = `
  select
    (select coalesce(jsonb_object_agg(id, last_seq), '{}') from public.coding_sessions
      where id = any ($1::uuid[])) as seqs,
    $2 and (
      exists (select from public.coding_sessions where status = 'pending')
      or exists (select from public.coding_sessions where status = 'paused' and resume_at <= now())
      or exists (select from stint.inbox where consumed_at is null)
    ) as has_work`;
