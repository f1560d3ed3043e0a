-- The rules that hold whoever asks: the owner in psql, the service, a user.
--
-- Errors of Stint, by SQLSTATE:
--   ST001 illegal_transition     ST002 session_terminal      ST003 session_not_found
--   ST004 inbox_not_empty        ST005 message taken before  ST006 log is immutable
--   ST007 session_not_terminal   ST008 inbox_full            ST009 stale_epoch
--   ST010 idempotency_key_reused ST011 call is not open

create function stint.is_valid_transition(p_from text, p_to text) returns boolean
language sql immutable as $$
  select case p_from
    when 'pending' then p_to in ('active', 'expired')
    when 'active' then p_to in ('paused', 'completed', 'failed', 'expired')
    when 'paused' then p_to in ('active', 'expired', 'failed')
    else false
  end
$$;

-- Whether a reason may lead to a state. A reason of one non-terminal state never leads to another:
-- so a reason left over from the last transition is told from one set for this.
create function stint.is_reason_for(p_reason text, p_to text) returns boolean
language sql immutable as $$
  select case p_to
    when 'active' then p_reason in ('started', 'resumed', 'external')
    when 'paused' then p_reason in ('user', 'shutdown', 'worker_lost', 'agent_lost',
      'awaiting_permission', 'awaiting_input', 'recovery_exhausted', 'budget_reached', 'backoff',
      'external')
    when 'completed' then p_reason in ('end_turn', 'external')
    when 'failed' then p_reason in ('cancelled', 'max_iterations', 'refusal', 'agent_error',
      'model_error', 'workspace_error', 'external')
    when 'expired' then p_reason in ('idle_timeout', 'paused_timeout', 'queue_timeout', 'deadline',
      'cancelled', 'external')
    else false
  end
$$;

-- A session starts pending, with its prompt as first event.
create function stint.guard_session_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.status <> 'pending' then
    raise exception 'Invalid state transition: (new) → %', new.status using errcode = 'ST001';
  end if;
  new.reason := 'created';
  new.epoch := 0;
  new.last_seq := 1;
  new.attempts := 0;
  new.active_ms := 0;
  new.worker_id := null;
  new.hold_worker := null;
  new.hold_until := null;
  new.waiting_for := null;
  new.resume_at := null;
  new.started_at := null;
  new.active_since := null;
  new.paused_at := null;
  new.completed_at := null;
  new.created_at := now();
  new.last_activity_at := now();
  new.sweep_at := least(now() + new.queue_timeout_ms * interval '1 millisecond', new.deadline_at);
  return new;
end $$;

create trigger guard_session_insert before insert on public.coding_sessions
  for each row execute function stint.guard_session_insert();

create function stint.log_session_prompt() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into public.session_events (id, session_id, seq, event_type, event_data)
  values (gen_random_uuid(), new.id, 1, 'user_message',
    jsonb_build_object('text', new.prompt, 'userId', new.user_id));
  return null;
end $$;

create trigger log_session_prompt after insert on public.coding_sessions
  for each row execute function stint.log_session_prompt();

-- Attempts in a row, up to the present one, that were lost without a model step or a tool outcome.
-- One that ended well, or that a person resumed after the budget was used up, starts a new count; one
-- that ended by no fault of the session (it backed off, or the database was restarted) counts nothing.
create function stint.count_fruitless_attempts(p_session uuid) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select count(*) from stint.attempts a
  where a.session_id = p_session and not a.refunded and a.epoch > coalesce((
    select max(b.epoch) from stint.attempts b
    where b.session_id = p_session and (b.progress or b.ended_reason = 'recovery_exhausted'
      or b.refunded and b.ended_reason not in ('backoff', 'worker_lost', 'agent_lost'))), 0)
$$;

-- By how many the attempts lost without progress outnumber those with it, counted from whichever
-- attempt gives most: what a session that gets ahead now and then may lose in all. Losses count here
-- whoever was at fault. Starts anew when a person resumes a session whose budget was used up.
create function stint.count_surplus_losses(p_session uuid) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(max(s.surplus), 0) from (
    select sum(case
        when a.progress then -1
        when not a.refunded or a.ended_reason in ('worker_lost', 'agent_lost') then 1
        else 0
      end) over (order by a.epoch desc) as surplus
    from stint.attempts a
    where a.session_id = p_session and a.epoch > coalesce((
      select max(b.epoch) from stint.attempts b
      where b.session_id = p_session and b.ended_reason = 'recovery_exhausted'), 0)
  ) s
