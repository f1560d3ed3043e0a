import type pg from "pg";

const COLUMNS_MAX = 110;
const SCHEMAS = "('public', 'stint')";

/**
 * Each query yields one statement a row. Nothing in them depends on the version of Postgres, on
 * object ids or on who runs them.
 */
const SECTIONS: readonly (readonly [title: string, query: string])[] = [
  [
    "Types",
    `select format('create type %s as (%s);', t.oid::regtype, string_agg(
        format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum))
     from pg_type t join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
     join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where t.typnamespace = 'stint'::regnamespace group by t.oid order by t.typname`,
  ],
  [
    "Tables",
    `select format(E'create table %s (\\n%s\\n)%s;', c.oid::regclass, string_agg(
        format('  %I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
          case when a.attidentity = 'a' then ' generated always as identity' else '' end,
          coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
          case when a.attnotnull then ' not null' else '' end), E',\\n' order by a.attnum),
        coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''))
     from pg_class c
     join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     where c.relkind = 'r' and c.relnamespace::regnamespace::text in ${SCHEMAS}
     group by c.oid, c.reloptions order by c.oid::regclass::text`,
  ],
  [
    "Constraints",
    `select format('alter table %s add constraint %I %s;', conrelid::regclass, conname,
        pg_get_constraintdef(oid))
     from pg_constraint
     where connamespace::regnamespace::text in ${SCHEMAS} and contype in ('p', 'u', 'c', 'f', 'x')
     order by conrelid::regclass::text, conname`,
  ],
  [
    "Indexes",
    `select pg_get_indexdef(i.indexrelid) || ';'
     from pg_index i join pg_class c on c.oid = i.indexrelid
     where c.relnamespace::regnamespace::text in ${SCHEMAS}
       and not exists (select from pg_constraint where conindid = i.indexrelid)
     order by c.relname`,
  ],
  [
    "Functions",
    `select rtrim(pg_get_functiondef(oid), E'\\n') || ';'
     from pg_proc where pronamespace = 'stint'::regnamespace
     order by proname, pg_get_function_identity_arguments(oid)`,
  ],
  [
    "Triggers",
    `select pg_get_triggerdef(t.oid) || ';'
     from pg_trigger t join pg_class c on c.oid = t.tgrelid
     where not t.tgisinternal and c.relnamespace::regnamespace::text in ${SCHEMAS}
     order by c.relname, t.tgname`,
  ],
  [
    "Row-level security",
    `select format('alter table %s enable row level security%s;', oid::regclass,
        case when relforcerowsecurity then ', force row level security' else '' end)
     from pg_class where relrowsecurity and relnamespace::regnamespace::text in ${SCHEMAS}
     union all
     select format('create policy %I on %I.%I for %s to %s%s%s;', policyname, schemaname, tablename,
        lower(cmd), array_to_string(roles, ', '), ' using (' || qual || ')',
        ' with check (' || with_check || ')')
     from pg_policies where schemaname in ${SCHEMAS} order by 1`,
  ],
  [
    "Rights, beside those of the owner",
    `select format('grant %s on %s to %s;', string_agg(lower(privilege_type), ', '
          order by privilege_type), object, coalesce(nullif(grantee, 0)::regrole::text, 'public'))
     from (
       select 'table ' || oid::regclass as object, (aclexplode(relacl)).*, relowner as owner
       from pg_class where relkind = 'r' and relnamespace::regnamespace::text in ${SCHEMAS}
       union all
       select 'function ' || replace(oid::regprocedure::text, ',', ', '), (aclexplode(proacl)).*, proowner
       from pg_proc where pronamespace = 'stint'::regnamespace
       union all
       select 'schema ' || nspname, (aclexplode(nspacl)).*, nspowner
       from pg_namespace where nspname = 'stint'
     ) rights where grantee <> owner group by object, grantee order by object, grantee::regrole::text`,
  ],
  [
    "Publications",
    `select format('alter publication %I add table %I.%I;', pubname, schemaname, tablename)
     from pg_publication_tables where schemaname in ${SCHEMAS} order by 1`,
  ],
];

/** Writes the whole schema of a migrated database as SQL for reading. */
export async function dumpSchema(client: pg.Client): Promise<string> {
  // Names come with their schema, whoever asks.
  await client.query("set search_path = ''");
  const parts = [
    "-- The whole schema, as the migrations leave it; for reading only. Written by",
    "-- npx vitest run test/conformance/store/schema.test.ts -u",
  ];
  for (const [title, text] of SECTIONS) {
    const { rows } = await client.query<[string]>({ text, rowMode: "array" } as never);
    parts.push(`\n-- ${title}\n`, ...rows.map(([statement]) => wrapLines(statement)));
  }
  await client.query("reset search_path");
  return `${parts.join("\n")}\n`;
}

/** Breaks what is longer than a screen at its last space; the text is for reading. */
function wrapLines(statement: string): string {
  return statement.split("\n").map(wrapLine).join("\n");
}

function wrapLine(line: string): string {
  if (line.length <= COLUMNS_MAX) return line;
  const end = line.lastIndexOf(" ", COLUMNS_MAX);
  if (end <= 4) return line;
  return `${line.slice(0, end)}\n${wrapLine(`    ${line.slice(end + 1)}`)}`;
}
