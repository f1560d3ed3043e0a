import type { Clock, Timer } from "../../src/core/clock.ts";
import { hashText } from "./choices.ts";

/** Reproducible chance: the same seed gives the same numbers. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from `min` to `max`, both included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  happens(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(all: readonly T[]): T {
    return all[Math.floor(this.next() * all.length)] as T;
  }

  /** Chance of its own, that others cannot disturb. */
  fork(): Chance {
    return new Chance(Math.floor(this.next() * 4_294_967_296));
  }
}

interface Task {
  readonly at: number;
  readonly order: number;
  readonly label: string;
  /** Null: happens outside of any process. */
  readonly process: VirtualProcess | null;
  readonly run: () => void;
  isOff: boolean;
}

/** The beginning of every simulation, in milliseconds since 1970. */
const EPOCH_MS = 1_750_000_000_000;

/**
 * Time that moves from one task to the next, and processes that live in it. One task runs at a
 * time, and all that follows from it without waiting has happened before the next one begins.
 */
export class VirtualWorld {
  now = EPOCH_MS;
  steps = 0;
  /** Two halves: a million schedules in 32 bits would not all be told apart. */
  #high = 2_166_136_261;
  #low = 374_761_393;
  readonly #heap: Task[] = [];
  #order = 0;

  /** Tells schedules apart: what ran, for whom and when. */
  get hash(): string {
    return [this.#high, this.#low].map((half) => half.toString(16).padStart(8, "0")).join("");
  }

  /** Plans a task; a process that is dead by then does nothing, a frozen one does it later. */
  plan(process: VirtualProcess | null, delayMs: number, label: string, run: () => void): Timer {
    const at = this.now + Math.max(0, delayMs);
    const task = { at, order: ++this.#order, label, process, run, isOff: false };
    push(this.#heap, task);
    return { cancel: () => void (task.isOff = true) };
  }

  /** Does the next task that is due before `until`; false when there is none. */
  async step(until: number): Promise<boolean> {
    for (;;) {
      const task = this.#heap[0];
      if (task === undefined || task.at > until) return false;
      pop(this.#heap);
      if (task.isOff || task.process?.isAlive === false) continue;
      this.now = Math.max(this.now, task.at);
      if (task.process?.isFrozen) {
        task.process.put(task);
        continue;
      }
      this.#note(task);
      task.run();
      await settle();
      return true;
    }
  }

  #note({ at, label, process }: Task): void {
    this.steps++;
    for (const char of `${at}${label}${process?.name ?? ""}`) {
      const code = char.charCodeAt(0);
      this.#high = Math.imul(this.#high ^ code, 16_777_619) >>> 0;
      const turned = (this.#low << 13) | (this.#low >>> 19);
      this.#low = (Math.imul(turned ^ code, 2_246_822_519) + 3_266_489_917) >>> 0;
    }
  }
}

/** Resolves when nothing goes on by itself any more: every promise has told what it had to tell. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A process: a clock, ids and chance of its own, until it is killed. */
export class VirtualProcess implements Clock {
  readonly name: string;
  readonly chance: Chance;
  isAlive = true;
  isFrozen = false;
  readonly #world: VirtualWorld;
  readonly #idSpace: string;
  readonly #wallSkewMs: number;
  readonly #seed: number;
  #ids = 0;
  #waiting: Task[] = [];

  constructor(
    world: VirtualWorld,
    options: { name: string; idSpace: number; chance: Chance; wallSkewMs?: number },
  ) {
    this.#world = world;
    this.name = options.name;
    this.chance = options.chance;
    this.#seed = options.chance.fork().between(0, 4_294_967_295);
    this.#idSpace = options.idSpace.toString(16).padStart(8, "0");
    this.#wallSkewMs = options.wallSkewMs ?? 0;
  }

  now(): number {
    return this.#world.now + this.#wallSkewMs;
  }

  monotonic(): number {
    return this.#world.now - EPOCH_MS;
  }

  uptime(): number {
    return this.monotonic();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    return this.#world.plan(this, delayMs, "timer", callback);
  }

  /** Chance for one place in the life of this process, the same whatever happens elsewhere. */
  chanceOf(place: string): Chance {
    return new Chance(this.#seed ^ hashText(place));
  }

  newId(): string {
    return `${this.#idSpace}-0000-4000-8000-${String(++this.#ids).padStart(12, "0")}`;
  }

  random(): number {
    return this.chance.next();
  }

  /** As SIGKILL: nothing of it happens any more. */
  kill(): void {
    this.isAlive = false;
    this.#waiting = [];
  }

  /** As SIGSTOP: what becomes due waits. */
  freeze(): void {
    this.isFrozen = true;
  }

  thaw(): void {
    this.isFrozen = false;
    // As the event loop does: timers that are due come before answers.
    const waiting = this.#waiting.splice(0);
    const timers = waiting.filter(({ label }) => label === "timer");
    const others = waiting.filter(({ label }) => label !== "timer");
    for (const { label, run, isOff } of [...timers, ...others]) {
      if (!isOff) this.#world.plan(this, 0, label, run);
    }
  }

  put(task: Task): void {
    this.#waiting.push(task);
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function push(heap: Task[], task: Task): void {
  let place = heap.push(task) - 1;
  while (place > 0) {
    const parent = (place - 1) >> 1;
    if (!isBefore(task, heap[parent] as Task)) break;
    heap[place] = heap[parent] as Task;
    place = parent;
  }
  heap[place] = task;
}

function pop(heap: Task[]): void {
  const last = heap.pop() as Task;
  if (heap.length === 0) return;
  let place = 0;
  for (;;) {
    let child = 2 * place + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Task, heap[child] as Task)) child++;
    if (!isBefore(heap[child] as Task, last)) break;
    heap[place] = heap[child] as Task;
    place = child;
  }
  heap[place] = last;
}
