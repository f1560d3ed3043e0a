// Keeps dist equal to src. Safe when several processes start at once: one builds, the others wait.
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const CHECKOUT = fileURLToPath(new URL("..", import.meta.url));
const LOCK_AGE_MS_MAX = 5 * 60_000;
const LOCK_POLL_MS = 50;

/**
 * Builds dist when it is missing or does not belong to the present sources.
 * `ok` is false when the compiler reported errors or cannot be had; `say` has then told why.
 *
 * @param {{ root?: string, say?: (line: string) => void }} [options]
 * @returns {Promise<{ ok: boolean, built: boolean }>}
 */
export async function ensureDist({ root = CHECKOUT, say = () => {} } = {}) {
  if (isFresh(root)) return { ok: true, built: false };
  if (!existsSync(compilerOf(root))) return runWithoutCompiler(root, say);
  try {
    return await withLock(root, () =>
      isFresh(root) ? { ok: true, built: false } : build(root, say),
    );
  } catch (error) {
    say(`cannot build dist: ${error.message}`);
    return { ok: false, built: false };
  }
}

/** A production install of a checkout has no compiler: then what was built before is what runs. */
function runWithoutCompiler(root, say) {
  if (existsSync(join(root, "dist", "bin.js"))) return { ok: true, built: false };
  say("dist is missing and so is the compiler; run `npm ci` here");
  return { ok: false, built: false };
}

/** True when the last finished build saw exactly the sources that are here now. */
export function isFresh(root = CHECKOUT) {
  try {
    return readFileSync(stampOf(root), "utf8") === fingerprintSources(root);
  } catch (error) {
    if (error.code === "ENOENT") return false; // never built
    throw error;
  }
}

/** Digest of name, size and time of every file the compiler reads. Stats only: some milliseconds. */
function fingerprintSources(root) {
  const files = listFiles(join(root, "src")).filter(
    (path) => !/\.(test|testsuite)\.ts$/.test(path),
  );
  const hash = createHash("sha256");
  for (const path of [join(root, "tsconfig.json"), ...files.sort()]) {
    const { mtimeMs, size } = statSync(path);
    hash.update(`${relative(root, path)}\0${mtimeMs}\0${size}\n`);
  }
  return hash.digest("hex");
}

async function build(root, say) {
  const { spawnSync } = await import("node:child_process");
  const seen = fingerprintSources(root);
  rmSync(stampOf(root), { force: true });
  // The compiler trusts its own record of what it wrote; without the output that record is wrong.
  if (!existsSync(join(root, "dist", "bin.js"))) {
    rmSync(join(root, "dist", ".tsbuildinfo"), { force: true });
  }
  say("building dist");
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [compilerOf(root), "-b", "--pretty", String(process.stderr.isTTY === true)],
    { cwd: root, encoding: "utf8", maxBuffer: 16 * 1024 * 1024, timeout: LOCK_AGE_MS_MAX },
  );
  if (status !== 0) {
    say(`the build failed\n${error?.message ?? ""}${stdout}${stderr}`.trimEnd());
    return { ok: false, built: false };
  }
  removeOrphans(root);
  writeFileSync(stampOf(root), seen);
  return { ok: true, built: true };
}

/** Removes compiled modules whose source is gone; the compiler itself never deletes. */
function removeOrphans(root) {
  const dist = join(root, "dist");
  for (const path of listFiles(dist)) {
    if (!path.endsWith(".js.map")) continue;
    const stem = path.slice(0, -".js.map".length);
    if (!existsSync(`${stem}.d.ts`)) continue; // not the compiler's
    if (existsSync(join(root, "src", `${relative(dist, stem)}.ts`))) continue;
    for (const ending of [".js", ".js.map", ".d.ts"]) rmSync(stem + ending, { force: true });
  }
}

async function withLock(root, work) {
  const lock = join(root, "node_modules", ".cache", "stint", "build-lock");
  mkdirSync(join(lock, ".."), { recursive: true });
  while (!takeLock(lock)) {
    breakDeadLock(lock);
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function takeLock(lock) {
  try {
    mkdirSync(lock);
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
  writeFileSync(join(lock, "pid"), String(process.pid));
  return true;
}

/** Takes away a lock whose holder died. Renaming first lets only one of several waiters do it. */
function breakDeadLock(lock) {
  if (!isLockDead(lock)) return;
  const aside = `${lock}-${process.pid}`;
  try {
    renameSync(lock, aside);
  } catch (error) {
    if (error.code === "ENOENT") return; // another waiter was faster
    throw error;
  }
  rmSync(aside, { recursive: true, force: true });
}

function isLockDead(lock) {
  try {
    if (Date.now() - statSync(lock).mtimeMs > LOCK_AGE_MS_MAX) return true;
    process.kill(Number(readFileSync(join(lock, "pid"), "utf8")) || process.pid, 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH"; // ENOENT: just released or just taken; EPERM: it lives
  }
}

function listFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.parentPath + sep + entry.name);
}

const stampOf = (root) => join(root, "dist", ".sources");
const compilerOf = (root) => join(root, "node_modules", "typescript7", "bin", "tsc");
