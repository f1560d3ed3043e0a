-- Writing the log: by the owner of an active session (append_events) and, when nobody runs it,
-- under its row lock (append_unowned).

-- Inserts one event into a session whose row the caller has locked; returns its seq.
create function stint.append_locked(p_session uuid, p_type text, p_data jsonb) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  appended bigint;
begin
  update public.coding_sessions set last_seq = last_seq + 1, last_activity_at = now()
  where id = p_session returning last_seq into appended;
  insert into public.session_events (id, session_id, seq, event_type, event_data)
  values (gen_random_uuid(), p_session, appended, p_type, p_data);
  return appended;
end $$;

-- What the totals of a session look like in an event.
create function stint.stats_of(s public.coding_sessions) returns jsonb
language sql immutable as $$
  select jsonb_build_object('iterations', s.iterations, 'inputTokens', s.input_tokens,
    'outputTokens', s.output_tokens, 'cacheReadTokens', s.cache_read_tokens,
    'cacheWriteTokens', s.cache_write_tokens, 'reasoningTokens', s.reasoning_tokens,
    'toolCalls', s.tool_calls, 'modelCalls', s.model_calls, 'costUsd', s.cost_usd)
$$;

-- How long a session waits before it is tried again, in milliseconds, when something outside of it
-- is overloaded or away: twice as long after each wait without progress, or as long as it was asked
-- to. Null when it has waited for too long in all.
create function stint.plan_backoff(p_session uuid, p_plan jsonb) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select case when w.waited_ms + w.wait_ms <= (p_plan ->> 'timeoutMs')::float8 then w.wait_ms::bigint end
  from (
    select greatest(
        least((p_plan ->> 'maxMs')::float8, (p_plan ->> 'baseMs')::float8 * 2 ^ least(count(*), 30))
          * (0.5 + (p_plan ->> 'chance')::float8 / 2),
        (p_plan ->> 'retryAfterMs')::float8 * (1 + (p_plan ->> 'chance')::float8 / 10)) as wait_ms,
      coalesce(extract(epoch from now() - min(a.ended_at)) * 1000, 0)::float8 as waited_ms
    from stint.attempts a
    where a.session_id = p_session and a.ended_reason = 'backoff' and a.epoch > coalesce((
      select max(b.epoch) from stint.attempts b
      where b.session_id = p_session and (b.progress or b.ended_reason = 'recovery_exhausted')), 0)
  ) w
$$;

-- The part of a commit beside its events. The session row is locked and fenced by the caller.
create function stint.apply_commit(p_session uuid, p_epoch bigint, p_seq bigint, p_part jsonb)
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  part jsonb;
  changed integer;
  wait_ms bigint;
  frozen interval;
