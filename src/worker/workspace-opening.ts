import type { Clock } from "../core/clock.ts";
import { toStintError } from "../core/error.ts";
import type { Logger } from "../core/log.ts";
import { explainOpeningError, type AttemptEnding } from "./attempt-ending.ts";
import type { AttemptWorkspace, OpenAttemptWorkspace } from "./attempt-workspace.ts";
import type { SessionHold } from "./session-hold.ts";
import { waitWithinStop } from "./stop-bound.ts";

/** What opening a workspace needs. */
export interface WorkspaceOpeningOptions {
  readonly openWorkspace: OpenAttemptWorkspace;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stopGraceMs: number;
}

/**
 * Opens the workspace of an attempt, or says why the attempt ends before it began. A clone may take
 * minutes: a stop does not wait for it, and what opens too late is closed.
 * @throws where the host does not open it now: no fault of the session.
 */
export async function openUnlessStopped(
  hold: SessionHold,
  options: WorkspaceOpeningOptions,
): Promise<{ readonly workspace: AttemptWorkspace } | AttemptEnding> {
  if (hold.stopRequest) return hold.stopRequest;
  const opening = tryOpen(hold, options);
  const opened = await waitWithinStop(hold, opening, options);
  if (hold.stopRequest) {
    void closeLate(hold, opening, options.logger);
    return hold.stopRequest;
  }
  if ("unreachable" in opened) throw opened.unreachable;
  return opened;
}

type Opened =
  { readonly workspace: AttemptWorkspace } | AttemptEnding | { readonly unreachable: Error };

/** Never rejects. */
async function tryOpen(hold: SessionHold, options: WorkspaceOpeningOptions): Promise<Opened> {
  try {
    return { workspace: await options.openWorkspace(hold.session, hold.signal) };
  } catch (thrown) {
    try {
      return explainOpeningError(toStintError(thrown));
    } catch (unreachable) {
      return { unreachable: toStintError(unreachable) };
    }
  }
}

async function closeLate(
  { sessionId }: SessionHold,
  opening: Promise<Opened>,
  logger: Logger,
): Promise<void> {
  const late = await opening;
  if (!("workspace" in late)) return;
  try {
    await late.workspace.close();
  } catch (thrown) {
    const { code, message } = toStintError(thrown);
    const fields = { sessionId, code, error: message };
    logger.warn(fields, "A workspace that was opened too late could not be closed");
  }
}
