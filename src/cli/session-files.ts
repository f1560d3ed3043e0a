import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Session } from "../client.ts";
import type { Config } from "../core/config.ts";
import type { SnapshotStore } from "../core/snapshot-store.ts";
import { createDatabaseSnapshots } from "../store/database-snapshots.ts";
import { openNewestWorkspace, type NewestWorkspace } from "../worker/newest-workspace.ts";
import { openSnapshotStores } from "../worker/snapshot-stores.ts";
import { openProcessDatabase } from "./database.ts";
import type { Output } from "./output.ts";
import { systemClock } from "./system-clock.ts";

/**
 * Runs work on the files of a session as they were last worked on: those of this data folder, or the
 * last stored state, read from the database or the folder that the configuration names.
 * @throws {workspace_elsewhere} when they lie on another host alone.
 */
export async function withSessionFiles<T>(
  request: { readonly session: Session; readonly config: Config; readonly output: Output },
  work: (files: NewestWorkspace) => Promise<T>,
): Promise<T> {
  const { session, config, output } = request;
  const { dataDir } = config;
  const closes: (() => Promise<void>)[] = [];
  const openReadable = async (): Promise<readonly SnapshotStore[]> => {
    const { database, source } = await openProcessDatabase({ config, output }, () => undefined);
    closes.unshift(() => database.close());
    const snapshots = createDatabaseSnapshots(source);
    closes.unshift(() => snapshots.close());
    const stores = await openSnapshotStores({ config, database: snapshots, clock: systemClock });
    return stores.readable;
  };
  try {
    const hostId = await readHostId(dataDir);
    return await work(await openNewestWorkspace({ session, dataDir, hostId, openReadable }));
  } finally {
    for (const close of closes) await close();
  }
}

/** Empty where no worker has run: then no files are here. */
async function readHostId(dataDir: string): Promise<string> {
  try {
    return (await readFile(join(dataDir, "host-id"), "utf8")).trim();
  } catch {
    return ""; // of a folder that is not there, or not ours, nothing can be said
  }
}
