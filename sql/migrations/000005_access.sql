-- Who may read and call what. Users read their own rows; the service reads all and changes them
-- only through functions; the owner of the tables is bound by the same policies.

alter table public.coding_sessions enable row level security, force row level security;
alter table public.session_events enable row level security, force row level security;

create policy owner_all on public.coding_sessions to current_user using (true) with check (true);
create policy owner_all on public.session_events to current_user using (true) with check (true);
create policy service_reads on public.coding_sessions for select to service_role using (true);
create policy service_reads on public.session_events for select to service_role using (true);
-- The sub-selects are evaluated once a statement, not once a row.
create policy users_read_own on public.coding_sessions for select to authenticated
  using (user_id = (select auth.uid()));
create policy users_read_own on public.session_events for select to authenticated
  using (session_id in (
    select s.id from public.coding_sessions s where s.user_id = (select auth.uid())));

revoke all on public.coding_sessions, public.session_events from public, anon, authenticated, service_role;
grant select on public.coding_sessions, public.session_events to authenticated, service_role;

revoke all on schema stint from public;
grant usage on schema stint to service_role;
revoke all on all tables in schema stint from public, anon, authenticated, service_role;
grant select on all tables in schema stint to service_role;
revoke all on all functions in schema stint from public, anon, authenticated, service_role;
grant execute on function
  stint.create_session, stint.register_worker, stint.heartbeat, stint.remove_worker, stint.bury_worker,
  stint.claim_sessions, stint.append_events, stint.append_unowned, stint.force_transition,
  stint.pause_session, stint.resume_session, stint.cancel_session, stint.send_message,
  stint.record_activity, stint.sweep_lost_leases, stint.sweep_idle_sessions,
  stint.sweep_control_requests
to service_role;

-- Deleting goes through a function: the service has no right to write tables.
create function stint.delete_session(p_session uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from public.coding_sessions where id = p_session;
  return found;
end $$;
revoke all on function stint.delete_session from public, anon, authenticated;
grant execute on function stint.delete_session to service_role;

-- Files of users: the service alone reads them, whoever is granted the schema one day.
alter table stint.snapshot_parts enable row level security, force row level security;
alter table stint.snapshot_chunks enable row level security, force row level security;
create policy owner_all on stint.snapshot_parts to current_user using (true) with check (true);
create policy owner_all on stint.snapshot_chunks to current_user using (true) with check (true);
create policy service_reads on stint.snapshot_parts for select to service_role using (true);
create policy service_reads on stint.snapshot_chunks for select to service_role using (true);

-- Keeps the session from being deleted, or taken by another owner, while something of it is written.
-- Does not wait for appends, nor they for it.
create function stint.hold_owned(p_session uuid, p_epoch bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform from public.coding_sessions
  where id = p_session and epoch = p_epoch and status || '' = 'active' for key share;
  if not found then
    raise exception 'epoch % does not own session %', p_epoch, p_session using errcode = 'ST009';
  end if;
end $$;

-- Writes one piece of an upload; the first one clears away what earlier uploads have left unfinished.
create function stint.put_snapshot_chunk(
  p_session uuid, p_epoch bigint, p_part uuid, p_ordinal integer, p_bytes bytea
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform stint.hold_owned(p_session, p_epoch);
  if p_ordinal = 0 then
    delete from stint.snapshot_chunks c
    where c.session_id = p_session and not exists (
      select from stint.snapshot_parts p where p.session_id = p_session and p.id = c.part_id);
  end if;
  insert into stint.snapshot_chunks (session_id, part_id, ordinal, bytes)
  values (p_session, p_part, p_ordinal, p_bytes)
  on conflict (session_id, part_id, ordinal) do update set bytes = excluded.bytes;
end $$;

-- Makes an upload count; refused unless all of its bytes are there.
create function stint.finish_snapshot_part(
  p_session uuid, p_epoch bigint, p_part uuid, p_snapshot text, p_size_bytes bigint, p_sha256 text,
  p_about jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  stored bigint;
begin
  perform stint.hold_owned(p_session, p_epoch);
  select coalesce(sum(length(bytes)), 0) into stored from stint.snapshot_chunks
  where session_id = p_session and part_id = p_part;
  if stored <> p_size_bytes then
    raise exception 'part % of session % has % bytes, not %', p_part, p_session, stored, p_size_bytes
      using errcode = '22023';
  end if;
  insert into stint.snapshot_parts (session_id, id, snapshot_id, size_bytes, sha256, about)
  values (p_session, p_part, p_snapshot, p_size_bytes, p_sha256, p_about)
  on conflict (session_id, id) do nothing;
end $$;

create function stint.remove_snapshot_parts(p_session uuid, p_epoch bigint, p_parts uuid[])
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform stint.hold_owned(p_session, p_epoch);
  delete from stint.snapshot_parts where session_id = p_session and id = any (p_parts);
  delete from stint.snapshot_chunks where session_id = p_session and part_id = any (p_parts);
end $$;

-- The states of these sessions are gone from their folder.
create function stint.finish_snapshot_removals(p_sessions uuid[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from stint.snapshot_removals where session_id = any (p_sessions)
$$;

-- The files of these sessions are gone from a host. One that was away for a year is not waited for.
create function stint.finish_workspace_removals(p_host text, p_sessions uuid[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from stint.workspace_removals where workspace_host = p_host and session_id = any (p_sessions);
  delete from stint.workspace_removals where (workspace_host, session_id) in (
    select r.workspace_host, r.session_id from stint.workspace_removals r
    where r.created_at < now() - interval '1 year'
    order by r.created_at limit 1000 for update skip locked);
end $$;

revoke all on function stint.hold_owned, stint.put_snapshot_chunk, stint.finish_snapshot_part,
  stint.remove_snapshot_parts, stint.finish_snapshot_removals, stint.finish_workspace_removals
from public, anon, authenticated, service_role;
grant execute on function stint.put_snapshot_chunk, stint.finish_snapshot_part,
  stint.remove_snapshot_parts, stint.finish_snapshot_removals, stint.finish_workspace_removals
to service_role;

do $$
begin
  if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    alter publication supabase_realtime add table public.coding_sessions, public.session_events;
  end if;
end $$;
