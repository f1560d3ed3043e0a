-- The whole schema, as the migrations leave it; for reading only. Written by
-- npx vitest run test/conformance/store/schema.test.ts -u

-- Types

create type stint.claimed_session as (session public.coding_sessions, queued_ms bigint);
create type stint.transition_notice as (session_id uuid, from_state text, to_state text, reason text, epoch
    bigint, last_seq bigint);

-- Tables

create table public.coding_sessions (
  id uuid default gen_random_uuid() not null,
  user_id uuid default '00000000-0000-4000-8000-000000000001'::uuid not null,
  status text default 'pending'::text not null,
  reason text default 'created'::text not null,
  waiting_for text,
  resume_at timestamp with time zone,
  epoch bigint default 0 not null,
  last_seq bigint default 0 not null,
  commit_id uuid,
  worker_id uuid,
  hold_worker uuid,
  hold_until timestamp with time zone,
  agent text default 'builtin'::text not null,
  model text,
  prompt text not null,
  script jsonb,
  workspace jsonb default '{"mode": "copy"}'::jsonb not null,
  workspace_path text,
  workspace_host text,
  snapshot_id text,
  snapshot_store text,
  snapshot_folder text,
  in_place_path text,
  recovery text default 'restore'::text not null,
  limits jsonb default '{}'::jsonb not null,
  idle_timeout_ms bigint default 1800000 not null,
  paused_timeout_ms bigint default 604800000 not null,
  queue_timeout_ms bigint default 86400000 not null,
  deadline_at timestamp with time zone,
  keep_open boolean default false not null,
  metadata jsonb default '{}'::jsonb not null,
  sandbox jsonb,
  permissions jsonb default '[]'::jsonb not null,
  agent_session_id text,
  parent_id uuid,
  iterations bigint default 0 not null,
  input_tokens bigint default 0 not null,
  output_tokens bigint default 0 not null,
  cache_read_tokens bigint default 0 not null,
  cache_write_tokens bigint default 0 not null,
  reasoning_tokens bigint default 0 not null,
  tool_calls bigint default 0 not null,
  model_calls bigint default 0 not null,
  cost_usd double precision,
  error_code text,
  error_message text,
  attempts integer default 0 not null,
  created_at timestamp with time zone default now() not null,
  started_at timestamp with time zone,
  active_since timestamp with time zone,
  paused_at timestamp with time zone,
  completed_at timestamp with time zone,
  last_activity_at timestamp with time zone default now() not null,
  active_ms bigint default 0 not null,
  sweep_at timestamp with time zone
) with (fillfactor=50);
create table public.session_events (
  id uuid not null,
  session_id uuid not null,
  seq bigint not null,
  event_type text not null,
  event_data jsonb not null,
  created_at timestamp with time zone default now() not null
);
create table public.stint_migrations (
  version integer not null,
  name text not null,
  checksum text not null,
  applied_at timestamp with time zone default now() not null
);
create table stint.attempts (
  session_id uuid not null,
  epoch bigint not null,
  worker_id uuid,
  workspace_host text,
  started_at timestamp with time zone default now() not null,
  ended_at timestamp with time zone,
  ended_state text,
  ended_reason text,
  refunded boolean default false not null,
  progress boolean default false not null
);
create table stint.idempotency_keys (
  user_id uuid not null,
  key text not null,
  request_hash text not null,
  session_id uuid not null,
  created_at timestamp with time zone default now() not null
);
create table stint.inbox (
  id uuid not null,
  "position" bigint generated always as identity not null,
  session_id uuid not null,
  kind text not null,
  body text,
  user_id uuid,
  created_at timestamp with time zone default now() not null,
  consumed_at timestamp with time zone,
  consumed_epoch bigint,
  delivered_iteration integer
);
create table stint.model_calls (
  id uuid not null,
  session_id uuid not null,
  epoch bigint not null,
  provider text not null,
  wire text not null,
  model text not null,
  is_streamed boolean not null,
  input_tokens_estimate bigint not null,
  status text default 'open'::text not null,
  http_status integer,
  usage jsonb,
  cost_usd double precision,
  is_estimated boolean,
  retries integer,
  opened_at timestamp with time zone default now() not null,
  deadline_at timestamp with time zone not null,
  closed_at timestamp with time zone
);
create table stint.permissions (
  id uuid not null,
  "position" bigint generated always as identity not null,
  session_id uuid not null,
  request_hash text not null,
  request jsonb not null,
  call_id uuid,
  epoch bigint not null,
  status text default 'pending'::text not null,
  at_expiry text not null,
  decided_by text,
  decided_user uuid,
  note text,
  asked_at timestamp with time zone default now() not null,
  expires_at timestamp with time zone not null,
  decided_at timestamp with time zone,
  told_at timestamp with time zone,
  used_at timestamp with time zone
);
create table stint.raw_messages (
  session_id uuid not null,
  "position" bigint generated always as identity not null,
  epoch bigint not null,
  seq bigint not null,
  message jsonb not null,
  created_at timestamp with time zone default now() not null
);
create table stint.snapshot_chunks (
  session_id uuid not null,
  part_id uuid not null,
  ordinal integer not null,
  bytes bytea not null
);
create table stint.snapshot_parts (
  session_id uuid not null,
  id uuid not null,
  "position" bigint generated always as identity not null,
  snapshot_id text not null,
  size_bytes bigint not null,
  sha256 text not null,
  about jsonb not null,
  created_at timestamp with time zone default now() not null
);
create table stint.snapshot_removals (
  session_id uuid not null,
  folder text not null,
  created_at timestamp with time zone default now() not null
);
create table stint.steps (
  session_id uuid not null,
  iteration integer not null,
  epoch bigint not null,
  inputs jsonb not null,
  response jsonb,
  usage jsonb,
  begun_at timestamp with time zone default now() not null,
  deadline_at timestamp with time zone not null,
  finished_at timestamp with time zone
);
create table stint.tool_calls (
  id uuid not null,
  session_id uuid not null,
  iteration integer not null,
  ordinal integer not null,
  epoch bigint not null,
  model_call_id text not null,
  tool text not null,
  input jsonb not null,
  has_effect boolean default true not null,
  evidence jsonb,
  snapshot_id text,
  status text default 'open'::text not null,
  result jsonb,
  is_error boolean default false not null,
  exit_code integer,
  opened_at timestamp with time zone default now() not null,
  deadline_at timestamp with time zone not null,
  closed_at timestamp with time zone
);
create table stint.workers (
  id uuid not null,
  name text not null,
  host text not null,
  boot_id text not null,
  pid integer not null,
  pid_start_time text not null,
  slots integer not null,
  version text not null,
  agents text[] default '{}'::text[] not null,
  workspace_host text,
  snapshot_stores text[] default '{}'::text[] not null,
  lease_duration_ms bigint not null,
  dead_at timestamp with time zone,
  started_at timestamp with time zone default now() not null,
  heartbeat_at timestamp with time zone default now() not null,
  lease_expires_at timestamp with time zone not null
) with (fillfactor=50);
create table stint.workspace_removals (
  workspace_host text not null,
  session_id uuid not null,
  created_at timestamp with time zone default now() not null
);

