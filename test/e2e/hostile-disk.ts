import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const GIB = 1_073_741_824;
/**
 * The bound and what is ended before it, and not much more: beside a fork bomb and floods a session
 * has so little of the processors that it writes some ten megabytes in a second.
 */
const IMAGE_BYTES = 2.5 * GIB;
/** What may be written where there is no disk of our own. */
const ROOM_BYTES = 1.375 * GIB;

/** A place for data that a hostile agent may fill up to a bound. */
export interface HostileDisk {
  readonly path: string;
  readonly freeBytesMin: number;
  /** Free bytes now. */
  readFree(): number;
  dispose(): void;
}

/** A small disk of its own where one can be mounted; else the bound is drawn near what is free now. */
export function makeHostileDisk(): HostileDisk {
  const folder = mkdtempSync(join(tmpdir(), "stint hostile "));
  const path = join(folder, "disk");
  mkdirSync(path);
  const readFree = (): number => {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  };
  const image = join(folder, "image");
  const isMounted =
    run("truncate", ["-s", String(IMAGE_BYTES), image]) &&
    run("mkfs.ext4", ["-q", "-F", "-m", "0", image]) &&
    run("mount", ["-o", "loop", image, path]);
  return {
    path,
    freeBytesMin: isMounted ? GIB : Math.max(GIB, Math.floor(readFree() - ROOM_BYTES)),
    readFree,
    dispose() {
      if (isMounted) run("umount", ["--lazy", path]);
      rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}

function run(program: string, args: readonly string[]): boolean {
  return spawnSync(program, [...args], { stdio: "ignore", timeout: 30_000 }).status === 0;
}
