import type { CallFact, CallId, Checkpoint, LedgerCall, RecoveryFacts } from "../core/attempt.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { AttemptWorkspace } from "./attempt-workspace.ts";
import type { TakenSnapshot } from "./snapshot-commit.ts";

/** What a recovery needs. */
export interface WorkspaceRecoveryOptions {
  readonly session: Pick<SessionSnapshot, "recovery" | "workspace">;
  readonly workspace: Pick<
    AttemptWorkspace,
    "base" | "isMoved" | "isRestarted" | "takeSnapshot" | "restore"
  >;
  readonly checkpoint: Checkpoint;
  /** What became of a call that was left open; asked before anything is changed. */
  readonly establish: (call: LedgerCall) => Promise<Omit<CallFact, "effects">>;
  /** Writes durably that this snapshot holds what these calls did, and not what those did. */
  readonly commitSnapshot: (snapshot: TakenSnapshot) => Promise<unknown>;
}

/**
 * Makes the workspace of a resumed attempt equal to what the log says, before the agent starts.
 *
 * Where all calls have ended and only the snapshot of the last is missing, the files are as that
 * call left them: they are stored now. A call that was left open has ended where facts show it.
 * Otherwise they go back to the last stored state: a call that was cut off may have had a part of its
 * effect, and whatever else has changed is in no log. A restore stores first what it changes. Where
 * nothing may be restored (`adopt`, or in place), the files are taken as they are. On another host
 * than before they are the last stored state already. Where the host was started anew they are not as
 * the last call left them: only stored states were flushed.
 *
 * A call that had ended, and whose effect is in no stored state, is undone by going back to one: what
 * the model is told of it says so from then on.
 *
 * A crash in the middle is followed by the same decision again.
 */
export async function recoverWorkspace(
  options: WorkspaceRecoveryOptions,
): Promise<RecoveryFacts | null> {
  const { session, workspace, checkpoint, commitSnapshot } = options;
  const effects = checkpoint.calls.filter(({ hasEffect }) => hasEffect);
  const found = new Map<CallId, Omit<CallFact, "effects">>();
  for (const call of effects) {
    if (call.status === "open") found.set(call.callId, await options.establish(call));
  }
  const hasEnded = ({ callId, status }: LedgerCall): boolean =>
    (found.get(callId)?.status ?? status) === "finished" || status !== "open";
  const isCutOff = !effects.every(hasEnded);
  // A state that was stored while a call ran is not the one that it left.
  const unstored = effects.filter(
    (call) => hasEnded(call) && (call.snapshotId === null || call.status === "open"),
  );
  const mayRestore = session.recovery === "restore" && session.workspace.mode === "copy";
  const { isMoved = false, isRestarted = false } = workspace;
  if (mayRestore && (isMoved || isRestarted || isCutOff || unstored.length === 0)) {
    const last = checkpoint.snapshotId ?? workspace.base;
    if (!isMoved) await workspace.restore(last);
    const undone = effects.filter(isUnstored).map(tellUndone);
    if (isMoved || undone.length > 0 || checkpoint.snapshotId === null) {
      await commitSnapshot({ id: last, calls: [], undone });
    }
    const facts = tellFacts(effects, found, "restored");
    if (undone.length === 0) return facts;
    const ids = undone.map(({ callId }) => callId);
    return { calls: new Map(), ...facts, workspace: "restored", undone: ids };
  }
  const now = await workspace.takeSnapshot();
  await commitSnapshot({ id: now, calls: unstored.map(({ callId }) => callId) });
  return tellFacts(effects, found, "kept");
}

/** Whether a call has ended whose effect is in no stored state yet. */
export function isUnstored({ hasEffect, status, snapshotId }: LedgerCall): boolean {
  return hasEffect && status !== "open" && snapshotId === null;
}

const UNDONE_NOTE =
  "[Stint] What this did was lost with the process that ran it. The workspace was restored to its " +
  "state before this call; effects outside the workspace may remain.";

function tellUndone({ callId, result }: LedgerCall): { callId: CallId; result: string } {
  const text = typeof result === "string" ? result : JSON.stringify(result);
  return { callId, result: `${text}\n${UNDONE_NOTE}` };
}

function tellFacts(
  effects: readonly LedgerCall[],
  found: ReadonlyMap<CallId, Omit<CallFact, "effects">>,
  workspace: RecoveryFacts["workspace"],
): RecoveryFacts | null {
  if (found.size === 0) return null;
  const calls = new Map<CallId, CallFact>();
  for (const { callId, snapshotId } of effects) {
    const fact = found.get(callId);
    if (fact === undefined) continue;
    const left = snapshotId === null ? "undone" : "partial";
    calls.set(callId, { ...fact, effects: workspace === "restored" ? left : "kept" });
  }
  return { workspace, calls };
}