-- Constraints

alter table public.coding_sessions add constraint coding_sessions_attempts_check CHECK ((attempts >= 0));
alter table public.coding_sessions add constraint coding_sessions_idle_timeout_ms_check CHECK
    ((idle_timeout_ms > 0));
alter table public.coding_sessions add constraint coding_sessions_paused_timeout_ms_check CHECK
    ((paused_timeout_ms > 0));
alter table public.coding_sessions add constraint coding_sessions_pkey PRIMARY KEY (id);
alter table public.coding_sessions add constraint coding_sessions_queue_timeout_ms_check CHECK
    ((queue_timeout_ms > 0));
alter table public.coding_sessions add constraint coding_sessions_recovery_check CHECK ((recovery = ANY
    (ARRAY['restore'::text, 'adopt'::text])));
alter table public.coding_sessions add constraint coding_sessions_status_check CHECK ((status = ANY
    (ARRAY['pending'::text, 'active'::text, 'paused'::text, 'completed'::text, 'failed'::text,
    'expired'::text])));
alter table public.coding_sessions add constraint coding_sessions_waiting_for_check CHECK ((waiting_for = ANY
    (ARRAY['input'::text, 'permission'::text])));
alter table public.coding_sessions add constraint hold_has_end CHECK (((hold_worker IS NULL) = (hold_until IS
    NULL)));
