import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { readErrno } from "./data-folder.ts";

interface Link {
  readonly source: string;
  readonly target: string;
}

/**
 * Makes the library links of the npm package that its install script would have made, where
 * scripts were not allowed to run. Returns false when a link is missing and cannot be made.
 */
export function createMissingLinks(nativeDir: string): boolean {
  return readLinks(nativeDir).every(({ source, target }) => {
    try {
      symlinkSync(relative(dirname(target), source), target);
      return true;
    } catch (error) {
      return readErrno(error) === "EEXIST" || existsSync(target);
    }
  });
}

/** The links that the package lists, as absolute paths inside it. */
function readLinks(nativeDir: string): Link[] {
  const list = join(nativeDir, "pg-symlinks.json");
  if (!existsSync(list)) return [];
  const links = JSON.parse(readFileSync(list, "utf8")) as Link[];
  // The list names everything from the folder above: "native/lib/…".
  const locate = (name: string): string => resolve(nativeDir, relative("native", name));
  return links
    .map(({ source, target }) => ({ source: locate(source), target: locate(target) }))
    .filter(({ target }) => target.startsWith(nativeDir + sep));
}

/** The version of the npm package that `nativeDir` belongs to. */
export function readPackageVersion(nativeDir: string): string {
  const manifest = join(nativeDir, "..", "package.json");
  if (!existsSync(manifest)) return "unknown";
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version?: string };
  return version ?? "unknown";
}

/**
 * Copies the package's programs into a folder of `base`, readable by everybody, and returns the
 * copy. A copy that is already there and whole is used again, without a call of `onCopy`. Other
 * processes may do the same at the same time.
 */
export function copyNativeTree(nativeDir: string, base: string, onCopy = (): void => {}): string {
  mkdirSync(base, { recursive: true, mode: 0o755 });
  const stat = lstatSync(base);
  const isOurs = stat.isDirectory() && stat.uid === (process.getuid?.() ?? stat.uid);
  if (!isOurs || (stat.mode & 0o022) !== 0) throw new Error(`${base} can be written by others`);
  chmodSync(base, 0o755);
  const copy = join(base, `postgres-${readPackageVersion(nativeDir)}`);
  if (!isWholeCopy(nativeDir, copy)) {
    onCopy();
    const draft = mkdtempSync(`${copy}.`);
    copyTree(nativeDir, draft);
    createMissingLinks(draft);
    rmSync(copy, { recursive: true, force: true });
    try {
      renameSync(draft, copy);
    } catch (error) {
      if (!isWholeCopy(nativeDir, copy)) throw error;
      rmSync(draft, { recursive: true, force: true }); // Another process was first.
    }
  }
  return copy;
}

/** Whether every file is there in full: cleaners of /var/tmp remove files one by one. */
function isWholeCopy(nativeDir: string, copy: string): boolean {
  return readdirSync(nativeDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .every((entry) => {
      const source = join(entry.parentPath, entry.name);
      const stat = statSync(join(copy, relative(nativeDir, source)), { throwIfNoEntry: false });
      return stat?.size === statSync(source).size;
    });
}

function copyTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  chmodSync(to, 0o755); // The umask of the supervisor closes new folders to others.
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isDirectory()) copyTree(source, target);
    else if (entry.isFile()) {
      copyFileSync(source, target, constants.COPYFILE_FICLONE);
      chmodSync(target, (statSync(source).mode & 0o100) === 0 ? 0o644 : 0o755);
    }
  }
}
