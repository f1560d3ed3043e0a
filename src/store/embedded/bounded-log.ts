import { copyFileSync, openSync, closeSync, readSync, statSync, truncateSync } from "node:fs";
import { readErrno } from "./data-folder.ts";

/** A log grows to this size, then moves to `.1`; so it never takes more than twice as much. */
export const LOG_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Keeps a log bounded while others write to it. They hold it open for appending, so it is copied
 * and emptied in place; what they write in that moment may be missing from the copy.
 */
export function boundLog(path: string, bytesMax = LOG_BYTES_MAX): void {
  if (measureLog(path) <= bytesMax) return;
  copyFileSync(path, `${path}.1`);
  truncateSync(path, 0);
}

/** Size of the log in bytes; 0 where there is none. */
export function measureLog(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** What was written to the log since it had `offset` bytes, at most the last `bytesMax`. */
export function readLogSince(path: string, offset: number, bytesMax = 16_384): string {
  const size = measureLog(path);
  const start = Math.max(offset > size ? 0 : offset, size - bytesMax);
  const buffer = Buffer.alloc(Math.max(0, size - start));
  try {
    const fd = openSync(path, "r");
    try {
      return buffer.toString("utf8", 0, readSync(fd, buffer, 0, buffer.length, start));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (readErrno(error) === "ENOENT") return "";
    throw error;
  }
}
