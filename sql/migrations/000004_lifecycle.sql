-- Creating, claiming, commanding and sweeping sessions. One function per statement of the service;
-- each is one transaction, so a crash leaves it done or undone.

-- Locks a session row for a command. ST003 when there is none.
create function stint.lock_session(p_session uuid) returns public.coding_sessions
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session public.coding_sessions;
begin
  select * into session from public.coding_sessions where id = p_session for update;
  if session.id is null then
    raise exception 'no session %', p_session using errcode = 'ST003';
  end if;
  return session;
end $$;

-- Creates a session; with a key, a repetition answers the first one.
create function stint.create_session(
  p_session jsonb, p_key text default null, p_request_hash text default null,
  out session public.coding_sessions, out is_replay boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  known stint.idempotency_keys;
begin
  is_replay := false;
  if p_key is not null then
    -- A concurrent call with the same key waits here for the first one to commit.
    insert into stint.idempotency_keys (user_id, key, request_hash, session_id)
    values ((p_session ->> 'userId')::uuid, p_key, p_request_hash, (p_session ->> 'id')::uuid)
    on conflict (user_id, key) do nothing;
    if not found then
      select * into known from stint.idempotency_keys
      where user_id = (p_session ->> 'userId')::uuid and key = p_key;
      if known.request_hash <> p_request_hash then
        raise exception 'the key % was used for another request', p_key using errcode = 'ST010';
      end if;
      select * into session from public.coding_sessions where id = known.session_id;
      is_replay := true;
      return;
    end if;
  end if;
  insert into public.coding_sessions (id, user_id, agent, model, prompt, script, workspace,
    in_place_path, recovery, limits, idle_timeout_ms, paused_timeout_ms, queue_timeout_ms,
    deadline_at, keep_open, metadata, permissions, parent_id)
  values ((p_session ->> 'id')::uuid, (p_session ->> 'userId')::uuid, p_session ->> 'agent',
    p_session ->> 'model', p_session ->> 'prompt', nullif(p_session -> 'script', 'null'),
    p_session -> 'workspace', p_session ->> 'inPlacePath', p_session ->> 'recovery',
    p_session -> 'limits', (p_session -> 'limits' ->> 'idleTimeoutMs')::bigint,
    (p_session -> 'limits' ->> 'pausedTimeoutMs')::bigint,
    (p_session -> 'limits' ->> 'queueTimeoutMs')::bigint,
    now() + (p_session -> 'limits' ->> 'deadlineMs')::bigint * interval '1 millisecond',
    (p_session ->> 'keepOpen')::boolean, p_session -> 'metadata',
    coalesce(p_session -> 'permissions', '[]'), (p_session ->> 'parentId')::uuid)
  returning * into session;
end $$;

-- Registers a worker with a fresh lease; a known id starts over.
create function stint.register_worker(p_worker jsonb) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into stint.workers (id, name, host, boot_id, pid, pid_start_time, slots, version, agents,
    workspace_host, snapshot_stores, lease_duration_ms, lease_expires_at)
  values ((p_worker ->> 'id')::uuid, p_worker ->> 'name', p_worker ->> 'host',
    p_worker ->> 'bootId', (p_worker ->> 'pid')::integer, p_worker ->> 'pidStartTime',
    (p_worker ->> 'slots')::integer, p_worker ->> 'version',
    array(select jsonb_array_elements_text(p_worker -> 'agents')), p_worker ->> 'workspaceHost',
    array(select jsonb_array_elements_text(coalesce(p_worker -> 'snapshotStores', '[]'))),
    (p_worker ->> 'leaseDurationMs')::bigint,
    clock_timestamp() + (p_worker ->> 'leaseDurationMs')::bigint * interval '1 millisecond')
  on conflict (id) do nothing
$$;

-- Renews a lease that still lives, and answers what the worker still holds: what it runs, and what
-- it keeps frozen. A lease that has run
-- out is never revived: is_live is false and the worker must stop everything.
create function stint.heartbeat(
  p_worker uuid, p_lease_ms bigint, out is_live boolean, out session_ids uuid[], out epochs bigint[]
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update stint.workers
  set heartbeat_at = clock_timestamp(), lease_duration_ms = p_lease_ms,
    lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond'
  where id = p_worker and lease_expires_at > clock_timestamp() and dead_at is null;
  is_live := found;
  select coalesce(array_agg(s.id order by s.id), '{}'), coalesce(array_agg(s.epoch order by s.id), '{}')
  into session_ids, epochs
  from (
    select a.id, a.epoch from public.coding_sessions a
    where is_live and a.worker_id = p_worker and a.status = 'active'
    union all
    select f.id, f.epoch from public.coding_sessions f
    where is_live and f.hold_worker = p_worker and f.hold_until > now()
  ) s;
end $$;

-- Declares a worker dead before its lease has run out. The caller has proof: it runs on the same boot
-- and pid namespace of the same host, and the process with that pid and start time is gone.
create function stint.bury_worker(p_worker uuid, p_boot_id text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update stint.workers set dead_at = clock_timestamp()
  where id = p_worker and boot_id = p_boot_id and boot_id <> '' and dead_at is null;
  return found;
end $$;

create function stint.remove_worker(p_worker uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from stint.workers where id = p_worker
$$;

-- A session just taken, and how long it had waited since it became due.
create type stint.claimed_session as (session public.coding_sessions, queued_ms bigint);

-- Takes due sessions for a worker whose lease lives now: first those that were interrupted, then
-- the queue, each oldest first. What another worker is taking is skipped. A session that has begun
-- goes on where its files are, or wherever its last state can be read; while a worker keeps it frozen,
-- only there. What is frozen here goes on at once, beyond the limit too: its processes are here anyway.
create function stint.claim_sessions(
  p_worker uuid, p_limit integer, p_session uuid default null, p_agents text[] default null
) returns setof stint.claimed_session
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  due record;
  session public.coding_sessions;
  remaining integer := p_limit;
  here text;
  readable text[];
begin
  -- The lock keeps the lease from being removed between this check and the claim.
  select workspace_host, snapshot_stores into here, readable from stint.workers
  where id = p_worker and lease_expires_at > clock_timestamp() and dead_at is null
  for key share;
  if not found then
    return;
  end if;

  for due in
    select id, resume_at as due_at from public.coding_sessions s
    where hold_worker = p_worker and hold_until > now() and resume_at <= now()
      and (p_session is null or id = p_session) and (p_agents is null or agent = any (p_agents))
      and not exists (select from stint.inbox i
        where i.session_id = s.id and i.consumed_at is null and i.kind <> 'message')
    order by resume_at for update skip locked
  loop
    update public.coding_sessions set status = 'active', reason = 'resumed', worker_id = p_worker
    where id = due.id returning * into session;
    remaining := greatest(0, remaining - 1);
    return next row(session, (extract(epoch from now() - due.due_at) * 1000)::bigint);
  end loop;

  for due in
    select id, resume_at as due_at from public.coding_sessions s
    where status = 'paused' and resume_at <= now()
      and (s.hold_until is null or s.hold_until <= now() or not exists (select from stint.workers w
        where w.id = s.hold_worker and w.lease_expires_at > clock_timestamp() and w.dead_at is null))
      and (s.workspace_host is null or s.workspace_host = here or s.snapshot_store = any (readable))
      and (p_session is null or id = p_session) and (p_agents is null or agent = any (p_agents))
      and not exists (select from stint.inbox i
        where i.session_id = s.id and i.consumed_at is null and i.kind <> 'message')
    order by resume_at limit remaining for update skip locked
  loop
    update public.coding_sessions set status = 'active', reason = 'resumed', worker_id = p_worker
    where id = due.id returning * into session;
    remaining := remaining - 1;
    return next row(session, (extract(epoch from now() - due.due_at) * 1000)::bigint);
  end loop;

  for due in
    select id, created_at as due_at from public.coding_sessions
    where status = 'pending'
      and (p_session is null or id = p_session) and (p_agents is null or agent = any (p_agents))
    order by created_at limit remaining for update skip locked
  loop
    update public.coding_sessions set status = 'active', reason = 'started', worker_id = p_worker
    where id = due.id returning * into session;
    return next row(session, (extract(epoch from now() - due.due_at) * 1000)::bigint);
  end loop;
end $$;

-- Whether a person has asked for a pause that nobody has carried out yet.
create function stint.is_asked_to_pause(p_session uuid) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from stint.inbox
    where session_id = p_session and kind = 'pause' and consumed_at is null)
$$;

-- Ends or pauses a session over its owner's head, in one transaction: what the log must say before
-- a terminal state, then the transition with its epoch. A pause that a person asked for, and that the
-- owner did not live to carry out, is carried out by this one: the session is held.
create function stint.force_transition(
  p_session uuid, p_to text, p_reason text, p_message text, p_resume_ms bigint default null
) returns public.coding_sessions
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session public.coding_sessions := stint.lock_session(p_session);
begin
  if not stint.is_valid_transition(session.status, p_to) then
    raise exception 'Invalid state transition: % → %', session.status, p_to
      using errcode = 'ST001', detail = format('session %s', p_session);
  end if;
  if p_to in ('failed', 'expired') then
    perform stint.append_locked(p_session, 'error', jsonb_build_object(
      'code', p_reason, 'message', p_message, 'stats', stint.stats_of(session)));
  end if;
  update public.coding_sessions set
    status = p_to, reason = p_reason,
    resume_at = case when p_to = 'paused' and not stint.is_asked_to_pause(p_session)
      then now() + p_resume_ms * interval '1 millisecond' end,
    error_code = case when p_to = 'paused' then error_code else p_reason end,
    error_message = case when p_to = 'paused' then error_message else p_message end
  where id = p_session returning * into session;
  -- Requests that this transition answers or makes pointless.
  update stint.inbox set consumed_at = now()
  where session_id = p_session and consumed_at is null
    and (kind = 'pause' or stint.is_terminal(p_to));
  return session;
end $$;

-- Puts a control request into the inbox of a running agent, once.
create function stint.request_control(p_session uuid, p_kind text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into stint.inbox (id, session_id, kind)
  select gen_random_uuid(), p_session, p_kind
  where not exists (
    select from stint.inbox where session_id = p_session and kind = p_kind and consumed_at is null
  )
$$;

-- Asks for a pause: the owner of a running session carries it out; one that waits to be taken up
-- again is held from now on.
create function stint.pause_session(p_session uuid) returns public.coding_sessions
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session public.coding_sessions := stint.lock_session(p_session);
begin
  if session.status = 'active' then
    perform stint.request_control(p_session, 'pause');
  elsif session.status = 'paused' then
    update public.coding_sessions set resume_at = null where id = p_session returning * into session;
  else
    raise exception 'Invalid state transition: % → paused', session.status
      using errcode = 'ST001', detail = format('session %s', p_session);
  end if;
  return session;
end $$;

-- Makes a paused session claimable. Limits given replace those of the same name. A pause that was asked
-- for before is over: nobody holds the session for it afterwards.
create function stint.resume_session(p_session uuid, p_limits jsonb default null)
returns public.coding_sessions
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session public.coding_sessions := stint.lock_session(p_session);
begin
  if session.status <> 'paused' then
    raise exception 'Invalid state transition: % → active', session.status
      using errcode = 'ST001', detail = format('session %s', p_session);
  end if;
  update public.coding_sessions set resume_at = least(coalesce(resume_at, now()), now()),
    limits = case when p_limits is null then limits else limits || p_limits end
  where id = p_session returning * into session;
  update stint.inbox set consumed_at = now()
  where session_id = p_session and kind = 'pause' and consumed_at is null;
  return session;
end $$;

-- Ends a session: one that runs through its owner, any other at once.
create function stint.cancel_session(p_session uuid) returns public.coding_sessions
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session public.coding_sessions := stint.lock_session(p_session);
  target text := case session.status when 'pending' then 'expired' else 'failed' end;
begin
  if session.status = 'active' then
    perform stint.request_control(p_session, 'cancel');
    return session;
  end if;
  if stint.is_terminal(session.status) then
    raise exception 'session % is % already', p_session, session.status using errcode = 'ST002';
  end if;
  return stint.force_transition(p_session, target, 'cancelled', 'the session was cancelled');
end $$;

-- Puts a message into the inbox; one that waits for input is taken up again. The row lock keeps it
-- from being accepted by a session that is just ending. A message that was sent before changes
-- nothing, not even of a session that has ended since.
create function stint.send_message(
  p_session uuid, p_id uuid, p_user uuid, p_text text, p_items_max integer
) returns public.coding_sessions
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session public.coding_sessions := stint.lock_session(p_session);
  sent_text text;
begin
  select body into sent_text from stint.inbox where id = p_id;
  if found then
    if sent_text <> p_text then
      raise exception 'the key was used for another message' using errcode = 'ST010';
    end if;
    return session;
  end if;
  if stint.is_terminal(session.status) then
    raise exception 'session % is %: it takes no messages', p_session, session.status
      using errcode = 'ST002';
  end if;
  if (select count(*) from stint.inbox where session_id = p_session and consumed_at is null)
    >= p_items_max then
    raise exception 'the inbox of session % holds % messages', p_session, p_items_max
      using errcode = 'ST008';
  end if;
  insert into stint.inbox (id, session_id, kind, body, user_id)
  values (p_id, p_session, 'message', p_text, p_user);
  if session.status = 'paused' and session.waiting_for = 'input' then
    update public.coding_sessions set resume_at = now() where id = p_session returning * into session;
  end if;
  return session;
end $$;

create function stint.record_activity(p_sid uuid[], p_epoch bigint[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update public.coding_sessions c set last_activity_at = now()
  from unnest(p_sid, p_epoch) b(sid, epoch)
  where c.id = b.sid and c.epoch = b.epoch and c.status = 'active'
$$;

-- What a transition of a sweep tells the log and the metrics.
create type stint.transition_notice as (
  session_id uuid, from_state text, to_state text, reason text, epoch bigint, last_seq bigint
);

-- Pauses sessions that are ACTIVE without a live lease, or whose worker is proved dead. After a start
-- of Postgres no lease is judged for one lease duration: its worker may have been unable to renew it.
create function stint.sweep_lost_leases() returns setof stint.transition_notice
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  lost record;
  session public.coding_sessions;
begin
  for lost in
    select s.id
    from public.coding_sessions s left join stint.workers w on w.id = s.worker_id
    where s.status = 'active' and (w.id is null or w.dead_at is not null or (w.lease_expires_at <= clock_timestamp()
      and pg_postmaster_start_time() + w.lease_duration_ms * interval '1 millisecond' <= now()))
    limit 1000 for update of s skip locked
  loop
    begin
      session := stint.force_transition(lost.id, 'paused', 'worker_lost', 'the worker lost its lease', 0);
    exception when others then
      -- One session that cannot be paused must not keep all others from being taken over. It is
      -- found again by the next sweep.
      raise warning 'session % lost its worker and cannot be paused: %', lost.id, sqlerrm;
      continue;
    end;
    return next row(session.id, 'active'::text, session.status, session.reason, session.epoch,
      session.last_seq);
  end loop;
  -- Nobody asks any more who they were.
  delete from stint.workers w
  where w.lease_expires_at < now() - interval '1 hour' and not exists (
    select from public.coding_sessions s where s.worker_id = w.id and s.status = 'active');
end $$;

-- Expires what is due: queued or paused too long, past its deadline, or idle. A session is not idle
-- while a tool or model call runs within its own limit; then, or when there was activity, it is
-- only looked at again later. due_count says how many were looked at, notices what became of those
-- that ended: an array of transition_notice.
create function stint.sweep_idle_sessions(
  p_limit integer, out due_count integer, out notices jsonb
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  due public.coding_sessions;
  session public.coding_sessions;
  why text;
  next_at timestamptz;
  is_busy boolean;
begin
  due_count := 0;
  notices := '[]';
  for due in
    select * from public.coding_sessions
    where status in ('pending', 'active', 'paused') and sweep_at <= now()
    order by sweep_at limit p_limit for update skip locked
  loop
    due_count := due_count + 1;
    is_busy := due.status = 'active' and (
      exists (select from stint.tool_calls
        where session_id = due.id and status = 'open' and deadline_at > now())
      or exists (select from stint.model_calls
        where session_id = due.id and status = 'open' and epoch = due.epoch and deadline_at > now())
      or exists (select from stint.steps
        where session_id = due.id and finished_at is null and epoch = due.epoch
          and deadline_at > now())
      or exists (select from stint.permissions
        where session_id = due.id and status = 'pending' and expires_at > now()));
    next_at := case due.status
      when 'pending' then due.created_at + due.queue_timeout_ms * interval '1 millisecond'
      when 'paused' then due.paused_at + due.paused_timeout_ms * interval '1 millisecond'
      else case when is_busy then now() else due.last_activity_at end
        + due.idle_timeout_ms * interval '1 millisecond'
    end;
    why := case
      when due.deadline_at <= now() then 'deadline'
      when next_at <= now() then case due.status
        when 'pending' then 'queue_timeout'
        when 'paused' then 'paused_timeout'
        else 'idle_timeout'
      end
    end;
    if why is null then
      update public.coding_sessions set sweep_at = least(next_at, due.deadline_at) where id = due.id;
    else
      session := stint.force_transition(due.id, 'expired', why, case why
        when 'deadline' then 'the session passed its deadline'
        when 'queue_timeout' then 'no worker took the session in time'
        when 'paused_timeout' then 'the session was paused for too long'
        else 'the agent did nothing for too long'
      end);
      notices := notices || to_jsonb(row(session.id, due.status, session.status, session.reason,
        session.epoch, session.last_seq)::stint.transition_notice);
    end if;
  end loop;
end $$;

-- Carries out control requests that the owner left lying, or that have no owner any more.
create function stint.sweep_control_requests(p_silence_ms bigint) returns setof stint.transition_notice
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  request record;
  session public.coding_sessions;
  was text;
begin
  for request in
    select i.session_id, i.kind, s.status
    from stint.inbox i join public.coding_sessions s on s.id = i.session_id
    where i.consumed_at is null and i.kind in ('pause', 'cancel')
      and (s.status <> 'active' or i.created_at <= now() - p_silence_ms * interval '1 millisecond')
    order by i.kind limit 1000 for update of s skip locked
  loop
    select status into was from public.coding_sessions where id = request.session_id;
    if request.kind = 'cancel' and was in ('active', 'paused') then
      session := stint.force_transition(request.session_id, 'failed', 'cancelled',
        'the session was cancelled');
    elsif request.kind = 'pause' and was = 'active' then
      session := stint.force_transition(request.session_id, 'paused', 'user',
        'a user asked for a pause');
    else
      -- Already paused or over: a pause holds it, so that no worker takes it up by itself.
      update public.coding_sessions set resume_at = null
      where id = request.session_id and status = 'paused' and request.kind = 'pause';
      update stint.inbox set consumed_at = now()
      where session_id = request.session_id and consumed_at is null and kind = request.kind;
      continue;
    end if;
    return next row(session.id, was, session.status, session.reason, session.epoch, session.last_seq);
  end loop;
end $$;
