import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import type { JsonObject } from "../core/json.ts";
import type { SessionMetadata } from "../core/session.ts";
import type { Reason, SessionState } from "../core/state.ts";
import type { Store } from "../core/store.ts";

/** Reads the times, totals and every state change of a session. @throws {session_not_found} */
export async function readSessionMetadata(
  { store, clock }: { readonly store: Store; readonly clock: Clock },
  sessionId: string,
): Promise<SessionMetadata> {
  const session = await store.getSession(sessionId);
  if (!session) throw new StintError("session_not_found", `no session ${sessionId}`);
  const changes = await store.readStateChanges(sessionId);
  const end = session.completedAt?.getTime() ?? clock.now();
  return {
    sessionId,
    state: session.status,
    startedAt: session.startedAt,
    lastActivityAt: session.lastActivityAt,
    durationMs: Math.max(0, end - session.createdAt.getTime()),
    activeMs: session.activeMs,
    stats: session.stats,
    stateChanges: changes.map((event) => readStateChange(event.data, event.createdAt)),
  };
}

function readStateChange(data: JsonObject, at: Date): SessionMetadata["stateChanges"][number] {
  return {
    from: data["from"] as SessionState,
    to: data["to"] as SessionState,
    reason: data["reason"] as Reason,
    at,
  };
}