begin
  part := p_part -> 'stats';
  if part is not null then
    update public.coding_sessions set
      iterations = iterations + coalesce((part ->> 'iterations')::bigint, 0),
      input_tokens = input_tokens + coalesce((part ->> 'inputTokens')::bigint, 0),
      output_tokens = output_tokens + coalesce((part ->> 'outputTokens')::bigint, 0),
      cache_read_tokens = cache_read_tokens + coalesce((part ->> 'cacheReadTokens')::bigint, 0),
      cache_write_tokens = cache_write_tokens + coalesce((part ->> 'cacheWriteTokens')::bigint, 0),
      reasoning_tokens = reasoning_tokens + coalesce((part ->> 'reasoningTokens')::bigint, 0),
      tool_calls = tool_calls + coalesce((part ->> 'toolCalls')::bigint, 0),
      model_calls = model_calls + coalesce((part ->> 'modelCalls')::bigint, 0),
      cost_usd = case when part ->> 'costUsd' is null then cost_usd
        else coalesce(cost_usd, 0) + (part ->> 'costUsd')::double precision end
    where id = p_session;
  end if;

  if p_part ? 'workspacePath' or p_part ? 'agentSessionId' then
    update public.coding_sessions set
      workspace_path = coalesce(p_part ->> 'workspacePath', workspace_path),
      sandbox = coalesce(p_part -> 'sandbox', sandbox),
      -- Where a stored state may be gone on with anywhere, the files stay where they were last
      -- worked on until the worker here has made its own of that state: its next snapshot says so.
      workspace_host = case when p_part ? 'workspacePath' and snapshot_store is null then coalesce(
        (select w.workspace_host from stint.workers w where w.id = worker_id), workspace_host)
        else workspace_host end,
      -- From now on something of it may get there, whatever becomes of the attempt.
      snapshot_folder = case when p_part ? 'workspacePath' then coalesce(
        (select f from stint.workers w, unnest(w.snapshot_stores) f
          where w.id = worker_id and f like 'folder:%' limit 1), snapshot_folder)
        else snapshot_folder end,
      agent_session_id = coalesce(p_part ->> 'agentSessionId', agent_session_id)
    where id = p_session;
  end if;

  part := p_part -> 'inboxConsumed';
  if part is not null then
    update stint.inbox set consumed_at = now(), consumed_epoch = p_epoch
    where session_id = p_session and consumed_at is null
      and id in (select value::uuid from jsonb_array_elements_text(part));
    get diagnostics changed = row_count;
    if changed <> jsonb_array_length(part) then
      raise exception 'a message of session % was taken before', p_session using errcode = 'ST005';
    end if;
  end if;

  part := p_part -> 'beginStep';
  if part is not null then
    insert into stint.steps (session_id, iteration, epoch, inputs, deadline_at)
    values (p_session, (part ->> 'iteration')::integer, p_epoch, part -> 'inputs',
      now() + (part ->> 'timeoutMs')::bigint * interval '1 millisecond')
    on conflict (session_id, iteration) do update
      set epoch = excluded.epoch, begun_at = now(), deadline_at = excluded.deadline_at,
        inputs = excluded.inputs
      where steps.finished_at is null;
    update stint.inbox set delivered_iteration = (part ->> 'iteration')::integer
    where session_id = p_session and delivered_iteration is null
      and id in (select value::uuid from jsonb_array_elements_text(part -> 'inboxDelivered'));
  end if;

  part := p_part -> 'finishStep';
  if part is not null then
    update stint.steps set response = part -> 'response', usage = part -> 'usage', finished_at = now()
    where session_id = p_session and iteration = (part ->> 'iteration')::integer
      and finished_at is null;
    -- Told once more, an answer is no progress.
    if found then
      update stint.attempts set progress = true
      where session_id = p_session and epoch = p_epoch and not progress;
    end if;
  end if;

  part := p_part -> 'askPermission';
  if part is not null then
    insert into stint.permissions (id, session_id, request_hash, request, call_id, epoch, at_expiry,
      expires_at)
    values ((part ->> 'permissionId')::uuid, p_session, part ->> 'requestHash', part -> 'request',
      (part ->> 'callId')::uuid, p_epoch, part ->> 'atExpiry',
      now() + (part ->> 'timeoutMs')::bigint * interval '1 millisecond');
  end if;

  part := p_part -> 'bindPermission';
  if part is not null then
    update stint.permissions set call_id = (part ->> 'callId')::uuid
    where id = (part ->> 'permissionId')::uuid and session_id = p_session and used_at is null;
  end if;

  if p_part ? 'tellPermission' then
    update stint.permissions set told_at = now()
    where id = (p_part ->> 'tellPermission')::uuid and session_id = p_session and told_at is null;
  end if;

  if p_part ? 'usePermission' then
    update stint.permissions set used_at = now(), told_at = coalesce(told_at, now())
    where id = (p_part ->> 'usePermission')::uuid and session_id = p_session and used_at is null
      and status in ('allowed', 'denied');
    if not found then
      raise exception 'permission % of session % is not there to be used', p_part ->> 'usePermission',
        p_session using errcode = 'ST012';
    end if;
  end if;

  part := p_part -> 'openCall';
  if part is not null then
    insert into stint.tool_calls (id, session_id, iteration, ordinal, epoch, model_call_id, tool,
      input, has_effect, evidence, deadline_at)
    values ((part ->> 'callId')::uuid, p_session, (part ->> 'iteration')::integer,
      (part ->> 'ordinal')::integer, p_epoch, part ->> 'modelCallId', part ->> 'tool',
      part -> 'input', coalesce((part ->> 'hasEffect')::boolean, true), part -> 'evidence',
      now() + (part ->> 'timeoutMs')::bigint * interval '1 millisecond');
  end if;

  part := p_part -> 'closeCall';
  if part is not null then
    -- A state that was stored while it ran holds a part of it alone: the next one holds the rest.
    update stint.tool_calls set status = part ->> 'status', result = part -> 'result',
      snapshot_id = null, is_error = (part ->> 'isError')::boolean, exit_code = (part ->> 'exitCode')::integer,
      closed_at = now()
    where id = (part ->> 'callId')::uuid and session_id = p_session and status = 'open';
    if not found then
      raise exception 'call % of session % is not open', part ->> 'callId', p_session
        using errcode = 'ST011';
    end if;
    update stint.attempts set progress = true
    where session_id = p_session and epoch = p_epoch and not progress;
  end if;

  part := p_part -> 'snapshot';
  if part is not null then
    update public.coding_sessions set
      snapshot_id = part ->> 'id',
      snapshot_store = part ->> 'store',
      workspace_host = coalesce(
        (select w.workspace_host from stint.workers w where w.id = worker_id), workspace_host)
    where id = p_session;
    update stint.tool_calls set snapshot_id = part ->> 'id'
    where session_id = p_session
      and id in (select value::uuid from jsonb_array_elements_text(part -> 'calls'));
    update stint.tool_calls set snapshot_id = part ->> 'id'
    where session_id = p_session and status = 'open'
      and id in (select value::uuid from jsonb_array_elements_text(part -> 'underWay'));
    -- Calls that had ended, but whose effect went with the files: their result says so from now on.
    update stint.tool_calls c set snapshot_id = part ->> 'id', result = u.value -> 'result'
    from jsonb_array_elements(part -> 'undone') u
    where c.session_id = p_session and c.id = (u.value ->> 'callId')::uuid and c.status <> 'open';
  end if;

  part := p_part -> 'openModelCall';
  if part is not null then
    insert into stint.model_calls (id, session_id, epoch, provider, wire, model, is_streamed,
      input_tokens_estimate, deadline_at)
    values ((part ->> 'callId')::uuid, p_session, p_epoch, part ->> 'provider', part ->> 'wire',
      part ->> 'model', (part ->> 'isStreamed')::boolean, (part ->> 'inputTokensEstimate')::bigint,
      now() + (part ->> 'timeoutMs')::bigint * interval '1 millisecond');
  end if;

  part := p_part -> 'closeModelCall';
  if part is not null then
    update stint.model_calls set status = part ->> 'status', usage = part -> 'usage',
      http_status = (part ->> 'httpStatus')::integer, cost_usd = (part ->> 'costUsd')::double precision,
      is_estimated = (part ->> 'isEstimated')::boolean, retries = (part ->> 'retries')::integer,
      closed_at = now()
    where id = (part ->> 'callId')::uuid and session_id = p_session and status = 'open';
    if not found then
      raise exception 'model call % of session % is not open', part ->> 'callId', p_session
        using errcode = 'ST011';
    end if;
  end if;

  -- A thawed attempt goes on with what it had begun before it was frozen, and for as long.
  part := p_part -> 'continuesEpoch';
  if part is not null then
    select coalesce(now() - paused_at, interval '0') into frozen from public.coding_sessions where id = p_session;
    update stint.steps set epoch = p_epoch, deadline_at = deadline_at + frozen
    where session_id = p_session and finished_at is null and epoch = part::text::bigint;
    update stint.model_calls set epoch = p_epoch, deadline_at = deadline_at + frozen
    where session_id = p_session and status = 'open' and epoch = part::text::bigint;
    -- What they have done since no stored state holds any more.
    update stint.tool_calls set snapshot_id = null, deadline_at = deadline_at + frozen
    where session_id = p_session and status = 'open';
  end if;

  part := p_part -> 'rawMessages';
  if part is not null then
    insert into stint.raw_messages (session_id, epoch, seq, message)
    select p_session, p_epoch, p_seq, value from jsonb_array_elements(part);
  end if;

  part := p_part -> 'transition';
  if part is not null then
    if (part ->> 'unlessInbox')::boolean and exists (
      select from stint.inbox where session_id = p_session and consumed_at is null
    ) then
      raise exception 'messages wait in the inbox of session %', p_session using errcode = 'ST004';
    end if;
    wait_ms := case when part ? 'backoff' then stint.plan_backoff(p_session, part -> 'backoff')
      else (part ->> 'resumeInMs')::bigint end;
    update public.coding_sessions set
      status = part ->> 'to',
      reason = case when part ? 'backoff' and wait_ms is null then 'recovery_exhausted'
        else part ->> 'reason' end,
      waiting_for = part ->> 'waitingFor',
      resume_at = now() + wait_ms * interval '1 millisecond',
      hold_until = now() + (part ->> 'freezeMs')::bigint * interval '1 millisecond',
      error_code = coalesce(part -> 'error' ->> 'code', error_code),
      error_message = coalesce(part -> 'error' ->> 'message', error_message)
    where id = p_session;
  end if;
