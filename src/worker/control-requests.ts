import type { StopRequest } from "../core/attempt.ts";
import type { InboxItem } from "../core/store.ts";

/**
 * The stop that a session's waiting control requests ask for, or null when there are none. It
 * answers all of them; a cancel outweighs a pause.
 */
export function readControlRequest(
  items: readonly InboxItem[],
  sessionId: string,
): StopRequest | null {
  const requests = items.filter((item) => item.sessionId === sessionId && item.kind !== "message");
  if (requests.length === 0) return null;
  const inboxIds = requests.map((item) => item.id);
  return requests.some((item) => item.kind === "cancel")
    ? { kind: "cancel", message: "the session was cancelled", inboxIds }
    : { kind: "pause", message: "a user asked for a pause", inboxIds };
}