$$;

-- The one place where a state changes: checks the step, bumps the epoch, writes the event, keeps
-- the times and the attempt. Whoever updates `status` gets all of it.
create function stint.guard_session_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  acting_worker uuid := case when new.status = 'active' then new.worker_id else old.worker_id end;
  is_refunded boolean := false;
  is_undeserved boolean := false;
begin
  if new.status = old.status then
    if stint.is_terminal(old.status) then
      raise exception 'session % is %: it never changes again', old.id, old.status
        using errcode = 'ST002';
    end if;
    raise exception 'epoch and last_seq of session % change only with a transition or an append',
      old.id using errcode = 'ST009';
  end if;
  if not stint.is_valid_transition(old.status, new.status) then
    raise exception 'Invalid state transition: % → %', old.status, new.status
      using errcode = 'ST001', detail = format('session %s', old.id);
  end if;

  if not stint.is_reason_for(new.reason, new.status) then
    new.reason := 'external';
  end if;
  new.epoch := old.epoch + 1;
  new.last_seq := greatest(new.last_seq, old.last_seq) + 1;
  new.last_activity_at := now();
  -- Only the transition that freezes a session makes a hold, for its own worker; any other ends it.
  if new.status <> 'paused' or old.worker_id is null then
    new.hold_until := null;
  end if;
  new.hold_worker := case when new.hold_until is not null then old.worker_id end;

  if old.status = 'active' then
    new.active_ms := old.active_ms
      + greatest(0, extract(epoch from now() - old.active_since) * 1000)::bigint;
    new.active_since := null;
    new.worker_id := null;
  end if;

  if new.status = 'active' then
    new.started_at := coalesce(old.started_at, now());
    new.active_since := now();
    new.resume_at := null;
    new.waiting_for := null;
    new.error_code := null;
    new.error_message := null;
    new.attempts := old.attempts + 1;
    new.sweep_at := least(now() + new.idle_timeout_ms * interval '1 millisecond', new.deadline_at);
    insert into stint.attempts (session_id, epoch, worker_id, workspace_host)
    values (new.id, new.epoch, new.worker_id,
      (select w.workspace_host from stint.workers w where w.id = new.worker_id));
  elsif new.status = 'paused' then
    new.paused_at := now();
    -- A session that only ever dies is held for a person, not tried for ever. What is lost with the
    -- database is not held against it at first; but it may be what takes the database down.
    if new.reason in ('worker_lost', 'agent_lost') then
      is_undeserved := exists (select from stint.attempts where session_id = new.id and epoch = old.epoch
        and started_at < pg_postmaster_start_time());
      if stint.count_fruitless_attempts(new.id) - is_undeserved::integer >= 5
        or stint.count_surplus_losses(new.id) >= 50 then
        new.reason := 'recovery_exhausted';
        new.resume_at := null;
        is_undeserved := false;
      end if;
    end if;
    new.sweep_at := least(now() + new.paused_timeout_ms * interval '1 millisecond', new.deadline_at);
    -- While a person is waited for, no worker takes it up; one that has answered meanwhile does not wait.
    if exists (select from stint.permissions where session_id = new.id and status = 'pending') then
      new.waiting_for := 'permission';
      new.resume_at := null;
    elsif new.reason = 'awaiting_permission' then
      new.waiting_for := null;
      new.resume_at := now();
    end if;
    is_refunded := new.reason in ('user', 'shutdown', 'awaiting_input', 'awaiting_permission',
      'budget_reached', 'backoff');
    if is_refunded then
      new.attempts := greatest(0, old.attempts - 1);
    end if;
    is_refunded := is_refunded or is_undeserved;
  else
    new.completed_at := now();
    new.resume_at := null;
    new.waiting_for := null;
    new.sweep_at := null;
    update stint.model_calls set status = 'lost', closed_at = now()
    where session_id = new.id and status = 'open';
    -- Nobody will establish what became of a call that is still open.
    update stint.tool_calls set status = 'unknown', closed_at = now()
    where session_id = new.id and status = 'open';
    update stint.permissions set status = 'lapsed', decided_at = now()
    where session_id = new.id and status = 'pending';
  end if;

  if old.status = 'active' then
    update stint.attempts
    set ended_at = now(), ended_state = new.status, ended_reason = new.reason,
      refunded = is_refunded
    where session_id = new.id and epoch = old.epoch;
  end if;

  insert into public.session_events (id, session_id, seq, event_type, event_data)
  values (gen_random_uuid(), new.id, new.last_seq, 'state_changed', jsonb_strip_nulls(
    jsonb_build_object('from', old.status, 'to', new.status, 'reason', new.reason,
      'epoch', new.epoch, 'workerId', acting_worker,
      'error', case when new.reason in ('backoff', 'budget_reached') and new.error_code is not null then
        jsonb_build_object('code', new.error_code, 'message', new.error_message) end)));
  return new;
