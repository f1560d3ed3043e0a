import { createHash } from "node:crypto";
import { closeSync, constants, existsSync, lstatSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { StintError } from "../../core/error.ts";
import type { DataFolder } from "./data-folder.ts";

/** The kernel's limit is 108 bytes on Linux and 104 on macOS, its end mark included. */
const SOCKET_PATH_BYTES_MAX = 100;
const SOCKET_NAME = "supervisor.sock";

/** A path of the supervisor's socket that is short enough to bind and connect to. */
export interface SocketAddress {
  readonly path: string;
  /** Call it when the socket is connected or closed; the path is worthless afterwards. */
  close(): void;
}

/**
 * Opens a short way to the supervisor's socket, however long the path of the data folder is. On
 * Linux the socket lies in the data folder itself and is reached through a descriptor of it;
 * elsewhere a folder that is too deep gets a socket in a private folder under /tmp.
 */
export function openSocketAddress(folder: DataFolder): SocketAddress {
  if (existsSync("/proc/self/fd")) {
    const fd = openSync(folder.root, constants.O_RDONLY | constants.O_DIRECTORY);
    let isOpen = true;
    const close = (): void => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    };
    return { path: `/proc/self/fd/${fd}/${SOCKET_NAME}`, close };
  }
  const direct = join(folder.root, SOCKET_NAME);
  const fits = Buffer.byteLength(direct) <= SOCKET_PATH_BYTES_MAX;
  return {
    path: fits ? direct : join(openPrivateFolder(), `${hash(direct)}.sock`),
    close: () => {},
  };
}

/** A folder that only this user writes, for the sockets of data folders with long paths. */
function openPrivateFolder(): string {
  const uid = process.getuid?.() ?? 0;
  const path = `/tmp/stint-${uid}`;
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const stat = lstatSync(path);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0) {
    throw new StintError("data_dir_unusable", `${path} belongs to somebody else`, {
      remedy: "Give STINT_DATA a folder with a shorter path.",
    });
  }
  return path;
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
