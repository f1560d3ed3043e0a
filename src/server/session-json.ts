import type { SessionSnapshot } from "../core/session.ts";
import type { Store } from "../core/store.ts";

type AskingStore = Pick<Store, "listAskingSessions">;

/** Sessions as they are now: one whose agent asks leave waits for it while it is active, too. */
export async function showSessions(
  store: AskingStore,
  sessions: readonly SessionSnapshot[],
): Promise<Record<string, unknown>[]> {
  const active = sessions.filter(({ status }) => status === "active").map(({ id }) => id);
  const asking = new Set(active.length === 0 ? [] : await store.listAskingSessions(active));
  return sessions.map((session) =>
    asking.has(session.id)
      ? { ...toSessionJson(session), waitingFor: "permission" }
      : toSessionJson(session),
  );
}

/** A session as JSON names it; the names are a public contract. */
export function toSessionJson(session: SessionSnapshot): Record<string, unknown> {
  const { mode, source, ref, path, host, snapshotId, snapshotStore } = session.workspace;
  const places = {
    ...{ host: host ?? null, snapshotId: snapshotId ?? null },
    snapshotStore: snapshotStore ?? null,
  };
  return {
    id: session.id,
    userId: session.userId,
    status: session.status,
    reason: session.reason,
    waitingFor: session.waitingFor,
    resumeAt: session.resumeAt,
    frozenUntil: session.frozenUntil,
    epoch: session.epoch,
    workerId: session.workerId,
    agent: session.agent,
    model: session.model,
    prompt: session.prompt,
    workspace: { mode, source: source ?? null, ref: ref ?? null, path, ...places },
    sandbox: session.sandbox,
    recovery: session.recovery,
    limits: session.limits,
    keepOpen: session.keepOpen,
    metadata: session.metadata,
    permissions: session.permissions,
    stats: session.stats,
    error: session.error,
    lastSeq: session.lastSeq,
    parentId: session.parentId,
    createdAt: session.createdAt,
    startedAt: session.startedAt,
    pausedAt: session.pausedAt,
    completedAt: session.completedAt,
    lastActivityAt: session.lastActivityAt,
    activeMs: session.activeMs,
    attempts: session.attempts,
  };
}
