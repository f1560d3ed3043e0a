import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import type pg from "pg";
import { StintError } from "../core/error.ts";
import {
  type ConnectionSource,
  describeHost,
  endConnection,
  openConnection,
  SERVICE_ROLE,
} from "./connect.ts";
import { isRefusal, toConnectionError, toStoreError } from "./database-error.ts";

// From src/store and from dist/store alike this is the folder at the root of the package.
const SQL_FOLDER = new URL("../../sql/", import.meta.url);

/** Key of the advisory lock that lets one process migrate a database at a time. */
const LOCK_KEY = 7_483_650_127;

const STATEMENT_TIMEOUT_MS = 300_000;
const PRELUDE_TRIES_MAX = 5;
const OWNER_ROLE = "stint_owner";

/** One file of `sql/migrations`. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/** How far a database is. */
export interface MigrationStatus {
  /** Version of the database; 0 when nothing was applied. */
  readonly current: number;
  /** Version that this Stint needs. */
  readonly latest: number;
  readonly applied: readonly { version: number; name: string; appliedAt: Date }[];
  readonly pending: readonly { version: number; name: string }[];
  /** Applied migrations whose file has another content now. */
  readonly changed: readonly number[];
}

/** Reads the migrations that come with this Stint, in order. */
export async function readMigrations(): Promise<readonly Migration[]> {
  const folder = new URL("migrations/", SQL_FOLDER);
  const names = (await readdir(folder)).filter((name) => /^\d{6}_[a-z0-9_]+\.sql$/.test(name));
  return Promise.all(names.sort().map((name) => readMigration(new URL(name, folder), name)));
}

/**
 * Brings a database to the version of this Stint: first, on a bare Postgres, the roles and
 * functions of the prelude, then each pending migration in a transaction of its own. Any number of
 * processes may call it at once; each migration is applied once. Repeating it changes nothing.
 * @returns the versions that this call applied.
 * @throws {database_newer} {migration_changed} {database_roles_missing} with the SQL to run
 * @throws {database_unavailable} {database_auth_failed}
 */
export async function migrateDatabase(source: ConnectionSource): Promise<readonly number[]> {
  const migrations = await readMigrations();
  return withMigrationConnection(source, async (client) => {
    await prepareRoles(client);
    await inLockedTransaction(client, () => createRegister(client));
    const applied: number[] = [];
    for (const migration of migrations) {
      const isNew = await inLockedTransaction(client, () => apply(client, migration, migrations));
      if (!isNew) continue;
      applied.push(migration.version);
      source.logger.info({ version: migration.version, name: migration.name }, "migrated");
    }
    await assertServiceRole(client);
    return applied;
  });
}

/**
 * Reads how far a database is, changing nothing.
 * @throws {database_unavailable} {database_auth_failed}
 */
export async function readMigrationStatus(source: ConnectionSource): Promise<MigrationStatus> {
  const migrations = await readMigrations();
  return withMigrationConnection(source, async (client) => {
    const rows = await inTransaction(client, async () => {
      await becomeOwner(client);
      return (await hasRegister(client)) ? readRegister(client) : [];
    });
    const known = new Map(rows.map((row) => [row.version, row]));
    return {
      current: Math.max(0, ...known.keys()),
      latest: latestOf(migrations),
      applied: rows.map(({ version, name, applied_at: appliedAt }) => ({
        version,
        name,
        appliedAt,
      })),
      pending: migrations
        .filter(({ version }) => !known.has(version))
        .map(({ version, name }) => ({ version, name })),
      changed: migrations.filter((each) => isChanged(each, known)).map(({ version }) => version),
    };
  });
}

/**
 * Refuses a database whose version is not the one of this Stint.
 * @throws {database_outdated} {database_newer}
 */
export async function assertSchemaVersion(
  client: Pick<pg.Client, "query">,
  where: string,
): Promise<void> {
  const latest = latestOf(await readMigrations());
  const { rows } = await client.query<{ version: number | null }>(
    "select max(version) as version from public.stint_migrations",
  );
  const current = rows[0]?.version ?? 0;
  if (current > latest) throw newerError(current, latest);
  if (current < latest) {
    const message = `${where} is at version ${current} of the schema, ${latest} is needed`;
    throw new StintError("database_outdated", message);
  }
}

interface RegisterRow {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly applied_at: Date;
}

async function withMigrationConnection<T>(
  source: ConnectionSource,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const where = describeHost(await source.resolveUrl());
  const client = await openConnection(source, {
    role: null,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
  });
  try {
    return await work(client);
  } catch (error) {
    throw toStoreError(error, where);
  } finally {
    await endConnection(client, source.clock);
  }
}

async function readMigration(url: URL, fileName: string): Promise<Migration> {
  const sql = (await readFile(url, "utf8")).replaceAll("\r\n", "\n");
  return {
    version: Number(fileName.slice(0, 6)),
    name: fileName.slice(7, -".sql".length),
    sql,
    checksum: createHash("sha256").update(sql).digest("hex"),
  };
}

function inLockedTransaction<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  return inTransaction(client, async () => {
    await client.query("select pg_advisory_xact_lock($1)", [LOCK_KEY]);
    return work();
  });
}