alter table public.coding_sessions add constraint only_active_has_worker CHECK (((worker_id IS NULL) OR
    (status = 'active'::text)));
alter table public.coding_sessions add constraint only_paused_is_held CHECK (((hold_worker IS NULL) OR (status
    = 'paused'::text)));
alter table public.coding_sessions add constraint only_paused_waits CHECK (((status = 'paused'::text) OR
    ((resume_at IS NULL) AND (waiting_for IS NULL))));
alter table public.coding_sessions add constraint terminal_has_end CHECK (((status = ANY
    (ARRAY['completed'::text, 'failed'::text, 'expired'::text])) = (completed_at IS NOT NULL)));
alter table public.session_events add constraint session_events_pkey PRIMARY KEY (session_id, seq);
alter table public.stint_migrations add constraint stint_migrations_pkey PRIMARY KEY (version);
alter table stint.attempts add constraint attempts_pkey PRIMARY KEY (session_id, epoch);
alter table stint.idempotency_keys add constraint idempotency_keys_pkey PRIMARY KEY (user_id, key);
alter table stint.inbox add constraint inbox_kind_check CHECK ((kind = ANY (ARRAY['message'::text,
    'pause'::text, 'cancel'::text])));
alter table stint.inbox add constraint inbox_pkey PRIMARY KEY (id);
alter table stint.model_calls add constraint closed_call_has_end CHECK (((status = 'open'::text) = (closed_at
    IS NULL)));
alter table stint.model_calls add constraint model_calls_pkey PRIMARY KEY (id);
alter table stint.model_calls add constraint model_calls_status_check CHECK ((status = ANY
    (ARRAY['open'::text, 'finished'::text, 'failed'::text, 'aborted'::text, 'lost'::text])));
alter table stint.permissions add constraint decided_has_end CHECK (((status = 'pending'::text) = (decided_at
    IS NULL)));
alter table stint.permissions add constraint permissions_at_expiry_check CHECK ((at_expiry = ANY
    (ARRAY['allowed'::text, 'denied'::text])));
alter table stint.permissions add constraint permissions_decided_by_check CHECK ((decided_by = ANY
    (ARRAY['user'::text, 'expiry'::text])));
alter table stint.permissions add constraint permissions_pkey PRIMARY KEY (id);
alter table stint.permissions add constraint permissions_status_check CHECK ((status = ANY
    (ARRAY['pending'::text, 'allowed'::text, 'denied'::text, 'lapsed'::text])));
alter table stint.raw_messages add constraint raw_messages_pkey PRIMARY KEY (session_id, "position");
alter table stint.snapshot_chunks add constraint snapshot_chunks_bytes_check CHECK (((length(bytes) >= 1) AND
    (length(bytes) <= 1048576)));
alter table stint.snapshot_chunks add constraint snapshot_chunks_ordinal_check CHECK ((ordinal >= 0));
alter table stint.snapshot_chunks add constraint snapshot_chunks_pkey PRIMARY KEY (session_id, part_id,
    ordinal);
alter table stint.snapshot_parts add constraint snapshot_parts_pkey PRIMARY KEY (session_id, id);
alter table stint.snapshot_parts add constraint snapshot_parts_size_bytes_check CHECK ((size_bytes >= 0));
alter table stint.snapshot_removals add constraint snapshot_removals_pkey PRIMARY KEY (session_id);
alter table stint.steps add constraint steps_pkey PRIMARY KEY (session_id, iteration);
alter table stint.tool_calls add constraint closed_has_end CHECK (((status = 'open'::text) = (closed_at IS
    NULL)));
alter table stint.tool_calls add constraint tool_calls_pkey PRIMARY KEY (id);
alter table stint.tool_calls add constraint tool_calls_session_id_iteration_ordinal_key UNIQUE (session_id,
    iteration, ordinal);
alter table stint.tool_calls add constraint tool_calls_status_check CHECK ((status = ANY (ARRAY['open'::text,
    'finished'::text, 'interrupted'::text, 'unknown'::text])));