end $$;

-- The hot path: one call per flush, for all sessions of one connection. Slot ix of the session
-- arrays is one commit: its session, epoch, expected last_seq (base), number of events, the id of its
-- last event (without events an id of its own) and, where it has one, the part of the commit beside
-- the events. The event arrays name their slot (six) and their place in it (ord, from 1). A session
-- may have two slots, the first without a part or with totals only.
--
-- heads[ix] is the base when the slot was written, else null; details then holds what happened
-- instead, and for every slot with a part how it ended: an array of
-- {ix, status: ok|fenced|stale|gone|rejected, epoch, lastSeq, code, message}. Each slot is atomic and harms no other.
-- A repeated call after an unknown outcome answers ok for what had been committed: the event at
-- base + n, or the session where the commit had no events, carries the caller's id.
--
-- Its cost rests on finding sessions by their primary key, also in a new database that has no
-- statistics yet: scanning them all for each slot would be a hundred times slower. Therefore no
-- sequential scan, and a comparison of the status that matches no partial index.
create function stint.append_events(
  p_sid uuid[], p_epoch bigint[], p_base bigint[], p_n integer[], p_last_id uuid[], p_part jsonb[],
  p_id uuid[], p_six integer[], p_ord integer[], p_type text[], p_data jsonb[],
  out heads bigint[], out details jsonb
) language plpgsql security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off as $$
declare
  r record;
  slot integer;
  slots integer := cardinality(p_sid);
  session public.coding_sessions;
