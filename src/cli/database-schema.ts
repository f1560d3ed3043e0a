import type { Config } from "../core/config.ts";
import { migrateDatabase as applyMigrations, readMigrationStatus } from "../store/migrate.ts";
import { openProcessDatabase } from "./database.ts";
import type { Output } from "./output.ts";

/** Which database, and where to tell of it. */
export interface SchemaOptions {
  readonly config: Config;
  readonly output: Output;
}

/** Brings the database to this version's schema. */
export async function migrateDatabase(options: SchemaOptions): Promise<number> {
  const { output } = options;
  const opened = await openProcessDatabase(options);
  try {
    const applied = await applyMigrations(opened.source);
    output.step("database", applied.length === 0 ? "up to date" : `applied ${applied.join(", ")}`);
    output.event("migrated", { applied });
    return 0;
  } finally {
    await opened.database.close();
  }
}

/** Says where the database is and how far it is migrated. */
export async function readDatabaseStatus(options: SchemaOptions): Promise<number> {
  const { output } = options;
  const opened = await openProcessDatabase(options);
  try {
    const url = await opened.database.resolveUrl();
    const status = await readMigrationStatus(opened.source);
    output.document({ kind: opened.database.kind, url, ...status });
    output.result(`${opened.database.kind} database at ${hidePassword(url)}`);
    for (const { version, name, appliedAt } of status.applied) {
      output.result(`  ${version} ${name}  applied ${appliedAt.toISOString()}`);
    }
    for (const { version, name } of status.pending) output.result(`  ${version} ${name}  pending`);
    return 0;
  } finally {
    await opened.database.close();
  }
}

/** A database URL fit to be shown. */
function hidePassword(url: string): string {
  return url.replace(/^(\w+:\/\/[^:/@]*):[^@]*@/, "$1:***@");
}
