import type pg from "pg";
import type { Timer } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import {
  type ConnectionSettings,
  type ConnectionSource,
  cutConnection,
  describeHost,
  endConnection,
  onConnectionLost,
  openConnection,
  withAnswerLimit,
} from "./connect.ts";
import { toStoreError } from "./database-error.ts";

/** Answers are awaited a little longer than the server may work on a statement. */
const ANSWER_GRACE_MS = 5_000;

/** What statements run on. */
export type Queryable = Pick<pg.Client, "query">;

interface PooledClient {
  readonly client: pg.Client;
  idleTimer: Timer | null;
}

interface Waiter {
  readonly resolve: (pooled: PooledClient | null) => void;
  readonly reject: (error: StintError) => void;
}

/** Bounds of a pool. */
export interface PoolOptions extends ConnectionSettings {
  readonly connectionsMax: number;
  /** Callers that may wait for a connection before more are refused as `overloaded`. */
  readonly waitersMax: number;
  readonly idleTimeoutMs: number;
}

/**
 * A bounded set of connections, opened when needed. Each new one asks for the URL again, which the
 * pool of pg cannot.
 */
export class ConnectionPool {
  readonly #source: ConnectionSource;
  readonly #options: PoolOptions;
  readonly #idle: PooledClient[] = [];
  readonly #all = new Set<PooledClient>();
  readonly #waiters: Waiter[] = [];
  #opening = 0;
  #isClosed = false;

  constructor(source: ConnectionSource, options: PoolOptions) {
    this.#source = source;
    this.#options = options;
  }

  /**
   * Runs work on a connection of its own and translates what it throws.
   * @throws {database_unavailable} {overloaded} and what `toStoreError` knows.
   */
  async run<T>(work: (client: Queryable) => Promise<T>): Promise<T> {
    const pooled = await this.#take();
    const limitMs = this.#options.statementTimeoutMs + ANSWER_GRACE_MS;
    try {
      return await withAnswerLimit(pooled.client, this.#source.clock, limitMs, () =>
        work(pooled.client),
      );
    } catch (error) {
      throw toStoreError(error, await this.#describe());
    } finally {
      this.#give(pooled);
    }
  }

  /**
   * As `run`, and once more on another connection where the first was lost: for work that changes
   * nothing. After a restart of Postgres the idle connections are dead without knowing it.
   */
  async read<T>(work: (client: Queryable) => Promise<T>): Promise<T> {
    try {
      return await this.run(work);
    } catch (error) {
      if (!(error instanceof StintError) || error.code !== "database_unavailable") throw error;
      return this.run(work);
    }
  }

  /** Ends idle connections, then those in use as they come back. Waiting callers are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(closedError());
    await Promise.all(this.#idle.splice(0).map((pooled) => this.#end(pooled)));
  }

  /** Drops every connection, also those in use. */
  cut(): void {
    for (const pooled of this.#all) cutConnection(pooled.client);
  }

  async #take(): Promise<PooledClient> {
    for (;;) {
      if (this.#isClosed) throw closedError();
      const idle = this.#idle.pop();
      if (idle !== undefined) {
        idle.idleTimer?.cancel();
        idle.idleTimer = null;
        return idle;
      }
      if (this.#all.size + this.#opening < this.#options.connectionsMax) return this.#open();
      const handed = await this.#wait();
      if (handed !== null) return handed;
    }
  }

  #wait(): Promise<PooledClient | null> {
    if (this.#waiters.length >= this.#options.waitersMax) {
      throw new StintError("overloaded", "too many callers wait for the database");
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  async #open(): Promise<PooledClient> {
    this.#opening++;
    try {
      const client = await openConnection(this.#source, this.#options);
      const pooled: PooledClient = { client, idleTimer: null };
      this.#all.add(pooled);
      onConnectionLost(client, () => this.#forget(pooled));
      return pooled;
    } catch (error) {
      this.#waiters.shift()?.resolve(null);
      throw error;
    } finally {
      this.#opening--;
    }
  }

  #give(pooled: PooledClient): void {
    if (!this.#all.has(pooled)) return;
    if (this.#isClosed) {
      void this.#end(pooled);
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve(pooled);
      return;
    }
    this.#idle.push(pooled);
    pooled.idleTimer = this.#source.clock.setTimer(
      () => void this.#end(pooled),
      this.#options.idleTimeoutMs,
    );
  }

  #forget(pooled: PooledClient): void {
    pooled.idleTimer?.cancel();
    this.#all.delete(pooled);
    const place = this.#idle.indexOf(pooled);
    if (place >= 0) this.#idle.splice(place, 1);
    // There is room for a new connection: the next in line opens it.
    this.#waiters.shift()?.resolve(null);
  }

  async #end(pooled: PooledClient): Promise<void> {
    this.#forget(pooled);
    await endConnection(pooled.client, this.#source.clock);
  }

  async #describe(): Promise<string> {
    return this.#source.resolveUrl().then(describeHost, () => "Postgres");
  }
}

function closedError(): StintError {
  return new StintError("database_unavailable", "the store is closed");
}