begin
  heads := array_fill(null::bigint, array[slots]);

  for r in
    update public.coding_sessions c set last_seq = b.base + b.n, last_activity_at = now()
    from unnest(p_sid, p_epoch, p_base, p_n, p_part) with ordinality b(sid, epoch, base, n, part, ix)
    where b.part is null and c.id = b.sid and c.epoch = b.epoch and c.last_seq = b.base
      and c.status || '' = 'active'
    returning b.ix, b.base
  loop
    heads[r.ix] := r.base;
  end loop;
  insert into public.session_events (id, session_id, seq, event_type, event_data, created_at)
  select e.id, p_sid[e.six], heads[e.six] + e.ord, e.typ, e.data, now()
  from unnest(p_id, p_six, p_ord, p_type, p_data) e(id, six, ord, typ, data)
  where heads[e.six] is not null;

  for slot in 1 .. slots loop
    continue when heads[slot] is not null;
    if p_part[slot] is not null then
      begin
        update public.coding_sessions set last_seq = p_base[slot] + p_n[slot],
          commit_id = p_last_id[slot], last_activity_at = now()
        where id = p_sid[slot] and epoch = p_epoch[slot] and last_seq = p_base[slot]
          and status || '' = 'active' and commit_id is distinct from p_last_id[slot];
        if found then
          insert into public.session_events (id, session_id, seq, event_type, event_data)
          select e.id, p_sid[slot], p_base[slot] + e.ord, e.typ, e.data
          from unnest(p_id, p_six, p_ord, p_type, p_data) e(id, six, ord, typ, data)
          where e.six = slot;
          perform stint.apply_commit(p_sid[slot], p_epoch[slot], p_base[slot] + p_n[slot],
            p_part[slot]);
          heads[slot] := p_base[slot];
        end if;
      exception
        when sqlstate 'ST001' or sqlstate 'ST004' or sqlstate 'ST005' or sqlstate 'ST011'
          or sqlstate 'ST012'
          or integrity_constraint_violation or data_exception then
          details := coalesce(details, '[]') || jsonb_build_object('ix', slot, 'status', 'rejected',
            'code', sqlstate, 'message', sqlerrm);
          continue;
      end;
    end if;

    select * into session from public.coding_sessions where id = p_sid[slot];
    details := coalesce(details, '[]') || jsonb_build_object('ix', slot, 'epoch', session.epoch,
      'lastSeq', session.last_seq, 'status', case
        when heads[slot] is not null then 'ok'
        when session.id is null then 'gone'
        when session.commit_id = p_last_id[slot] or stint.was_committed(p_sid[slot], p_epoch[slot],
          p_base[slot], p_n[slot], p_last_id[slot], p_part[slot]) then 'ok'
        when session.epoch <> p_epoch[slot] or session.status <> 'active' then 'fenced'
        else 'stale'
      end);
  end loop;
