import type { SessionEvent, SessionEventType } from "./event.ts";
import type { JsonObject } from "./json.ts";

/** A row of `session_events`, as a driver or a realtime subscription gives it. */
export interface SessionEventRow {
  readonly id: string;
  readonly session_id: string;
  /** Some drivers give a bigint as text. */
  readonly seq: number | string;
  readonly event_type: string;
  readonly event_data: JsonObject;
  readonly created_at: string | Date;
}

/**
 * Reads a row of `session_events`, as a front end that subscribes to the table gets it. Needs no
 * schema library, so that it adds nothing to what a browser loads.
 */
export function toEvent(row: SessionEventRow): SessionEvent {
  return {
    id: row.id,
    sessionId: row.session_id,
    seq: Number(row.seq),
    type: row.event_type as SessionEventType,
    data: row.event_data,
    createdAt: new Date(row.created_at),
  };
}
