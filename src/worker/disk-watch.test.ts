import { expect, test } from "vitest";
import { ManualClock } from "../core/manual-clock.ts";
import { DiskWatch, type DiskUser } from "./disk-watch.ts";

const GIB = 1024 ** 3;

class Writer implements DiskUser {
  readonly told: string[] = [];
  readonly #bytes: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  sumBytes(): Promise<number> {
    return Promise.resolve(this.#bytes);
  }

  onDiskShort(message: string): void {
    this.told.push(message);
  }
}

function watch(free: { bytes: number }): { disk: DiskWatch; clock: ManualClock } {
  const clock = new ManualClock();
  const readFreeBytes = (): Promise<number> => Promise.resolve(free.bytes);
  return { disk: new DiskWatch({ readFreeBytes, freeBytesMin: GIB, clock }), clock };
}

test("a short disk ends the attempt that has written most, and the next when it has gone", async () => {
  const free = { bytes: 2 * GIB };
  const { disk } = watch(free);
  const writers = [new Writer(GIB), new Writer(2 * GIB), new Writer(10)];
  const [, leave = (): void => undefined] = writers.map((writer) => disk.add(writer));
  await disk.runOnce();
  expect(writers.flatMap(({ told }) => told)).toEqual([]);
  free.bytes = 1.2 * GIB;
  await disk.runOnce();
  expect(writers.map(({ told }) => told.length)).toEqual([0, 1, 0]);
  expect(writers[1]?.told[0]).toMatch(/1228 MiB left; 1024 MiB are kept/);
  await disk.runOnce();
  expect(writers.map(({ told }) => told.length)).toEqual([0, 1, 0]);
  leave();
  await disk.runOnce();
  await disk.runOnce();
  expect(writers.map(({ told }) => told.length)).toEqual([1, 1, 0]);
});

test("where not even what is kept for others is left, the next does not wait", async () => {
  const { disk } = watch({ bytes: GIB / 2 });
  const writers = [new Writer(GIB), new Writer(2 * GIB)];
  for (const writer of writers) disk.add(writer);
  await disk.runOnce();
  await disk.runOnce();
  expect(writers.map(({ told }) => told.length)).toEqual([1, 1]);
});

test("an attempt that has written little is not ended for what others have filled", async () => {
  const { disk } = watch({ bytes: GIB / 2 });
  const writer = new Writer(1_000_000);
  disk.add(writer);
  await disk.runOnce();
  expect(writer.told).toEqual([]);
});

test("a disk that fills fast is short sooner, one that fills slowly is not", async () => {
  for (const [leftGib, ended] of [
    [2.5, 1],
    [3.9, 0],
  ] as const) {
    const free = { bytes: 4 * GIB };
    const { disk, clock } = watch(free);
    const writer = new Writer(GIB);
    const leave = disk.add(writer);
    await disk.runOnce();
    free.bytes = leftGib * GIB;
    clock.advance(199);
    await disk.runOnce();
    expect(writer.told).toHaveLength(ended);
    leave();
  }
});

test("a disk is short sooner where the looks at it come late", async () => {
  for (const [lookMs, ended] of [
    [200, 0],
    [1_000, 1],
  ] as const) {
    let nowMs = 0;
    // Its own looks would come in time.
    const clock = { monotonic: () => nowMs, setTimer: () => ({ cancel: () => undefined }) };
    const free = { bytes: 1.8 * GIB + (0.3 * GIB * lookMs) / 1_000 };
    const readFreeBytes = (): Promise<number> => Promise.resolve(free.bytes);
    const disk = new DiskWatch({ readFreeBytes, freeBytesMin: GIB, clock: clock as never });
    const writer = new Writer(GIB);
    disk.add(writer);
    await disk.runOnce();
    nowMs += lookMs;
    free.bytes = 1.8 * GIB;
    await disk.runOnce();
    expect(writer.told).toHaveLength(ended);
  }
});

test("a watch without attempts looks at nothing", async () => {
  const free = { bytes: 0 };
  const { disk, clock } = watch(free);
  const writer = new Writer(GIB);
  const stop = disk.add(writer);
  stop();
  clock.advance(10_000);
  await disk.runOnce();
  expect(writer.told).toEqual([]);
});

const readNothing = (): Promise<number> => Promise.reject(new Error("gone"));

test("a disk that cannot be read ends nobody", async () => {
  const clock = new ManualClock();
  const disk = new DiskWatch({ readFreeBytes: readNothing, freeBytesMin: GIB, clock });
  const writer = new Writer(GIB);
  disk.add(writer);
  await disk.runOnce();
  expect(writer.told).toEqual([]);
});
