import { readFile, statfs } from "node:fs/promises";
import { listBearers } from "./sweep.ts";

/** Bytes that this user may still write on the disk of a folder. */
export async function readFreeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** What a command on a disk that is short may still write into one file. */
const FILE_BYTES_MIN = 1_048_576;

/**
 * The largest file that a command may write which starts now: never more than leaves the disk with
 * what is kept for others. A file that is reserved at once is there before any watch can see it.
 */
export function boundFileBytes(
  freeBytes: number,
  { fileBytesMax, freeBytesMin }: { readonly fileBytesMax: number; readonly freeBytesMin: number },
): number {
  return Math.min(fileBytesMax, Math.max(FILE_BYTES_MIN, freeBytes - freeBytesMin));
}

/**
 * Bytes that the living processes which carry this cookie have put on a disk, with what their own
 * children that have ended did. Pipes and sockets do not count: much output fills no disk.
 */
export async function sumWrittenBytes(cookie: string, value: string): Promise<number> {
  let sum = 0;
  for (const { pid } of await listBearers(cookie, value)) {
    const io = await readFile(`/proc/${pid}/io`, "utf8").catch(() => ""); // ended meanwhile
    sum += readField(io, "write_bytes") - readField(io, "cancelled_write_bytes");
  }
  return Math.max(0, sum);
}

function readField(io: string, name: string): number {
  return Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(io)?.[1] ?? 0);
}
