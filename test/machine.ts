import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasTool } from "./tools.ts";

const INSTALL_MS_MAX = 180_000;
/** Program → the Debian package that brings it. */
const PACKAGES = { git: "git", bwrap: "bubblewrap" } as const;

/**
 * Prepares the machine once per run: the programs some tests need, a dist that matches src, and a
 * folder for all temporary ones, which goes with the run whatever a test left in it.
 */
export async function setup(): Promise<() => void> {
  installMissingTools();
  await refreshDist();
  const folder = mkdtempSync(join(tmpdir(), "stint-tests-"));
  chmodSync(folder, 0o1777); // Tests become other users.
  process.env["TMPDIR"] = folder;
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
}

/** On Debian, as root, what is missing is installed. Anywhere else the tests in need are skipped. */
function installMissingTools(): void {
  const missing = Object.entries(PACKAGES).filter(([tool]) => !hasTool(tool));
  if (missing.length === 0) return;
  const packages = missing.map(([, name]) => name);
  if (!existsSync("/etc/debian_version") || process.getuid?.() !== 0) {
    return notice(`not installed: ${packages.join(", ")}; the tests that need them are skipped`);
  }
  notice(`installing ${packages.join(", ")}`);
  const install = `apt-get -qq update; apt-get -qq install -y --no-install-recommends ${packages.join(" ")}`;
  const { status, stderr } = spawnSync("sh", ["-c", install], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
    timeout: INSTALL_MS_MAX,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  if (status === 0) return;
  const reason = stderr.trim().split("\n").at(-1) ?? "";
  notice(`could not install ${packages.join(", ")}: ${reason.slice(0, 500)}`);
}

/** Tests start compiled processes; `npm test` has built already, a narrow run has not. */
async function refreshDist(): Promise<void> {
  const { ensureDist } = (await import(new URL("../scripts/dist.mjs", import.meta.url).href)) as {
    ensureDist(options: { say(line: string): void }): Promise<{ ok: boolean }>;
  };
  const { ok } = await ensureDist({ say: notice });
  if (!ok) notice("dist is out of date: tests that start processes run old code");
}

function notice(line: string): void {
  process.stderr.write(`test setup: ${line}\n`);
}