end $$;

-- Whether a slot was committed by an earlier call whose answer was lost.
create function stint.was_committed(
  p_session uuid, p_epoch bigint, p_base bigint, p_n integer, p_last_id uuid, p_part jsonb
) returns boolean language sql stable as $$
  select exists (
    select from public.session_events e
    where e.session_id = p_session and case
      when p_n > 0 then e.seq = p_base + p_n and e.id = p_last_id
      -- Without events, and after commits of a later owner, the transition's own event is the trace.
      else p_part ? 'transition' and e.seq = p_base + 1 and e.event_type = 'state_changed'
        and (e.event_data ->> 'epoch')::bigint = p_epoch + 1
        and e.event_data ->> 'reason' = p_part -> 'transition' ->> 'reason'
    end
  )
$$;

-- Appends to a session that no worker owns.
create function stint.append_unowned(p_session uuid, p_types text[], p_data jsonb[]) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session public.coding_sessions;
  appended bigint;
begin
  select * into session from public.coding_sessions where id = p_session for update;
  if session.id is null then
    raise exception 'no session %', p_session using errcode = 'ST003';
  end if;
  if stint.is_terminal(session.status) then
    raise exception 'session % is %: its log is closed', p_session, session.status
      using errcode = 'ST002';
  end if;
  if session.status = 'active' then
    raise exception 'session % is owned by a worker', p_session using errcode = 'ST009';
  end if;
  appended := session.last_seq;
  for i in 1 .. cardinality(p_types) loop
    appended := stint.append_locked(p_session, p_types[i], p_data[i]);
  end loop;
  return appended;
end $$;
