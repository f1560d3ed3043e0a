import { randomBytes } from "node:crypto";
import {
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  lchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { StintError } from "../../core/error.ts";
import type { PostgresBinaries } from "./binaries.ts";
import { DATABASE_NAME, type DataFolder, readPassword } from "./data-folder.ts";
import {
  describeDataDirectory,
  type Launch,
  type LaunchOwner,
  type ProgramResult,
  runProgram,
} from "./launch.ts";
import { explainFailure } from "./postgres-failure.ts";

/** Only password logins over TCP from this machine. */
const HBA_CONF = `# Written by stint: only this machine, only with the password.
host all all 127.0.0.1/32 scram-sha-256
`;

/** What a cluster is made with. */
export interface ClusterTools {
  readonly folder: DataFolder;
  readonly binaries: PostgresBinaries;
  readonly launch: Launch;
}

/** The owner of the cluster's files, or undefined where there is no cluster yet. */
export function readClusterOwner(folder: DataFolder): LaunchOwner | undefined {
  const stat = statSync(folder.clusterDir, { throwIfNoEntry: false });
  return stat && { uid: stat.uid, gid: stat.gid };
}

/**
 * The major version that made the cluster; undefined where there is none yet.
 * @throws {data_dir_unusable} when the folder holds something that is no cluster
 */
export function readClusterVersion(folder: DataFolder): number | undefined {
  const { clusterDir } = folder;
  const versionFile = join(clusterDir, "PG_VERSION");
  if (existsSync(versionFile)) return Number.parseInt(readFileSync(versionFile, "utf8"), 10);
  if (!existsSync(clusterDir) || readdirSync(clusterDir).length === 0) return undefined;
  throw new StintError("data_dir_unusable", `${clusterDir} is not a Postgres data directory`, {
    remedy: "Move it away, or give STINT_DATA another folder. Nothing in it was changed.",
  });
}

/** The number that Postgres gave the data at birth: copies and moves keep it. */
export function readSystemIdentifier(folder: DataFolder): string {
  const fd = openSync(join(folder.clusterDir, "global", "pg_control"), "r");
  try {
    const head = Buffer.alloc(8);
    readSync(fd, head, 0, head.length, 0);
    return head.readBigUInt64LE().toString();
  } finally {
    closeSync(fd);
  }
}

/** Removes what a kill in the middle of `createCluster` left behind. */
export function discardHalfMadeClusters({ root, clusterDir }: DataFolder): void {
  for (const name of readdirSync(root)) {
    if (!name.startsWith(`${basename(clusterDir)}.initdb-`)) continue;
    rmSync(join(root, name), { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/**
 * Makes the cluster: UTF-8, locale C, one superuser with the password of the data folder, one
 * database. It is made beside its place and moved there when it is complete and on disk, so a
 * cluster is there in full or not at all.
 * @throws {disk_full} @throws {database_unavailable} @throws {data_dir_unusable}
 */
export async function createCluster(tools: ClusterTools): Promise<void> {
  const { folder, binaries, launch } = tools;
  const draft = `${folder.clusterDir}.initdb-${randomBytes(6).toString("hex")}`;
  mkdirSync(draft, { mode: 0o700 });
  if (launch.mode === "other_user") chownSync(draft, launch.uid, launch.gid);
  const initdb = async (...args: readonly string[]): Promise<void> => {
    const result = await runProgram(launch, {
      program: join(binaries.binDir, "initdb"),
      args: ["-D", describeDataDirectory(launch, draft), ...args],
      cwd: draft,
    });
    requireSuccess("initdb", result);
  };
  try {
    // Nobody gets in before the password is set; syncing once at the end is enough.
    await initdb(
      `--username=${DATABASE_NAME}`,
      "--encoding=UTF8",
      "--locale=C",
      "--auth=reject",
      "--data-checksums",
      "--no-instructions",
      "--no-sync",
    );
    writeFileSync(join(draft, "pg_hba.conf"), HBA_CONF);
    await runStatements(tools, draft, [
      describePassword(folder),
      `CREATE DATABASE ${DATABASE_NAME}`,
    ]);
    await initdb("--sync-only");
    renameSync(draft, folder.clusterDir);
    syncDirectory(dirname(folder.clusterDir));
  } catch (error) {
    discardHalfMadeClusters(folder);
    throw error;
  }
}

/** Gives the superuser of a stopped cluster the password of the data folder. */
export async function resetPassword(tools: ClusterTools): Promise<void> {
  await runStatements(tools, tools.folder.clusterDir, [describePassword(tools.folder)]);
}

function describePassword(folder: DataFolder): string {
  const password = readPassword(folder) ?? "";
  if (!/^[0-9a-f]{32,}$/.test(password)) {
    throw new StintError("data_dir_unusable", `${folder.passwordFile} does not hold our password`);
  }
  return `ALTER ROLE ${DATABASE_NAME} PASSWORD '${password}'`;
}

/**
 * Runs statements without a server, each on one line. They come by standard input, where no list
 * of processes shows them, and a failing one is kept out of the log.
 */
async function runStatements(
  { binaries, launch }: ClusterTools,
  clusterDir: string,
  statements: readonly string[],
): Promise<void> {
  const settings = ["exit_on_error=true", "log_min_error_statement=panic", "log_checkpoints=off"];
  const result = await runProgram(launch, {
    program: join(binaries.binDir, "postgres"),
    args: [
      "--single",
      ...settings.flatMap((setting) => ["-c", setting]),
      ...["-D", describeDataDirectory(launch, clusterDir), "template1"],
    ],
    cwd: clusterDir,
    input: `${statements.join("\n")}\n`,
  });
  requireSuccess("postgres --single", result);
}

function requireSuccess(program: string, { exitCode, output }: ProgramResult): void {
  if (exitCode !== 0) throw explainFailure(`${program} failed`, output);
}

function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Gives the cluster to the user who will run it. Needed when root ran it as nobody before and now
 * can run it in a user namespace, or the other way round.
 */
export function adoptCluster({ clusterDir }: DataFolder, launch: Launch): void {
  const stat = statSync(clusterDir);
  if (stat.uid === launch.uid) return;
  if (process.getuid?.() !== 0) {
    throw new StintError("data_dir_unusable", `${clusterDir} belongs to user ${stat.uid}`);
  }
  // The top last: it is what tells the next start whether this one was finished.
  for (const entry of readdirSync(clusterDir, { recursive: true, withFileTypes: true })) {
    lchownSync(join(entry.parentPath, entry.name), launch.uid, launch.gid);
  }
  chownSync(clusterDir, launch.uid, launch.gid);
}
