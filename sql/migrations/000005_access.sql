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

do $$
begin
  if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    alter publication supabase_realtime add table public.coding_sessions, public.session_events;
  end if;
end $$;
