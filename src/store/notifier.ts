import type pg from "pg";
import type { Timer } from "../core/clock.ts";
import {
  type ConnectionSource,
  endConnection,
  onConnectionLost,
  openConnection,
  withAnswerLimit,
} from "./connect.ts";
import { toStoreError } from "./database-error.ts";

/** Channels of NOTIFY. Their payloads are keys only, and hints only: the tables hold the facts. */
export const CHANNEL = {
  events: "stint_events",
  work: "stint_work",
  probe: "stint_probe",
} as const;

/** News that comes after a rest is gathered this long before it is sent. */
const COALESCE_MS = 5;
/** News that goes on coming is sent this often: each time costs a statement, however little it says. */
const SPACING_MS = 25;
/** Postgres takes payloads below 8,000 bytes. */
const PAYLOAD_BYTES_MAX = 7_900;
/** News that waits while the database is away; beyond it the polling net has to do. */
const SESSIONS_MAX = 10_000;
const STATEMENT_TIMEOUT_MS = 5_000;

/**
 * Tells other processes of news, off the write path: on a connection of its own, without waiting
 * for the disk, a few milliseconds' news in one statement. A NOTIFY within the append would make
 * all writers queue for one lock. What cannot be sent is dropped: everybody polls as well.
 */
export class Notifier {
  readonly #source: ConnectionSource;
  readonly #news = new Map<string, number>();
  #hasWork = false;
  #probe: string | null = null;
  #timer: Timer | null = null;
  #sentAt = Number.NEGATIVE_INFINITY;
  #sending: Promise<void> | null = null;
  #client: pg.Client | null = null;
  #isClosed = false;

  constructor(source: ConnectionSource) {
    this.#source = source;
  }

  /** Says that a session's log has grown to this seq. */
  announceEvents(sessionId: string, lastSeq: number): void {
    if (this.#news.size >= SESSIONS_MAX && !this.#news.has(sessionId)) return;
    this.#news.set(sessionId, lastSeq);
    this.#schedule();
  }

  /** Says that something may be claimable, or that an inbox has news. */
  announceWork(): void {
    this.#hasWork = true;
    this.#schedule();
  }

  /** Sends a word to the listener of this very process, to see whether it hears. */
  sendProbe(word: string): void {
    this.#probe = word;
    this.#schedule();
  }

  /** Sends what is left and ends the connection. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#sending;
    if (this.#client !== null) {
      await this.#send();
      if (this.#client !== null) await endConnection(this.#client, this.#source.clock);
    }
  }

  #schedule(): void {
    if (this.#isClosed || this.#timer !== null || this.#sending !== null) return;
    const { clock } = this.#source;
    const restMs = this.#sentAt + SPACING_MS - clock.monotonic();
    this.#timer = clock.setTimer(
      () => {
        this.#timer = null;
        this.#sentAt = clock.monotonic();
        this.#sending = this.#send().finally(() => {
          this.#sending = null;
          if (this.#hasNews()) this.#schedule();
        });
      },
      Math.max(COALESCE_MS, restMs),
    );
  }

  async #send(): Promise<void> {
    const { channels, payloads } = this.#takeNews();
    if (channels.length === 0) return;
    try {
      const client = this.#client ?? (await this.#open());
      await withAnswerLimit(client, this.#source.clock, STATEMENT_TIMEOUT_MS * 2, () =>
        client.query({
          name: "notify",
          text: `select pg_catalog.pg_notify(channel, payload)
            from unnest($1::text[], $2::text[]) as news(channel, payload)`,
          values: [channels, payloads],
        }),
      );
    } catch (error) {
      const { code, message } = toStoreError(error, "notify");
      this.#source.logger.debug({ code, error: message }, "news could not be sent: others poll");
    }
  }

  async #open(): Promise<pg.Client> {
    const client = await openConnection(this.#source, {
      statementTimeoutMs: STATEMENT_TIMEOUT_MS,
      isDurable: false,
    });
    this.#client = client;
    onConnectionLost(client, () => {
      if (this.#client === client) this.#client = null;
    });
    return client;
  }

  #hasNews(): boolean {
    return this.#news.size > 0 || this.#hasWork || this.#probe !== null;
  }

  #takeNews(): { channels: string[]; payloads: string[] } {
    const messages: [channel: string, payload: string][] = packNews(this.#news).map((payload) => [
      CHANNEL.events,
      payload,
    ]);
    if (this.#hasWork) messages.push([CHANNEL.work, ""]);
    if (this.#probe !== null) messages.push([CHANNEL.probe, this.#probe]);
    this.#news.clear();
    this.#hasWork = false;
    this.#probe = null;
    return {
      channels: messages.map(([channel]) => channel),
      payloads: messages.map(([, payload]) => payload),
    };
  }
}

/** Writes news as `id:seq,id:seq…`, in as few payloads as hold it. */
export function packNews(news: ReadonlyMap<string, number>): string[] {
  const payloads: string[] = [];
  let payload = "";
  for (const [id, seq] of news) {
    const item = `${id}:${seq}`;
    if (payload.length + item.length + 1 > PAYLOAD_BYTES_MAX) {
      payloads.push(payload);
      payload = "";
    }
    payload += payload === "" ? item : `,${item}`;
  }
  return payload === "" ? payloads : [...payloads, payload];
}

/** Reads what `packNews` wrote; skips what it does not understand. */
export function unpackNews(payload: string): [sessionId: string, lastSeq: number][] {
  return payload.split(",").flatMap((item) => {
    const match = /^([0-9a-f-]{36}):(\d{1,15})$/.exec(item);
    return match ? [[match[1] as string, Number(match[2])] as [string, number]] : [];
  });
}
