import { cpSync, existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { silentLogger } from "../src/core/log.ts";
import { attachEmbeddedPostgres } from "../src/store/embedded/attach.ts";
import { migrateDatabase } from "../src/store/migrate.ts";
import { endProcessesUnder } from "./processes-under.ts";
import { RUN_FOLDER, stopPostgres } from "./postgres.ts";
import { systemClock } from "./system-clock.ts";

let template: Promise<string> | undefined;

/**
 * A folder that holds nothing but `data`, a data folder with a migrated database that runs nowhere,
 * for copies: making a database takes longer than many a test. Made once per run by whoever comes
 * first, and outside of a run once per process. All copies have the same password and the same
 * system identifier.
 */
export function locateTemplate(): Promise<string> {
  template ??= findTemplate();
  return template;
}

/**
 * Makes a data folder with an empty migrated database, for tests of anything but a first start.
 * Returns its path.
 */
export async function makeDataFolder(dataDir: string): Promise<string> {
  cpSync(join(await locateTemplate(), "data"), dataDir, { recursive: true });
  return dataDir;
}

async function findTemplate(): Promise<string> {
  const run = process.env[RUN_FOLDER];
  if (run === undefined) {
    const own = mkdtempSync(join(tmpdir(), "stint-template-"));
    process.once("exit", () => rmSync(own, { recursive: true, force: true }));
    await makeTemplate(own);
    return own;
  }
  const shared = join(dirname(run), "template");
  if (existsSync(shared)) return shared;
  const draft = mkdtempSync(`${shared}-`);
  await makeTemplate(draft);
  try {
    renameSync(draft, shared);
  } catch (error) {
    if (!existsSync(shared)) throw error;
    // Another process was faster.
    rmSync(draft, { recursive: true });
  }
  return shared;
}

async function makeTemplate(folder: string): Promise<void> {
  const dataDir = join(folder, "data");
  const { url, release } = await attachEmbeddedPostgres({ dataDir, stopDelayMs: 0 });
  const resolveUrl = (): Promise<string> => Promise.resolve(url);
  await migrateDatabase({ resolveUrl, clock: systemClock, logger: silentLogger });
  await release();
  await stopPostgres(dataDir);
  // The supervisor ends last; its socket cannot be copied.
  await endProcessesUnder(dataDir);
  rmSync(join(dataDir, "supervisor.sock"), { force: true });
}
