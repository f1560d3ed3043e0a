-- Tables.
--
--   public.coding_sessions   one row a session: its state and its totals
--   public.session_events    the log: dense seq per session, immutable
--   stint.workers            one row a worker: its lease
--   stint.attempts           one row per hold of a worker on a session
--   stint.steps              one row a model step: the exact resume
--   stint.tool_calls         the ledger: intent before an effect, outcome after it
--   stint.model_calls        calls of models: intent before one goes out, usage and cost after it
--   stint.inbox              messages and control requests for running agents
--   stint.raw_messages       what adapters received, as it came
--   stint.idempotency_keys   answers of repeated requests
--   stint.snapshot_parts     stored states of workspaces, where the database keeps them
--   stint.snapshot_chunks    their bytes
--   stint.snapshot_removals  deleted sessions whose states still lie in a folder
--   stint.workspace_removals deleted sessions whose files still lie on a host that worked on them
--
-- Lock order: a session row first, then rows that belong to it. Nothing locks two sessions but the
-- group commit (in order of id) and the sweeps (which skip what is locked).
-- No roles are created here and nothing of auth is changed, so that the same files apply to a
-- Supabase project.

create schema stint;

create table public.coding_sessions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default '00000000-0000-4000-8000-000000000001',
  status text not null default 'pending'
    check (status in ('pending', 'active', 'paused', 'completed', 'failed', 'expired')),
  reason text not null default 'created',
  waiting_for text check (waiting_for in ('input', 'permission')),
  resume_at timestamptz,
  epoch bigint not null default 0,
  last_seq bigint not null default 0,
  -- The last commit that carried more than events: tells a repeated one, after a lost answer, from new.
  commit_id uuid,
  worker_id uuid,
  -- The worker that keeps the processes of a paused session frozen, and how long: meanwhile only it,
  -- while its lease lives, may claim the session.
  hold_worker uuid,
  hold_until timestamptz,
  agent text not null default 'builtin',
  model text,
  prompt text not null,
  script jsonb,
  workspace jsonb not null default '{"mode": "copy"}',
  workspace_path text,
  -- Where the files of the session are; a worker with the same value can go on with them.
  workspace_host text,
  -- The stored state of the workspace that the log has reached; what a resumed attempt starts from.
  snapshot_id text,
  -- The place off the host that holds this state whole; null: it lies on workspace_host alone.
  snapshot_store text,
  -- The last folder off the host that got anything of the session; emptied when it is deleted.
  snapshot_folder text,
  in_place_path text,
  recovery text not null default 'restore' check (recovery in ('restore', 'adopt')),
  limits jsonb not null default '{}',
  idle_timeout_ms bigint not null default 1800000 check (idle_timeout_ms > 0),
  paused_timeout_ms bigint not null default 604800000 check (paused_timeout_ms > 0),
  queue_timeout_ms bigint not null default 86400000 check (queue_timeout_ms > 0),
  deadline_at timestamptz,
  keep_open boolean not null default false,
  metadata jsonb not null default '{}',
  -- How its commands were bounded last.
  sandbox jsonb,
  -- Rules about what the agent must ask leave for, before those of the worker.
  permissions jsonb not null default '[]',
  agent_session_id text,
  parent_id uuid,
  iterations bigint not null default 0,
  input_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  cache_read_tokens bigint not null default 0,
  cache_write_tokens bigint not null default 0,
  reasoning_tokens bigint not null default 0,
  tool_calls bigint not null default 0,
  model_calls bigint not null default 0,
  cost_usd double precision,
  error_code text,
  error_message text,
  attempts integer not null default 0 check (attempts >= 0),
  created_at timestamptz not null default now(),
  started_at timestamptz,
  active_since timestamptz,
  paused_at timestamptz,
  completed_at timestamptz,
  last_activity_at timestamptz not null default now(),
  active_ms bigint not null default 0,
  -- When a sweep looks at the session next. Re-armed lazily, so that activity changes no index.
  sweep_at timestamptz,
  constraint terminal_has_end check ((status in ('completed', 'failed', 'expired')) = (completed_at is not null)),
  constraint only_active_has_worker check (worker_id is null or status = 'active'),
  constraint only_paused_is_held check (hold_worker is null or status = 'paused'),
  constraint hold_has_end check ((hold_worker is null) = (hold_until is null)),
  constraint only_paused_waits check (status = 'paused' or (resume_at is null and waiting_for is null))
) with (fillfactor = 50);

