import { randomUUID } from "node:crypto";
import type { Clock, Timer } from "../../../src/core/clock.ts";
import type { Chance } from "../../simulation/virtual-world.ts";

/** Never settles: what a process waits for once it is dead. */
export const never = new Promise<never>(() => undefined);

/**
 * A process in all but its memory: time and chance of its own, until it is killed. Then no timer of
 * it fires any more. Its time runs `speed` times as fast as real time, so that nobody has to wait
 * for what takes seconds by default.
 */
export class MortalProcess implements Clock {
  readonly name: string;
  readonly chance: Chance;
  readonly speed: number;
  isAlive = true;
  #isFrozen = false;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #waiting: (() => void)[] = [];
  #tellDeath: () => void = () => undefined;
  readonly #died = new Promise<null>((resolve) => {
    this.#tellDeath = () => resolve(null);
  });

  /** The same process by a clock that is not fast, for what is no policy of ours: its connections. */
  readonly atRealTime: Clock;

  constructor(options: { readonly name: string; readonly chance: Chance; readonly speed: number }) {
    this.name = options.name;
    this.chance = options.chance;
    this.speed = options.speed;
    this.atRealTime = {
      now: () => Date.now(),
      monotonic: () => performance.now(),
      uptime: () => performance.now(),
      setTimer: (callback, delayMs) => this.setTimer(callback, delayMs * this.speed),
      newId: () => this.newId(),
      random: () => this.random(),
    };
  }

  now(): number {
    return Math.round(performance.timeOrigin + this.monotonic());
  }

  monotonic(): number {
    return performance.now() * this.speed;
  }

  uptime(): number {
    return this.monotonic();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    if (!this.isAlive) return { cancel: () => undefined };
    let isOff = false;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#fire(() => {
        if (!isOff) callback();
      });
    }, delayMs / this.speed);
    this.#timers.add(timer);
    return {
      cancel: () => {
        isOff = true;
        this.#timers.delete(timer);
        clearTimeout(timer);
      },
    };
  }

  newId(): string {
    return randomUUID();
  }

  random(): number {
    return this.chance.next();
  }

  /** What work of this process comes to; null once it is dead, as it then waits for ever. */
  whileAlive<T>(work: Promise<T>): Promise<T | null> {
    return Promise.race([work, this.#died]);
  }

  kill(): void {
    this.isAlive = false;
    this.#tellDeath();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#waiting.length = 0;
  }

  /** As SIGSTOP: what becomes due waits. */
  freeze(): void {
    this.#isFrozen = true;
  }

  thaw(): void {
    this.#isFrozen = false;
    for (const callback of this.#waiting.splice(0)) this.#fire(callback);
  }

  #fire(callback: () => void): void {
    if (!this.isAlive) return;
    if (this.#isFrozen) this.#waiting.push(callback);
    else callback();
  }
}