alter table stint.workers add constraint workers_lease_duration_ms_check CHECK ((lease_duration_ms > 0));
alter table stint.workers add constraint workers_pkey PRIMARY KEY (id);
alter table stint.workspace_removals add constraint workspace_removals_pkey PRIMARY KEY (workspace_host,
    session_id);

-- Indexes

CREATE INDEX coding_sessions_held ON public.coding_sessions USING btree (hold_worker) WHERE (hold_worker IS
    NOT NULL);
CREATE UNIQUE INDEX coding_sessions_in_place ON public.coding_sessions USING btree (in_place_path) WHERE
    ((in_place_path IS NOT NULL) AND (status = ANY (ARRAY['pending'::text, 'active'::text, 'paused'::text])));
CREATE INDEX coding_sessions_newest ON public.coding_sessions USING btree (created_at DESC, id DESC);
CREATE INDEX coding_sessions_pending ON public.coding_sessions USING btree (created_at) WHERE (status =
    'pending'::text);
CREATE INDEX coding_sessions_resumable ON public.coding_sessions USING btree (resume_at) WHERE (status =
    'paused'::text);
CREATE INDEX coding_sessions_sweep ON public.coding_sessions USING btree (sweep_at) WHERE (status = ANY
    (ARRAY['pending'::text, 'active'::text, 'paused'::text]));
CREATE INDEX coding_sessions_user ON public.coding_sessions USING btree (user_id, created_at DESC);
CREATE INDEX coding_sessions_worker ON public.coding_sessions USING btree (worker_id) WHERE (status =
    'active'::text);
CREATE INDEX idempotency_keys_session ON stint.idempotency_keys USING btree (session_id);
CREATE INDEX inbox_session ON stint.inbox USING btree (session_id, "position");
CREATE INDEX inbox_waiting ON stint.inbox USING btree (session_id, "position") WHERE (consumed_at IS NULL);
CREATE INDEX model_calls_open ON stint.model_calls USING btree (session_id) WHERE (status = 'open'::text);
CREATE INDEX model_calls_session ON stint.model_calls USING btree (session_id, opened_at);
CREATE INDEX permissions_pending ON stint.permissions USING btree (expires_at) WHERE (status =
    'pending'::text);
CREATE INDEX permissions_session ON stint.permissions USING btree (session_id, "position");
CREATE INDEX session_events_created ON public.session_events USING brin (created_at) WITH
    (pages_per_range='32', autosummarize='on');
CREATE INDEX snapshot_removals_folder ON stint.snapshot_removals USING btree (folder);
CREATE INDEX tool_calls_open ON stint.tool_calls USING btree (session_id) WHERE (status = 'open'::text);
CREATE INDEX workspace_removals_created ON stint.workspace_removals USING btree (created_at);

-- Functions

