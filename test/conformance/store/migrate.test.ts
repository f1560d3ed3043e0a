import { randomBytes, randomUUID } from "node:crypto";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StintError } from "../../../src/core/error.ts";
import { silentLogger } from "../../../src/core/log.ts";
import type { ConnectionSource } from "../../../src/store/connect.ts";
import {
  migrateDatabase,
  readMigrationStatus,
  readMigrations,
} from "../../../src/store/migrate.ts";
import { connectStore } from "../../../src/store/postgres-store.ts";
import { createEmptyDatabase, type TestDatabase } from "../../postgres.ts";
import { systemClock } from "../../system-clock.ts";
import { newSession, output, range, storeOptions, toOwner } from "./harness.ts";

let database: TestDatabase;
let admin: Client;
const roles: string[] = [];
beforeEach(async () => {
  database = await createEmptyDatabase();
  admin = new Client({ connectionString: database.url });
  admin.on("error", () => undefined); // Dropping the database ends it.
  await admin.connect();
});
afterEach(async () => {
  for (const role of roles.splice(0)) {
    await admin.query(`drop owned by ${role}; drop role ${role}`);
  }
  await admin.end();
  await database.drop();
});

const sourceOf = (url: string): ConnectionSource => ({
  resolveUrl: () => Promise.resolve(url),
  clock: systemClock,
  logger: silentLogger,
});

/** A role that may log in; returns the URL with which it does. */
async function createLogin(attributes: string): Promise<{ role: string; url: string }> {
  const role = `test_${randomBytes(4).toString("hex")}`;
  await admin.query(`create role ${role} login password 'secret' ${attributes}`);
  roles.push(role);
  const url = new URL(database.url);
  url.username = role;
  url.password = "secret";
  return { role, url: url.href };
}

/** The whole way of a session, to see that the service can work. */
async function runSession(url: string): Promise<void> {
  const store = await connectStore(storeOptions(url));
  const session = newSession();
  await store.createSession(session);
  const workerId = randomUUID();
  await store.registerWorker({
    id: workerId,
    name: "w",
    host: "h",
    bootId: "b",
    pid: 1,
    pidStartTime: "1",
    slots: 1,
    version: "0",
    agents: [],
    leaseDurationMs: 60_000,
  });
  const [claimed] = await store.claimSessions({ workerId, limit: 1 });
  const owner = toOwner(claimed!);
  const result = await store.commit(owner, owner.lastSeq, {
    events: [output("x")],
    transition: { to: "completed", reason: "end_turn" },
  });
  expect(result).toMatchObject({ status: "ok" });
  const viewer = { userId: session.userId, role: "authenticated" } as const;
  expect(await store.readEvents(session.id, {}, viewer)).toHaveLength(4);
  const stranger = { userId: randomUUID(), role: "authenticated" } as const;
  expect(await store.readEvents(session.id, {}, stranger)).toEqual([]);
  await store.close();
}

describe("migrating", () => {
  it("applies each migration once, however many processes start at the same time", async () => {
    const applied = await Promise.all(range(5).map(() => migrateDatabase(sourceOf(database.url))));
    const versions = (await readMigrations()).map(({ version }) => version);
    expect(applied.flat().toSorted((a, b) => a - b)).toEqual(versions);
    const { rows } = await admin.query("select version from stint_migrations order by version");
    expect(rows.map(({ version }: { version: number }) => version)).toEqual(versions);
    await runSession(database.url);
  });

  it("changes nothing the second time", async () => {
    await migrateDatabase(sourceOf(database.url));
    expect(await migrateDatabase(sourceOf(database.url))).toEqual([]);
  });

  it("lets a role own everything that is neither superuser nor able to log in", async () => {
    await migrateDatabase(sourceOf(database.url));
    const { rows } = await admin.query(
      `select distinct r.rolname, r.rolsuper, r.rolcanlogin from pg_class c
       join pg_roles r on r.oid = c.relowner
       where c.relnamespace::regnamespace::text in ('public', 'stint')`,
    );
    expect(rows).toEqual([{ rolname: "stint_owner", rolsuper: false, rolcanlogin: false }]);
  });

  it("works by a role that owns the database and may create roles, but is no superuser", async () => {
    const { role, url } = await createLogin("createrole");
    await admin.query(`alter database ${new URL(url).pathname.slice(1)} owner to ${role}`);
    await admin.query(`grant stint_owner, service_role, authenticated, anon to ${role}`);
    await migrateDatabase(sourceOf(url));
    await runSession(url);
    await admin.query(`reassign owned by ${role} to current_user`);
  });

  it("keeps to what a Supabase project has", async () => {
    // There the roles and auth.uid() exist, and nobody made an owner for us.
    await admin.query(`
      create schema auth;
      create function auth.jwt() returns jsonb language sql stable as $$
        select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb $$;
      create function auth.uid() returns uuid language sql stable as $$
        select nullif(auth.jwt() ->> 'sub', '')::uuid $$;
      grant usage on schema auth to service_role, authenticated, anon;
      alter default privileges in schema public grant all on tables
        to service_role, authenticated, anon;
      create publication supabase_realtime`);
    await migrateDatabase(sourceOf(database.url));
    const { rows: owners } = await admin.query(
      `select distinct relowner = current_user::regrole as mine from pg_class
       where relnamespace::regnamespace::text in ('public', 'stint')`,
    );
    expect(owners).toEqual([{ mine: true }]);
    const { rows: published } = await admin.query(
      "select tablename from pg_publication_tables where pubname = 'supabase_realtime' order by 1",
    );
    expect(published).toEqual([{ tablename: "coding_sessions" }, { tablename: "session_events" }]);
    const { rows: rights } = await admin.query(
      `select grantee, privilege_type from information_schema.role_table_grants
       where table_schema = 'public' and grantee in ('anon', 'authenticated', 'service_role')
         and privilege_type <> 'SELECT'`,
    );
    expect(rights).toEqual([]);
    await runSession(database.url);
  });
});