create index coding_sessions_pending on public.coding_sessions (created_at) where status = 'pending';
create index coding_sessions_resumable on public.coding_sessions (resume_at) where status = 'paused';
create index coding_sessions_sweep on public.coding_sessions (sweep_at)
  where status in ('pending', 'active', 'paused');
create index coding_sessions_worker on public.coding_sessions (worker_id) where status = 'active';
create index coding_sessions_held on public.coding_sessions (hold_worker) where hold_worker is not null;
create index coding_sessions_newest on public.coding_sessions (created_at desc, id desc);
create index coding_sessions_user on public.coding_sessions (user_id, created_at desc);
-- One live session per directory worked in in place.
create unique index coding_sessions_in_place on public.coding_sessions (in_place_path)
  where in_place_path is not null and status in ('pending', 'active', 'paused');

-- No foreign key to coding_sessions: it would cost more than the whole insert. append_events locks
-- the session row, deletion takes the events along, and nobody else may write here.
create table public.session_events (
  id uuid not null,
  session_id uuid not null,
  seq bigint not null,
  event_type text not null,
  event_data jsonb not null,
  created_at timestamptz not null default now(),
  primary key (session_id, seq)
);
create index session_events_created on public.session_events
  using brin (created_at) with (pages_per_range = 32, autosummarize = on);

create table stint.workers (
  id uuid primary key,
  name text not null,
  host text not null,
  boot_id text not null,
  pid integer not null,
  pid_start_time text not null,
  slots integer not null,
  version text not null,
  agents text[] not null default '{}',
  workspace_host text,
  -- The places off the host whose states this worker can read.
  snapshot_stores text[] not null default '{}',
  lease_duration_ms bigint not null check (lease_duration_ms > 0),
  -- Set with proof that the process is gone: its lease counts no more, whatever it says.
  dead_at timestamptz,
  started_at timestamptz not null default now(),
  heartbeat_at timestamptz not null default now(),
  lease_expires_at timestamptz not null
) with (fillfactor = 50);

create table stint.attempts (
  session_id uuid not null,
  epoch bigint not null,
  worker_id uuid,
  -- Whose files it works on: what it leaves there goes when the session is deleted.
  workspace_host text,
  started_at timestamptz not null default now(),
  ended_at timestamptz,
  ended_state text,
  ended_reason text,
  refunded boolean not null default false,
  -- True once a model step or a tool outcome was committed.
  progress boolean not null default false,
  primary key (session_id, epoch)
);

create table stint.steps (
  session_id uuid not null,
  iteration integer not null,
  epoch bigint not null,
  inputs jsonb not null,
  response jsonb,
  usage jsonb,
  begun_at timestamptz not null default now(),
  -- Until then the model call counts as work and the session is not idle.
  deadline_at timestamptz not null,
  finished_at timestamptz,
  primary key (session_id, iteration)
);

create table stint.tool_calls (
  id uuid primary key,
  session_id uuid not null,
  iteration integer not null,
  ordinal integer not null,
  epoch bigint not null,
  model_call_id text not null,
  tool text not null,
  input jsonb not null,
  -- False for calls that only look: no snapshot follows them.
  has_effect boolean not null default true,
  -- By what a recovery can tell how far the call has come.
  evidence jsonb,
  -- The snapshot that holds what the call did; null until there is one.
  snapshot_id text,
  status text not null default 'open' check (status in ('open', 'finished', 'interrupted', 'unknown')),
  result jsonb,
  is_error boolean not null default false,
  exit_code integer,
  opened_at timestamptz not null default now(),
  deadline_at timestamptz not null,
  closed_at timestamptz,
  unique (session_id, iteration, ordinal),
  constraint closed_has_end check ((status = 'open') = (closed_at is null))
);
create index tool_calls_open on stint.tool_calls (session_id) where status = 'open';

