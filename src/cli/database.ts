import type { Clock } from "../core/clock.ts";
import type { Config } from "../core/config.ts";
import type { Logger } from "../core/log.ts";
import type { ConnectionSource } from "../store/connect.ts";
import type { EmbeddedPostgres } from "../store/embedded/attach.ts";
import { createLogger } from "./logging.ts";
import type { Output } from "./output.ts";
import { systemClock } from "./system-clock.ts";

/** The database that the configuration chooses: one's own, or the embedded one. */
export interface Database {
  readonly kind: "embedded" | "external";
  /** True when this call made the database. */
  readonly isNew: boolean;
  /** Where it is now; an embedded one that was lost is started anew. */
  resolveUrl(): Promise<string>;
  close(): Promise<void>;
}

/** Opens the database; the embedded one is started where it does not run. */
async function openDatabase(
  config: Pick<Config, "databaseUrl" | "dataDir">,
  context: { readonly logger: Logger; readonly clock: Clock },
  onProgress: (step: string) => void,
): Promise<Database> {
  const { databaseUrl } = config;
  if (databaseUrl !== undefined) {
    return {
      kind: "external",
      isNew: false,
      resolveUrl: () => Promise.resolve(databaseUrl),
      close: () => Promise.resolve(),
    };
  }
  // Loaded only here: a client of a foreign database needs none of it.
  const { attachEmbeddedPostgres } = await import("../store/embedded/attach.ts");
  let held: Promise<EmbeddedPostgres> | null = null;
  const attach = (): Promise<EmbeddedPostgres> => {
    const attaching = attachEmbeddedPostgres({ dataDir: config.dataDir, onProgress }).then(
      (embedded) => {
        embedded.onLost(() => {
          context.logger.warn({}, "Embedded Postgres lost; starting it again");
          held = null;
        });
        return embedded;
      },
    );
    attaching.catch(() => {
      held = null;
    });
    return attaching;
  };
  held = attach();
  const first = await held;
  return {
    kind: "embedded",
    isNew: first.firstStart,
    resolveUrl: async () => (await (held ??= attach())).url,
    close: async () => {
      await (await held)?.release();
    },
  };
}

/** A database with what connects to it. */
export interface OpenedDatabase {
  readonly database: Database;
  readonly source: ConnectionSource;
  readonly logger: Logger;
}

/** The same for a process of this program: with its log, and its progress shown. */
export async function openProcessDatabase(
  { config, output }: { readonly config: Config; readonly output: Output },
  onProgress = (step: string): void => output.progress(step),
): Promise<OpenedDatabase> {
  const logger = createLogger(config, output);
  const context = { logger, clock: systemClock };
  const database = await openDatabase(config, context, onProgress);
  return { database, logger, source: { ...context, resolveUrl: () => database.resolveUrl() } };
}