CREATE OR REPLACE FUNCTION stint.append_events(p_sid uuid[], p_epoch bigint[], p_base bigint[], p_n integer[],
    p_last_id uuid[], p_part jsonb[], p_id uuid[], p_six integer[], p_ord integer[], p_type text[], p_data
    jsonb[], OUT heads bigint[], OUT details jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.append_locked(p_session uuid, p_type text, p_data jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  appended bigint;
begin
  update public.coding_sessions set last_seq = last_seq + 1, last_activity_at = now()
  where id = p_session returning last_seq into appended;
  insert into public.session_events (id, session_id, seq, event_type, event_data)
  values (gen_random_uuid(), p_session, appended, p_type, p_data);
  return appended;
end $function$;
CREATE OR REPLACE FUNCTION stint.append_unowned(p_session uuid, p_types text[], p_data jsonb[])
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.apply_commit(p_session uuid, p_epoch bigint, p_seq bigint, p_part jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
      snapshot_id = null, is_error = (part ->> 'isError')::boolean, exit_code = (part ->>
    'exitCode')::integer,
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
    select coalesce(now() - paused_at, interval '0') into frozen from public.coding_sessions where id =
    p_session;
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
end $function$;
CREATE OR REPLACE FUNCTION stint.bury_worker(p_worker uuid, p_boot_id text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  update stint.workers set dead_at = clock_timestamp()
  where id = p_worker and boot_id = p_boot_id and boot_id <> '' and dead_at is null;
  return found;
end $function$;
CREATE OR REPLACE FUNCTION stint.cancel_session(p_session uuid)
 RETURNS public.coding_sessions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.claim_sessions(p_worker uuid, p_limit integer, p_session uuid DEFAULT
    NULL::uuid, p_agents text[] DEFAULT NULL::text[])
 RETURNS SETOF stint.claimed_session
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.count_fruitless_attempts(p_session uuid)
 RETURNS bigint
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select count(*) from stint.attempts a
  where a.session_id = p_session and not a.refunded and a.epoch > coalesce((
    select max(b.epoch) from stint.attempts b
    where b.session_id = p_session and (b.progress or b.ended_reason = 'recovery_exhausted'
      or b.refunded and b.ended_reason not in ('backoff', 'worker_lost', 'agent_lost'))), 0)
$function$;
CREATE OR REPLACE FUNCTION stint.count_surplus_losses(p_session uuid)
 RETURNS bigint
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
CREATE OR REPLACE FUNCTION stint.create_session(p_session jsonb, p_key text DEFAULT NULL::text, p_request_hash
    text DEFAULT NULL::text, OUT session public.coding_sessions, OUT is_replay boolean)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.decide_permission(p_session uuid, p_id uuid, p_status text, p_note text,
    p_user uuid)
 RETURNS public.coding_sessions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  session public.coding_sessions := stint.lock_session(p_session);
  asked stint.permissions;
begin
  select * into asked from stint.permissions where id = p_id and session_id = p_session for update;
  if asked.id is null then
    raise exception 'session % has asked no permission %', p_session, p_id using errcode = 'ST013';
  end if;
  if asked.status = p_status then
    return session;
  end if;
  if asked.status <> 'pending' then
    raise exception 'permission % is % already', p_id, asked.status using errcode = 'ST014';
  end if;
  update stint.permissions set status = p_status, decided_by = 'user', decided_user = p_user,
    note = p_note, decided_at = now()
  where id = p_id;
  perform stint.wake_after_decision(p_session);
  select * into session from public.coding_sessions where id = p_session;
  return session;
end $function$;
CREATE OR REPLACE FUNCTION stint.delete_session(p_session uuid)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  delete from public.coding_sessions where id = p_session;
  return found;
end $function$;
CREATE OR REPLACE FUNCTION stint.delete_session_rows()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.expire_permissions(p_limit integer)
 RETURNS SETOF uuid
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  overdue record;
begin
  for overdue in
    select s.id from public.coding_sessions s
    where s.id in (select p.session_id from stint.permissions p
      where p.status = 'pending' and p.expires_at <= now() limit p_limit)
    order by s.id for update skip locked
  loop
    update stint.permissions set status = at_expiry, decided_by = 'expiry', decided_at = now()
    where session_id = overdue.id and status = 'pending' and expires_at <= now();
    perform stint.wake_after_decision(overdue.id);
    return next overdue.id;
  end loop;
end $function$;
CREATE OR REPLACE FUNCTION stint.finish_snapshot_part(p_session uuid, p_epoch bigint, p_part uuid, p_snapshot
    text, p_size_bytes bigint, p_sha256 text, p_about jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.finish_snapshot_removals(p_sessions uuid[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  delete from stint.snapshot_removals where session_id = any (p_sessions)
$function$;
CREATE OR REPLACE FUNCTION stint.finish_workspace_removals(p_host text, p_sessions uuid[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  delete from stint.workspace_removals where workspace_host = p_host and session_id = any (p_sessions);
  delete from stint.workspace_removals where (workspace_host, session_id) in (
    select r.workspace_host, r.session_id from stint.workspace_removals r
    where r.created_at < now() - interval '1 year'
    order by r.created_at limit 1000 for update skip locked);
end $function$;
CREATE OR REPLACE FUNCTION stint.force_transition(p_session uuid, p_to text, p_reason text, p_message text,
    p_resume_ms bigint DEFAULT NULL::bigint)
 RETURNS public.coding_sessions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.guard_session_delete()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if not stint.is_terminal(old.status) then
    raise exception 'session % is %: only a finished one can be deleted', old.id, old.status
      using errcode = 'ST007';
  end if;
  return old;
end $function$;
CREATE OR REPLACE FUNCTION stint.guard_session_insert()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.guard_session_update()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.heartbeat(p_worker uuid, p_lease_ms bigint, OUT is_live boolean, OUT
    session_ids uuid[], OUT epochs bigint[])
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.hold_owned(p_session uuid, p_epoch bigint)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform from public.coding_sessions
  where id = p_session and epoch = p_epoch and status || '' = 'active' for key share;
  if not found then
    raise exception 'epoch % does not own session %', p_epoch, p_session using errcode = 'ST009';
  end if;
end $function$;
CREATE OR REPLACE FUNCTION stint.is_asked_to_pause(p_session uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select exists (select from stint.inbox
    where session_id = p_session and kind = 'pause' and consumed_at is null)
$function$;
CREATE OR REPLACE FUNCTION stint.is_reason_for(p_reason text, p_to text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
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
$function$;
CREATE OR REPLACE FUNCTION stint.is_terminal(p_status text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$ select p_status in ('completed', 'failed', 'expired') $function$;
CREATE OR REPLACE FUNCTION stint.is_valid_transition(p_from text, p_to text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case p_from
    when 'pending' then p_to in ('active', 'expired')
    when 'active' then p_to in ('paused', 'completed', 'failed', 'expired')
    when 'paused' then p_to in ('active', 'expired', 'failed')
    else false
  end
$function$;
CREATE OR REPLACE FUNCTION stint.lock_session(p_session uuid)
 RETURNS public.coding_sessions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  session public.coding_sessions;
begin
  select * into session from public.coding_sessions where id = p_session for update;
  if session.id is null then
    raise exception 'no session %', p_session using errcode = 'ST003';
  end if;
  return session;
end $function$;
CREATE OR REPLACE FUNCTION stint.log_session_prompt()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  insert into public.session_events (id, session_id, seq, event_type, event_data)
  values (gen_random_uuid(), new.id, 1, 'user_message',
    jsonb_build_object('text', new.prompt, 'userId', new.user_id));
  return null;
end $function$;
CREATE OR REPLACE FUNCTION stint.pause_session(p_session uuid)
 RETURNS public.coding_sessions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.plan_backoff(p_session uuid, p_plan jsonb)
 RETURNS bigint
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
CREATE OR REPLACE FUNCTION stint.put_snapshot_chunk(p_session uuid, p_epoch bigint, p_part uuid, p_ordinal
    integer, p_bytes bytea)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.record_activity(p_sid uuid[], p_epoch bigint[])
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update public.coding_sessions c set last_activity_at = now()
  from unnest(p_sid, p_epoch) b(sid, epoch)
  where c.id = b.sid and c.epoch = b.epoch and c.status = 'active'
$function$;
CREATE OR REPLACE FUNCTION stint.refuse_log_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  if tg_op = 'DELETE' then
    if not exists (
      select from old_rows o join public.coding_sessions s on s.id = o.session_id
    ) then
      return null;
    end if;
  end if;
  raise exception 'events are never changed: % on %', tg_op, tg_table_name using errcode = 'ST006';
end $function$;
CREATE OR REPLACE FUNCTION stint.register_worker(p_worker jsonb)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
CREATE OR REPLACE FUNCTION stint.remove_snapshot_parts(p_session uuid, p_epoch bigint, p_parts uuid[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  perform stint.hold_owned(p_session, p_epoch);
  delete from stint.snapshot_parts where session_id = p_session and id = any (p_parts);
  delete from stint.snapshot_chunks where session_id = p_session and part_id = any (p_parts);
end $function$;
CREATE OR REPLACE FUNCTION stint.remove_worker(p_worker uuid)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  delete from stint.workers where id = p_worker
$function$;
CREATE OR REPLACE FUNCTION stint.request_control(p_session uuid, p_kind text)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  insert into stint.inbox (id, session_id, kind)
  select gen_random_uuid(), p_session, p_kind
  where not exists (
    select from stint.inbox where session_id = p_session and kind = p_kind and consumed_at is null
  )
$function$;
CREATE OR REPLACE FUNCTION stint.resume_session(p_session uuid, p_limits jsonb DEFAULT NULL::jsonb)
 RETURNS public.coding_sessions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.send_message(p_session uuid, p_id uuid, p_user uuid, p_text text, p_items_max
    integer)
 RETURNS public.coding_sessions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.stats_of(s public.coding_sessions)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select jsonb_build_object('iterations', s.iterations, 'inputTokens', s.input_tokens,
    'outputTokens', s.output_tokens, 'cacheReadTokens', s.cache_read_tokens,
    'cacheWriteTokens', s.cache_write_tokens, 'reasoningTokens', s.reasoning_tokens,
    'toolCalls', s.tool_calls, 'modelCalls', s.model_calls, 'costUsd', s.cost_usd)
$function$;
CREATE OR REPLACE FUNCTION stint.sweep_control_requests(p_silence_ms bigint)
 RETURNS SETOF stint.transition_notice
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.sweep_idle_sessions(p_limit integer, OUT due_count integer, OUT notices
    jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
end $function$;
CREATE OR REPLACE FUNCTION stint.sweep_lost_leases()
 RETURNS SETOF stint.transition_notice
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  lost record;
  session public.coding_sessions;
begin
  for lost in
    select s.id
    from public.coding_sessions s left join stint.workers w on w.id = s.worker_id
    where s.status = 'active' and (w.id is null or w.dead_at is not null or (w.lease_expires_at <=
    clock_timestamp()
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
end $function$;
CREATE OR REPLACE FUNCTION stint.wake_after_decision(p_session uuid)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  update public.coding_sessions set waiting_for = null,
    resume_at = case when reason not in ('user', 'recovery_exhausted', 'budget_reached') then now() end
  where id = p_session and status = 'paused' and waiting_for = 'permission'
    and not exists (select from stint.permissions where session_id = p_session and status = 'pending')
$function$;
CREATE OR REPLACE FUNCTION stint.was_committed(p_session uuid, p_epoch bigint, p_base bigint, p_n integer,
    p_last_id uuid, p_part jsonb)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
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
$function$;

-- Triggers

CREATE TRIGGER delete_session_rows AFTER DELETE ON public.coding_sessions REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION stint.delete_session_rows();
CREATE TRIGGER guard_session_delete BEFORE DELETE ON public.coding_sessions FOR EACH ROW EXECUTE FUNCTION
    stint.guard_session_delete();
CREATE TRIGGER guard_session_insert BEFORE INSERT ON public.coding_sessions FOR EACH ROW EXECUTE FUNCTION
    stint.guard_session_insert();
CREATE TRIGGER guard_session_update BEFORE UPDATE ON public.coding_sessions FOR EACH ROW WHEN (((old.status IS
    DISTINCT FROM new.status) OR (old.epoch <> new.epoch) OR (new.last_seq < old.last_seq) OR (old.id <>
    new.id) OR (old.completed_at IS NOT NULL))) EXECUTE FUNCTION stint.guard_session_update();
CREATE TRIGGER log_session_prompt AFTER INSERT ON public.coding_sessions FOR EACH ROW EXECUTE FUNCTION
    stint.log_session_prompt();
CREATE TRIGGER refuse_session_truncate BEFORE TRUNCATE ON public.coding_sessions FOR EACH STATEMENT EXECUTE
    FUNCTION stint.refuse_log_change();
CREATE TRIGGER refuse_event_delete AFTER DELETE ON public.session_events REFERENCING OLD TABLE AS old_rows FOR
    EACH STATEMENT EXECUTE FUNCTION stint.refuse_log_change();
CREATE TRIGGER refuse_event_truncate BEFORE TRUNCATE ON public.session_events FOR EACH STATEMENT EXECUTE
    FUNCTION stint.refuse_log_change();
CREATE TRIGGER refuse_event_update BEFORE UPDATE ON public.session_events FOR EACH STATEMENT EXECUTE FUNCTION
    stint.refuse_log_change();

-- Row-level security

alter table public.coding_sessions enable row level security, force row level security;
alter table public.session_events enable row level security, force row level security;
alter table public.stint_migrations enable row level security;
alter table stint.permissions enable row level security, force row level security;
alter table stint.snapshot_chunks enable row level security, force row level security;
alter table stint.snapshot_parts enable row level security, force row level security;
create policy owner_all on public.coding_sessions for all to stint_owner using (true) with check (true);
create policy owner_all on public.session_events for all to stint_owner using (true) with check (true);
create policy owner_all on stint.permissions for all to stint_owner using (true) with check (true);
create policy owner_all on stint.snapshot_chunks for all to stint_owner using (true) with check (true);
create policy owner_all on stint.snapshot_parts for all to stint_owner using (true) with check (true);
create policy service_reads on public.coding_sessions for select to service_role using (true);
create policy service_reads on public.session_events for select to service_role using (true);
create policy service_reads on public.stint_migrations for select to service_role using (true);
create policy service_reads on stint.permissions for select to service_role using (true);
create policy service_reads on stint.snapshot_chunks for select to service_role using (true);
create policy service_reads on stint.snapshot_parts for select to service_role using (true);
create policy users_read_own on public.coding_sessions for select to authenticated using ((user_id = ( SELECT
    auth.uid() AS uid)));
create policy users_read_own on public.session_events for select to authenticated using ((session_id IN (
    SELECT s.id
   FROM public.coding_sessions s
  WHERE (s.user_id = ( SELECT auth.uid() AS uid)))));

-- Rights, beside those of the owner

grant execute on function stint.append_events(uuid[], bigint[], bigint[], integer[], uuid[], jsonb[], uuid[],
    integer[], integer[], text[], jsonb[]) to service_role;
grant execute on function stint.append_unowned(uuid, text[], jsonb[]) to service_role;
grant execute on function stint.bury_worker(uuid, text) to service_role;
grant execute on function stint.cancel_session(uuid) to service_role;
grant execute on function stint.claim_sessions(uuid, integer, uuid, text[]) to service_role;
grant execute on function stint.create_session(jsonb, text, text) to service_role;
grant execute on function stint.decide_permission(uuid, uuid, text, text, uuid) to service_role;
grant execute on function stint.delete_session(uuid) to service_role;
grant execute on function stint.expire_permissions(integer) to service_role;
grant execute on function stint.finish_snapshot_part(uuid, bigint, uuid, text, bigint, text, jsonb) to
    service_role;
grant execute on function stint.finish_snapshot_removals(uuid[]) to service_role;
grant execute on function stint.finish_workspace_removals(text, uuid[]) to service_role;
grant execute on function stint.force_transition(uuid, text, text, text, bigint) to service_role;
grant execute on function stint.heartbeat(uuid, bigint) to service_role;
grant execute on function stint.pause_session(uuid) to service_role;
grant execute on function stint.put_snapshot_chunk(uuid, bigint, uuid, integer, bytea) to service_role;
grant execute on function stint.record_activity(uuid[], bigint[]) to service_role;
grant execute on function stint.register_worker(jsonb) to service_role;
grant execute on function stint.remove_snapshot_parts(uuid, bigint, uuid[]) to service_role;
grant execute on function stint.remove_worker(uuid) to service_role;
grant execute on function stint.resume_session(uuid, jsonb) to service_role;
grant execute on function stint.send_message(uuid, uuid, uuid, text, integer) to service_role;
grant execute on function stint.sweep_control_requests(bigint) to service_role;
grant execute on function stint.sweep_idle_sessions(integer) to service_role;
grant execute on function stint.sweep_lost_leases() to service_role;
grant usage on schema stint to service_role;
grant select on table public.coding_sessions to authenticated;
grant select on table public.coding_sessions to service_role;
grant select on table public.session_events to authenticated;
grant select on table public.session_events to service_role;
grant select on table public.stint_migrations to service_role;
grant select on table stint.attempts to service_role;
grant select on table stint.idempotency_keys to service_role;
grant select on table stint.inbox to service_role;
grant select on table stint.model_calls to service_role;
grant select on table stint.permissions to service_role;
grant select on table stint.raw_messages to service_role;
grant select on table stint.snapshot_chunks to service_role;
grant select on table stint.snapshot_parts to service_role;
grant select on table stint.snapshot_removals to service_role;
grant select on table stint.steps to service_role;
grant select on table stint.tool_calls to service_role;
grant select on table stint.workers to service_role;
grant select on table stint.workspace_removals to service_role;

-- Publications

alter publication supabase_realtime add table public.coding_sessions;
alter publication supabase_realtime add table public.session_events;
