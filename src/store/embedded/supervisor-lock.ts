import { createHash } from "node:crypto";
import { closeSync, constants, openSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type DataFolder, readErrno, readPassword } from "./data-folder.ts";

/** The right to supervise one data folder; the kernel takes it back when the process ends. */
export interface SupervisorLock {
  release(): void;
}

/**
 * Takes the right to supervise the data folder, or returns undefined while another process has it.
 * There is nothing to clean up after a crash: no lock file says who held it.
 *
 * On Linux the lock is an abstract unix socket, which only one process can bind. Its name comes
 * from the folder's identity, so a renamed folder keeps it and a copied one does not, and from the
 * password, so that another user cannot take it first. macOS has locks that come with the opening
 * of a file.
 */
export async function takeSupervisorLock(folder: DataFolder): Promise<SupervisorLock | undefined> {
  return process.platform === "linux" ? bindLockName(folder) : openLockedFile(folder);
}

function bindLockName(folder: DataFolder): Promise<SupervisorLock | undefined> {
  const { dev, ino } = statSync(folder.root, { bigint: true });
  const identity = `${dev}:${ino}:${readPassword(folder) ?? ""}`;
  const digest = createHash("sha256").update(identity).digest("hex");
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      if (readErrno(error) === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(`\0stint-supervisor-${digest}`, () => resolve({ release: () => server.close() }));
  });
}

/** O_EXLOCK of the BSD family, which Node passes through although it does not name it. */
const O_EXLOCK = 0x20;

function openLockedFile(folder: DataFolder): SupervisorLock | undefined {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NONBLOCK | O_EXLOCK;
  try {
    const fd = openSync(join(folder.root, "supervisor.lock"), flags, 0o600);
    return { release: () => closeSync(fd) };
  } catch (error) {
    if (readErrno(error) === "EAGAIN") return undefined;
    throw error;
  }
}
