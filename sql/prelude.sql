-- What a bare Postgres lacks and a Supabase project already has: the roles of the API, auth.uid()
-- and the publication. Run before the migrations, only where something is missing, by a role that
-- may create roles. Every statement may run again.
--
-- Several databases of one cluster share their roles, so a creation may lose a race: that is fine.

do $$
declare
  wanted text;
begin
  foreach wanted in array array['stint_owner', 'service_role', 'authenticated', 'anon'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      begin
        execute pg_catalog.format('create role %I nologin noinherit', wanted);
      exception when duplicate_object or unique_violation then null;
      end;
    end if;
    -- The connecting role works as each of them in turn. From Postgres 16 on, membership alone, which
    -- comes with creating a role, is no right to do so.
    if not pg_catalog.pg_has_role(current_user, wanted,
         case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end)
    then
      begin
        execute pg_catalog.format('grant %I to current_user', wanted);
      exception when unique_violation then null;
      end;
    end if;
  end loop;
end $$;

create schema if not exists auth;

create or replace function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
$$;
create or replace function auth.uid() returns uuid language sql stable as $$
  select nullif(auth.jwt() ->> 'sub', '')::uuid
$$;
create or replace function auth.role() returns text language sql stable as $$
  select auth.jwt() ->> 'role'
$$;

grant usage on schema auth to stint_owner, service_role, authenticated, anon;
grant execute on all functions in schema auth to stint_owner, service_role, authenticated, anon;
grant usage, create on schema public to stint_owner;
grant usage on schema public to service_role, authenticated, anon;

do $$
begin
  execute pg_catalog.format('grant create on database %I to stint_owner', current_database());
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    begin
      create publication supabase_realtime;
    exception when duplicate_object or unique_violation then null;
    end;
  end if;
  -- The migration adds the tables; only the owner of a publication may.
  if not pg_catalog.pg_has_role('stint_owner',
       (select pubowner from pg_catalog.pg_publication where pubname = 'supabase_realtime'),
       'usage') then
    alter publication supabase_realtime owner to stint_owner;
  end if;
end $$;
