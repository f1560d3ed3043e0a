import type { Clock, Timer } from "../core/clock.ts";

/** What may fill the disk: one attempt. */
export interface DiskUser {
  /** Bytes that it has put on the disk. */
  sumBytes(): Promise<number>;
  /** Ends it; called once. */
  onDiskShort(message: string): void;
}

/** What a watch over the disk works with. */
export interface DiskWatchOptions {
  readonly readFreeBytes: () => Promise<number>;
  /** Free bytes that are left to everybody else. */
  readonly freeBytesMin: number;
  readonly clock: Clock;
}

const INTERVAL_MS = 200;
/** The same when it may get short soon. */
const NEAR_INTERVAL_MS = 50;
/** What a disk takes until the writer is found and has ended. */
const HEADROOM_BYTES = 512 * 1024 * 1024;
/** The same as time, for one that takes even more. */
const HEADROOM_MS = 800;
/** The same in looks: on a machine so busy that they come late, all else does. */
const HEADROOM_LOOKS = 4;
const NEAR_FACTOR = 4;
/** One that has written less is not what fills the disk: ending it would help nobody. */
const BYTES_MIN = 64 * 1024 * 1024;

/**
 * Keeps agents from filling the disk: when it gets short, the attempt that has written most is
 * ended. Only when it has gone, or when not even what is kept for others is left, and that did not
 * help, is it the turn of the next. Looks only while there is an attempt.
 */
export class DiskWatch {
  readonly #options: DiskWatchOptions;
  readonly #users = new Set<DiskUser>();
  readonly #ending = new Set<DiskUser>();
  #timer: Timer | null = null;
  #last: { readonly free: number; readonly atMs: number } | null = null;
  #isNear = false;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
  }

  /** Free bytes with which nobody has to end. */
  get freeBytesWanted(): number {
    return this.#options.freeBytesMin + NEAR_FACTOR * HEADROOM_BYTES;
  }

  /** Watches over an attempt; returns how to stop. */
  add(user: DiskUser): () => void {
    this.#users.add(user);
    this.#schedule();
    return () => {
      this.#users.delete(user);
      this.#ending.delete(user);
      if (this.#users.size > 0) return;
      this.#timer?.cancel();
      this.#timer = null;
      this.#last = null;
    };
  }

  /** Looks once. Never rejects. */
  async runOnce(): Promise<void> {
    const { readFreeBytes, freeBytesMin } = this.#options;
    const free = await readFreeBytes().catch(() => null); // the folder is gone: others will tell
    if (free === null || !this.#isShort(free)) return;
    if (this.#ending.size > 0 && free >= freeBytesMin) return;
    const first = await this.#findLargest();
    if (first === null || !this.#users.has(first)) return;
    this.#ending.add(first);
    const left = `${Math.floor(free / 1_048_576)} MiB`;
    const kept = `${Math.floor(freeBytesMin / 1_048_576)} MiB`;
    first.onDiskShort(`the disk has ${left} left; ${kept} are kept for others`);
  }

  #isShort(free: number): boolean {
    const { freeBytesMin, clock } = this.#options;
    const now = { free, atMs: clock.monotonic() };
    const { free: before, atMs } = this.#last ?? now;
    this.#last = now;
    const intervalMs = Math.max(NEAR_INTERVAL_MS, now.atMs - atMs);
    const bytesPerMs = Math.max(0, before - free) / intervalMs;
    const headroomMs = Math.max(HEADROOM_MS, HEADROOM_LOOKS * intervalMs);
    const headroom = Math.max(HEADROOM_BYTES, bytesPerMs * headroomMs);
    this.#isNear = free < freeBytesMin + NEAR_FACTOR * headroom;
    return free < freeBytesMin + headroom;
  }

  async #findLargest(): Promise<DiskUser | null> {
    const users = [...this.#users].filter((user) => !this.#ending.has(user));
    const sums = await Promise.all(users.map((user) => user.sumBytes().catch(() => 0)));
    const largest = Math.max(...sums);
    return largest < BYTES_MIN ? null : (users[sums.indexOf(largest)] ?? null);
  }

  async #lookAgain(): Promise<void> {
    await this.runOnce();
    this.#timer = null;
    if (this.#users.size > 0) this.#schedule();
  }

  #schedule(): void {
    this.#timer ??= this.#options.clock.setTimer(
      () => {
        void this.#lookAgain();
      },
      this.#isNear ? NEAR_INTERVAL_MS : INTERVAL_MS,
    );
  }
}