describe("a database is refused", () => {
  it("that was never migrated, when a store connects", async () => {
    await expect(connectStore(storeOptions(database.url))).rejects.toMatchObject({
      code: "database_outdated",
    });
  });

  it("whose version is behind or ahead", async () => {
    await migrateDatabase(sourceOf(database.url));
    await admin.query("update stint_migrations set version = version + 1000000");
    await expect(migrateDatabase(sourceOf(database.url))).rejects.toMatchObject({
      code: "database_newer",
    });
    await expect(connectStore(storeOptions(database.url))).rejects.toMatchObject({
      code: "database_newer",
    });
    await admin.query("delete from stint_migrations where version > 1000001");
    await admin.query("update stint_migrations set version = 1");
    await expect(connectStore(storeOptions(database.url))).rejects.toMatchObject({
      code: "database_outdated",
    });
  });

  it("whose migrations had another content", async () => {
    await migrateDatabase(sourceOf(database.url));
    await admin.query("update stint_migrations set checksum = 'x' where version = 2");
    await expect(migrateDatabase(sourceOf(database.url))).rejects.toMatchObject({
      code: "migration_changed",
      fields: { version: 2 },
    });
    expect((await readMigrationStatus(sourceOf(database.url))).changed).toEqual([2]);
  });

  it("where roles may not be made, with the SQL that an administrator runs", async () => {
    const { url } = await createLogin("");
    const error = (await migrateDatabase(sourceOf(url)).catch(
      (thrown: unknown) => thrown,
    )) as StintError;
    expect(error.code).toBe("database_roles_missing");
    expect(error.message).not.toContain("secret");
    const sql = error.message.slice(error.message.indexOf("\n\n"));
    await admin.query(sql);
    await migrateDatabase(sourceOf(url));
    await runSession(url);
  });

  it.each([
    ["an unknown user", (url: URL) => (url.username = "nobody"), /database_auth_failed/],
    ["a port that nobody listens on", (url: URL) => (url.port = "1"), /database_unavailable/],
    ["an unknown database", (url: URL) => (url.pathname = "/none"), /database_unavailable/],
  ])("with %s, naming the host and not the password", async (_, change, code) => {
    const { url: text } = await createLogin("");
    const url = new URL(text);
    change(url);
    const error = (await connectStore(storeOptions(url.href)).catch(
      (thrown: unknown) => thrown,
    )) as StintError;
    expect(error.code).toMatch(code);
    expect(error.message).toContain(`127.0.0.1:${url.port}`);
    expect(`${error.message} ${String(error.cause)}`).not.toContain(url.password);
  });

  it("with a wrong password", async (context) => {
    const { url: text } = await createLogin("");
    const url = new URL(text);
    url.password = "wrong";
    const probe = new Client({ connectionString: url.href });
    const isTrusting = await probe.connect().then(
      () => true,
      () => false,
    );
    if (isTrusting) await probe.end();
    if (isTrusting) context.skip("the server lets everybody in");
    await expect(connectStore(storeOptions(url.href))).rejects.toMatchObject({
      code: "database_auth_failed",
      message: expect.not.stringContaining("wrong"),
    });
  });

  it("with a URL that is none", async () => {
    for (const url of ["postgres", "mysql://x", "secret"]) {
      await expect(connectStore(storeOptions(url))).rejects.toMatchObject({
        code: "config_invalid",
        message: expect.not.stringContaining("secret"),
      });
    }
  });
});

describe("the status of a database", () => {
  it("tells what is applied and what is not, before and after", async () => {
    const before = await readMigrationStatus(sourceOf(database.url));
    expect(before).toMatchObject({ current: 0, applied: [], changed: [] });
    expect(before.pending).toHaveLength(before.latest);
    await migrateDatabase(sourceOf(database.url));
    const after = await readMigrationStatus(sourceOf(database.url));
    expect(after).toMatchObject({ current: after.latest, pending: [], changed: [] });
    expect(after.applied).toMatchObject(before.pending);
  });
});