async function inTransaction<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  await client.query("begin");
  try {
    const result = await work();
    await client.query("commit");
    return result;
  } catch (error) {
    await client.query("rollback").catch(() => undefined); // The first error says more.
    throw error;
  }
}

/** Runs the prelude where something that it brings is missing: never on a Supabase project. */
async function prepareRoles(client: pg.Client): Promise<void> {
  const prelude = await readFile(new URL("prelude.sql", SQL_FOLDER), "utf8");
  for (let attempt = 1; ; attempt++) {
    try {
      await inLockedTransaction(client, async () => {
        if (await needsPrelude(client)) await client.query(prelude);
      });
      return;
    } catch (error) {
      if (isRefusal(error) && error.code === "42501") {
        throw await rolesMissingError(client, prelude, error);
      }
      // Migrations of other databases of the cluster change the same roles at the same time.
      const isRace = isRefusal(error) && /^(XX000|23505|42710|40)/.test(error.code);
      if (!isRace || attempt === PRELUDE_TRIES_MAX) throw error;
    }
  }
}

async function needsPrelude(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ missing: boolean }>(
    `select not exists (
       select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname = 'auth' and p.proname = 'uid' and p.pronargs = 0
     ) or exists (
       select from unnest(array['service_role', 'authenticated', 'anon']) wanted(name)
       where to_regrole(wanted.name) is null
     ) as missing`,
  );
  return rows[0]?.missing === true;
}

/**
 * Owns what is created by `stint_owner` where the prelude made it for this database; otherwise, as
 * in a Supabase project, by the role that connected.
 */
async function becomeOwner(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ usable: boolean }>(
    `select coalesce(pg_has_role(to_regrole($1), 'member')
       and has_database_privilege(to_regrole($1), current_database(), 'create')
       and has_schema_privilege(to_regrole($1), 'public', 'create'), false) as usable`,
    [OWNER_ROLE],
  );
  if (rows[0]?.usable === true) await client.query(`set local role ${OWNER_ROLE}`);
}

async function createRegister(client: pg.Client): Promise<void> {
  if (await hasRegister(client)) return;
  await becomeOwner(client);
  await client.query(`
    create table public.stint_migrations (
      version integer primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null default now()
    );
    alter table public.stint_migrations enable row level security;
    revoke all on public.stint_migrations from public, anon, authenticated, service_role;
    grant select on public.stint_migrations to service_role;
    create policy service_reads on public.stint_migrations for select to service_role using (true);
  `);
}

async function hasRegister(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>(
    "select to_regclass('public.stint_migrations') is not null as found",
  );
  return rows[0]?.found === true;
}

async function readRegister(client: pg.Client): Promise<RegisterRow[]> {
  const { rows } = await client.query<RegisterRow>(
    "select version, name, checksum, applied_at from public.stint_migrations order by version",
  );
  return rows;
}

async function apply(
  client: pg.Client,
  migration: Migration,
  all: readonly Migration[],
): Promise<boolean> {
  await becomeOwner(client);
  const rows = await readRegister(client);
  const known = new Map(rows.map((row) => [row.version, row]));
  const current = Math.max(0, ...known.keys());
  if (current > latestOf(all)) throw newerError(current, latestOf(all));
  if (isChanged(migration, known)) {
    const { version, name } = migration;
    const message = `migration ${version} (${name}) was applied with another content`;
    throw new StintError("migration_changed", message, { fields: { version, name } });
  }
  if (known.has(migration.version)) return false;
  await client.query(migration.sql);
  await client.query(
    "insert into public.stint_migrations (version, name, checksum) values ($1, $2, $3)",
    [migration.version, migration.name, migration.checksum],
  );
  return true;
}

/** The service must be able to work as its role; an administrator may have made it for others. */
async function assertServiceRole(client: pg.Client): Promise<void> {
  try {
    await client.query(`set role ${SERVICE_ROLE}`);
    await client.query("reset role");
  } catch (error) {
    throw await rolesMissingError(client, "", toConnectionError(error, SERVICE_ROLE));
  }
}

async function rolesMissingError(
  client: pg.Client,
  prelude: string,
  cause: Error,
): Promise<StintError> {
  const { rows } = await client.query<{ name: string }>("select quote_ident(session_user) as name");
  const user = rows[0]?.name ?? "public";
  const sql = `${prelude}\ngrant ${OWNER_ROLE}, service_role, authenticated, anon to ${user};\n`;
  const message = `${user} may not create the roles that Stint needs (${cause.message})`;
  return new StintError(
    "database_roles_missing",
    `${message}. An administrator can, in this database, with:\n\n${sql}`,
    { cause },
  );
}

function isChanged(migration: Migration, known: ReadonlyMap<number, RegisterRow>): boolean {
  const row = known.get(migration.version);
  return row !== undefined && row.checksum !== migration.checksum;
}

function latestOf(migrations: readonly Migration[]): number {
  return migrations.at(-1)?.version ?? 0;
}

function newerError(current: number, latest: number): StintError {
  const message = `the database is at version ${current} of the schema, this stint knows ${latest}`;
  return new StintError("database_newer", message, { fields: { current, latest } });
}
