import { randomBytes } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { StintError } from "../../core/error.ts";

/** Name of the database, of its superuser and of the cluster's only purpose. */
export const DATABASE_NAME = "stint";

/** Where everything lies in one data folder (STINT_DATA). */
export interface DataFolder {
  /** Absolute path without symbolic links. */
  readonly root: string;
  /** The finished cluster; it appears only when it is complete. */
  readonly clusterDir: string;
  /** Password of the superuser, mode 0600. */
  readonly passwordFile: string;
  /** The port that Postgres last listened on. */
  readonly portFile: string;
  /** Copies of the Postgres programs, where those of the package cannot be used in place. */
  readonly runtimeDir: string;
  readonly postgresLog: string;
  readonly supervisorLog: string;
}

/** Names the parts of a data folder. Touches nothing. */
export function describeDataFolder(root: string): DataFolder {
  return {
    root,
    clusterDir: join(root, "pg"),
    passwordFile: join(root, "pg.password"),
    portFile: join(root, "pg.port"),
    runtimeDir: join(root, "runtime"),
    postgresLog: join(root, "log", "postgres.log"),
    supervisorLog: join(root, "log", "supervisor.log"),
  };
}

/** The `code` of a system error, or undefined. */
export function readErrno(thrown: unknown): string | undefined {
  const code = thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** Turns a file system error on the data folder into `disk_full` or `data_dir_unusable`. */
export function describeFolderError(root: string, thrown: unknown): StintError {
  if (thrown instanceof StintError) return thrown;
  const errno = readErrno(thrown);
  const options = { cause: thrown, fields: { dataDir: root, errno: errno ?? null } };
  if (errno === "ENOSPC" || errno === "EDQUOT") {
    return new StintError("disk_full", `No space left for the data folder ${root}`, options);
  }
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new StintError(
    "data_dir_unusable",
    `Cannot use the data folder ${root}: ${reason}`,
    options,
  );
}

/**
 * Creates the data folder (0700) where it is missing and hides its contents from git.
 * Idempotent. @throws {data_dir_unusable} @throws {disk_full}
 */
export function prepareDataFolder(path: string): DataFolder {
  try {
    makeFolder(resolve(path));
    const folder = describeDataFolder(realpathSync(path));
    accessSync(folder.root, constants.R_OK | constants.W_OK | constants.X_OK);
    mkdirSync(join(folder.root, "log"), { recursive: true, mode: 0o700 });
    writeMissingFile(join(folder.root, ".gitignore"), "*\n", 0o644);
    return folder;
  } catch (error) {
    throw describeFolderError(path, error);
  }
}

/**
 * Makes a folder and those above it. Node's own way names a wrong reason for a read-only file system,
 * and in a folder that takes no entries, as /proc, it loops without end, deaf to signals.
 */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  const parent = dirname(path);
  if (parent !== path) makeFolder(parent);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (readErrno(error) !== "EEXIST") throw error;
  }
}

function writeMissingFile(path: string, content: string, mode: number): void {
  try {
    writeFileSync(path, content, { flag: "wx", mode });
  } catch (error) {
    if (readErrno(error) !== "EEXIST") throw error;
  }
}

/**
 * Makes the password of the superuser where there is none. Several processes may call this at
 * once: all see the same, whole password. Returns true when this call made it.
 */
export function createMissingPassword(folder: DataFolder): boolean {
  const draft = `${folder.passwordFile}.${randomBytes(6).toString("hex")}`;
  if (readPassword(folder) !== undefined) return false;
  const fd = openSync(draft, "wx", 0o600);
  try {
    writeSync(fd, `${randomBytes(24).toString("hex")}\n`);
    fsyncSync(fd);
    // A link either makes the whole file or finds another one; a plain write could be seen half.
    linkSync(draft, folder.passwordFile);
    return true;
  } catch (error) {
    if (readErrno(error) === "EEXIST") return false;
    throw error;
  } finally {
    closeSync(fd);
    unlinkSync(draft);
  }
}

/** The password of the superuser, or undefined where no cluster was made yet. */
export function readPassword(folder: DataFolder): string | undefined {
  try {
    return readFileSync(folder.passwordFile, "utf8").trim();
  } catch (error) {
    if (readErrno(error) === "ENOENT") return undefined;
    throw describeFolderError(folder.root, error);
  }
}
