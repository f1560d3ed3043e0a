import type { CallId, Checkpoint, RecoveryFacts } from "../core/attempt.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { SnapshotId } from "../core/workspace.ts";
import type { AttemptWorkspace } from "./attempt-workspace.ts";

/** What a recovery needs. */
export interface WorkspaceRecoveryOptions {
  readonly session: Pick<SessionSnapshot, "recovery" | "workspace">;
  readonly workspace: Pick<AttemptWorkspace, "base" | "takeSnapshot" | "restore">;
  readonly checkpoint: Checkpoint;
  /** Writes durably that this snapshot holds what these calls did. */
  readonly commitSnapshot: (id: SnapshotId, calls: readonly CallId[]) => Promise<unknown>;
}

/**
 * Makes the workspace of a resumed attempt equal to what the log says, before the agent starts.
 *
 * Where all calls have ended and only the snapshot of the last is missing, the files are as that
 * call left them: they are stored now. Otherwise they go back to the last stored state: a call that
 * was cut off may have had a part of its effect, and whatever else has changed is in no log. A
 * restore stores first what it changes. Where nothing may be restored (`adopt`, or in place), the
 * files are taken as they are.
 *
 * A crash in the middle is followed by the same decision again.
 */
export async function recoverWorkspace(
  options: WorkspaceRecoveryOptions,
): Promise<RecoveryFacts | null> {
  const { session, workspace, checkpoint, commitSnapshot } = options;
  const effects = checkpoint.calls.filter(({ hasEffect }) => hasEffect);
  const isCutOff = effects.some(({ status }) => status === "open");
  const unstored = effects.filter((call) => call.status !== "open" && call.snapshotId === null);
  const mayRestore = session.recovery === "restore" && session.workspace.mode === "copy";
  if (mayRestore && (isCutOff || unstored.length === 0)) {
    const last = checkpoint.snapshotId ?? workspace.base;
    await workspace.restore(last);
    if (checkpoint.snapshotId === null) await commitSnapshot(last, []);
    return isCutOff ? { workspace: "restored" } : null;
  }
  const now = await workspace.takeSnapshot();
  const ids = unstored.map(({ callId }) => callId);
  await commitSnapshot(now, ids);
  return isCutOff ? { workspace: "kept" } : null;
}
