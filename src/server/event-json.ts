import { isTerminal, type SessionState } from "../core/state.ts";
import type { EventRow } from "../core/store.ts";

/** An event as JSON text in one line; the payload passes through as it is stored. */
export function toEventJson(sessionId: string, row: EventRow): string {
  const head = { id: row.id, sessionId, seq: row.seq, type: row.type };
  const created = JSON.stringify(row.createdAt);
  return `${JSON.stringify(head).slice(0, -1)},"data":${toOneLine(row.dataJson)},"createdAt":${created}}`;
}

/** An event as one message of an event stream: unnamed, its id is the seq. */
export function toStreamMessage(sessionId: string, row: EventRow): string {
  return `id: ${row.seq}\ndata: ${toEventJson(sessionId, row)}\n\n`;
}

/** Whether this event is the last that its session can have. */
export function isTerminalRow(row: EventRow): boolean {
  if (row.type !== "state_changed") return false;
  const { to } = JSON.parse(row.dataJson) as { to: SessionState };
  return isTerminal(to);
}

/** Line ends can only stand between the tokens of JSON text, where a space means the same. */
function toOneLine(json: string): string {
  return /[\r\n]/.test(json) ? json.replace(/[\r\n]+/g, " ") : json;
}
