import type { EncodedEvent, SessionEvent } from "../core/event.ts";
import { toEvent } from "../core/event-row.ts";
import type { EventQuery, EventRow } from "../core/store.ts";
import type { Queryable } from "./connection-pool.ts";
import { type EventTableRow, onlyRow } from "./rows.ts";

const EVENT_LIMIT_DEFAULT = 500;
const EVENT_LIMIT_MAX = 5_000;

/** A log has few transitions: attempts are capped, and so are a person's pauses in practice. */
const STATE_CHANGES_MAX = 10_000;

const WHERE = `
  where session_id = $1 and seq > $2 and ($3::text[] is null or event_type = any ($3))
  order by seq limit $4`;

export async function selectEvents(
  client: Queryable,
  id: string,
  query: EventQuery,
): Promise<readonly SessionEvent[]> {
  const { rows } = await client.query<EventTableRow>(
    `select id, session_id, seq, event_type, event_data, created_at
     from public.session_events ${WHERE}`,
    toParameters(id, query),
  );
  return rows.map(toEvent);
}

/** The payload is left as the text that the database made of it: half the work of a replay. */
export async function selectEventRows(
  client: Queryable,
  id: string,
  query: EventQuery,
): Promise<readonly EventRow[]> {
  const { rows } = await client.query<EventRow>(
    `select id, seq, event_type as type, event_data::text as "dataJson", created_at as "createdAt"
     from public.session_events ${WHERE}`,
    toParameters(id, query),
  );
  return rows;
}

export async function selectStateChanges(
  client: Queryable,
  id: string,
): Promise<readonly SessionEvent[]> {
  const { rows } = await client.query<EventTableRow>(
    `select id, session_id, seq, event_type, event_data, created_at
     from public.session_events where session_id = $1 and event_type = 'state_changed'
     order by seq limit ${STATE_CHANGES_MAX}`,
    [id],
  );
  return rows.map(toEvent);
}

/** Appends to a session that no worker owns; returns its last seq. */
export async function appendUnowned(
  client: Queryable,
  id: string,
  events: readonly EncodedEvent[],
): Promise<number> {
  const { rows } = await client.query<{ seq: number }>(
    "select stint.append_unowned($1, $2::text[], $3::jsonb[]) as seq",
    [id, events.map(({ type }) => type), events.map(({ json }) => json)],
  );
  return onlyRow(rows).seq;
}

function toParameters(id: string, query: EventQuery): unknown[] {
  const limit = Math.min(Math.max(query.limit ?? EVENT_LIMIT_DEFAULT, 1), EVENT_LIMIT_MAX);
  return [id, query.after ?? 0, query.types ?? null, limit];
}