create table stint.model_calls (
  id uuid primary key,
  session_id uuid not null,
  epoch bigint not null,
  provider text not null,
  wire text not null,
  model text not null,
  is_streamed boolean not null,
  -- What the request may count: charged when the outcome is never known.
  input_tokens_estimate bigint not null,
  status text not null default 'open' check (status in ('open', 'finished', 'failed', 'aborted', 'lost')),
  http_status integer,
  usage jsonb,
  -- Null where the model has no known price.
  cost_usd double precision,
  is_estimated boolean,
  retries integer,
  opened_at timestamptz not null default now(),
  -- Until then the call counts as work and the session is not idle.
  deadline_at timestamptz not null,
  closed_at timestamptz,
  constraint closed_call_has_end check ((status = 'open') = (closed_at is null))
);
create index model_calls_session on stint.model_calls (session_id, opened_at);
create index model_calls_open on stint.model_calls (session_id) where status = 'open';

create table stint.inbox (
  id uuid primary key,
  position bigint not null generated always as identity,
  session_id uuid not null,
  kind text not null check (kind in ('message', 'pause', 'cancel')),
  body text,
  user_id uuid,
  created_at timestamptz not null default now(),
  consumed_at timestamptz,
  consumed_epoch bigint,
  -- The model step that first carried the message; null: logged, but maybe never seen.
  delivered_iteration integer
);
create index inbox_waiting on stint.inbox (session_id, position) where consumed_at is null;
create index inbox_session on stint.inbox (session_id, position);

-- What agents asked leave for. A decision binds to the hash of tool, input and directory.
create table stint.permissions (
  id uuid primary key,
  position bigint not null generated always as identity,
  session_id uuid not null,
  request_hash text not null,
  request jsonb not null,
  -- The call that waits for it, where it is in the ledger already: until `used_at` it has not begun.
  call_id uuid,
  epoch bigint not null,
  status text not null default 'pending' check (status in ('pending', 'allowed', 'denied', 'lapsed')),
  at_expiry text not null check (at_expiry in ('allowed', 'denied')),
  decided_by text check (decided_by in ('user', 'expiry')),
  decided_user uuid,
  note text,
  asked_at timestamptz not null default now(),
  expires_at timestamptz not null,
  decided_at timestamptz,
  -- Set with the event that tells the decision.
  told_at timestamptz,
  -- Set with the intent that acts on it: it counts no more.
  used_at timestamptz,
  constraint decided_has_end check ((status = 'pending') = (decided_at is null))
);
create index permissions_session on stint.permissions (session_id, position);
create index permissions_pending on stint.permissions (expires_at) where status = 'pending';

create table stint.raw_messages (
  session_id uuid not null,
  position bigint not null generated always as identity,
  epoch bigint not null,
  -- The last seq of the commit that carried it.
  seq bigint not null,
  message jsonb not null,
  created_at timestamptz not null default now(),
  primary key (session_id, position)
);

create table stint.idempotency_keys (
  user_id uuid not null,
  key text not null,
  request_hash text not null,
  session_id uuid not null,
  created_at timestamptz not null default now(),
  primary key (user_id, key)
);
create index idempotency_keys_session on stint.idempotency_keys (session_id);

-- A part completes one state of a workspace, together with the parts before it. It is written when
-- its chunks are: chunks without a part are an upload that goes on, or that a crash cut off.
create table stint.snapshot_parts (
  session_id uuid not null,
  id uuid not null,
  position bigint not null generated always as identity,
  snapshot_id text not null,
  size_bytes bigint not null check (size_bytes >= 0),
  sha256 text not null,
  -- What another host has to know to make the workspace anew.
  about jsonb not null,
  created_at timestamptz not null default now(),
  primary key (session_id, id)
);

create table stint.snapshot_chunks (
  session_id uuid not null,
  part_id uuid not null,
  ordinal integer not null check (ordinal >= 0),
  bytes bytea not null check (length(bytes) between 1 and 1048576),
  primary key (session_id, part_id, ordinal)
);
-- Packed already: trying to compress them again costs time alone.
alter table stint.snapshot_chunks alter column bytes set storage external;

create table stint.snapshot_removals (
  session_id uuid primary key,
  folder text not null,
  created_at timestamptz not null default now()
);
create index snapshot_removals_folder on stint.snapshot_removals (folder);

create table stint.workspace_removals (
  workspace_host text not null,
  session_id uuid not null,
  created_at timestamptz not null default now(),
  primary key (workspace_host, session_id)
);
create index workspace_removals_created on stint.workspace_removals (created_at);
