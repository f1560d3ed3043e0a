import { StintError } from "../core/error.ts";

interface Waiter {
  readonly key: string;
  readonly bytes: number;
  readonly admit: () => void;
  readonly refuse: (error: Error) => void;
}

/** Bounds of what waits to be written. */
export interface BudgetLimits {
  readonly bytesMax: number;
  readonly bytesPerKeyMax: number;
  readonly waitersMax: number;
}

/**
 * Bounds the bytes that wait in this process and per session. Who finds no room waits, in order:
 * per session always, across sessions unless the one before is over its own bound.
 */
export class ByteBudget {
  readonly #limits: BudgetLimits;
  readonly #byKey = new Map<string, number>();
  readonly #waiters: Waiter[] = [];
  #bytes = 0;

  constructor(limits: BudgetLimits) {
    this.#limits = limits;
  }

  /** Bytes that are held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes bytes at once where there is room; false when the caller has to `wait`. */
  tryTake(key: string, bytes: number): boolean {
    if (this.#waiters.length > 0 || !this.#hasRoom(key, bytes)) return false;
    this.#take(key, bytes);
    return true;
  }

  /** Resolves when the bytes are taken. @throws {overloaded} when too many wait already. */
  wait(key: string, bytes: number): Promise<void> {
    if (this.#waiters.length >= this.#limits.waitersMax) {
      throw new StintError("overloaded", "too many commits wait for the database");
    }
    return new Promise((admit, refuse) => this.#waiters.push({ key, bytes, admit, refuse }));
  }

  /** Gives bytes back and admits whom they let in. */
  give(key: string, bytes: number): void {
    this.#bytes -= bytes;
    const left = (this.#byKey.get(key) ?? 0) - bytes;
    if (left > 0) this.#byKey.set(key, left);
    else this.#byKey.delete(key);
    if (this.#waiters.length > 0) this.#admit();
  }

  /** Refuses all who wait. */
  refuseAll(error: Error): void {
    for (const waiter of this.#waiters.splice(0)) waiter.refuse(error);
  }

  #admit(): void {
    const passed = new Set<string>();
    for (let place = 0; place < this.#waiters.length;) {
      const waiter = this.#waiters[place] as Waiter;
      if (!passed.has(waiter.key) && this.#hasRoom(waiter.key, waiter.bytes)) {
        this.#waiters.splice(place, 1);
        this.#take(waiter.key, waiter.bytes);
        waiter.admit();
        continue;
      }
      if (this.#bytes >= this.#limits.bytesMax) return;
      passed.add(waiter.key);
      place++;
    }
  }

  /** What is larger than a bound may pass when nothing else is held under it. */
  #hasRoom(key: string, bytes: number): boolean {
    const held = this.#byKey.get(key) ?? 0;
    const fits = this.#bytes === 0 || this.#bytes + bytes <= this.#limits.bytesMax;
    return fits && (held === 0 || held + bytes <= this.#limits.bytesPerKeyMax);
  }

  #take(key: string, bytes: number): void {
    this.#bytes += bytes;
    this.#byKey.set(key, (this.#byKey.get(key) ?? 0) + bytes);
  }
}