end $$;

create function stint.is_terminal(p_status text) returns boolean
language sql immutable as $$ select p_status in ('completed', 'failed', 'expired') $$;

-- The condition is checked without entering the function: appends pay nothing for the guard.
create trigger guard_session_update before update on public.coding_sessions
  for each row when (
    old.status is distinct from new.status
    or old.epoch <> new.epoch
    or new.last_seq < old.last_seq
    or old.id <> new.id
    or old.completed_at is not null
  )
  execute function stint.guard_session_update();

-- The log is immutable; it goes only with its whole session.
create function stint.refuse_log_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'DELETE' then
    if not exists (
      select from old_rows o join public.coding_sessions s on s.id = o.session_id
    ) then
      return null;
    end if;
  end if;
  raise exception 'events are never changed: % on %', tg_op, tg_table_name using errcode = 'ST006';
end $$;

create trigger refuse_event_update before update on public.session_events
  for each statement execute function stint.refuse_log_change();
create trigger refuse_event_truncate before truncate on public.session_events
  for each statement execute function stint.refuse_log_change();
create trigger refuse_session_truncate before truncate on public.coding_sessions
  for each statement execute function stint.refuse_log_change();
create trigger refuse_event_delete after delete on public.session_events
  referencing old table as old_rows
  for each statement execute function stint.refuse_log_change();

create function stint.guard_session_delete() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not stint.is_terminal(old.status) then
    raise exception 'session % is %: only a finished one can be deleted', old.id, old.status
      using errcode = 'ST007';
  end if;
  return old;
end $$;

create trigger guard_session_delete before delete on public.coding_sessions
  for each row execute function stint.guard_session_delete();

create function stint.delete_session_rows() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from public.session_events e using old_rows o where e.session_id = o.id;
  insert into stint.workspace_removals (workspace_host, session_id)
  select distinct e.workspace_host, e.session_id from stint.attempts e join old_rows o on e.session_id = o.id
  where e.workspace_host is not null
  on conflict do nothing;
  delete from stint.attempts e using old_rows o where e.session_id = o.id;
  delete from stint.steps e using old_rows o where e.session_id = o.id;
  delete from stint.tool_calls e using old_rows o where e.session_id = o.id;
  delete from stint.model_calls e using old_rows o where e.session_id = o.id;
  delete from stint.inbox e using old_rows o where e.session_id = o.id;
  delete from stint.permissions e using old_rows o where e.session_id = o.id;
  delete from stint.raw_messages e using old_rows o where e.session_id = o.id;
  delete from stint.idempotency_keys e using old_rows o where e.session_id = o.id;
  delete from stint.snapshot_parts e using old_rows o where e.session_id = o.id;
  delete from stint.snapshot_chunks e using old_rows o where e.session_id = o.id;
  insert into stint.snapshot_removals (session_id, folder)
  select o.id, o.snapshot_folder from old_rows o where o.snapshot_folder is not null
  on conflict do nothing;
  return null;
end $$;

create trigger delete_session_rows after delete on public.coding_sessions
  referencing old table as old_rows
  for each statement execute function stint.delete_session_rows();
