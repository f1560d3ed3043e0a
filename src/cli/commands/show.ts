import type { Session } from "../../client.ts";
import { addExamples, type CommandModule } from "../command.ts";
import { describeSandbox } from "../../core/sandbox.ts";
import { formatAge, formatDuration } from "../duration.ts";
import type { Output } from "../output.ts";
import { describePermission } from "../permission-text.ts";
import {
  countOf,
  describeBudget,
  describeRemedy,
  describeState,
  describeUse,
  describeWait,
  frozenUntil,
  nextCommand,
} from "../session-text.ts";
import { systemClock } from "../system-clock.ts";
import { toSafeLine, toSafeText } from "../terminal-safe.ts";

export const command: CommandModule = {
  configure(command) {
    command.argument("<session>", "id, or the start of one");
    addExamples(command, ["stint show 7f3a1c", "stint show 7f3a1c --json"]);
  },
  async run({ output, connect, signal }, [id = ""]) {
    const client = await connect();
    const session = await client.sessions.get(id, { signal });
    const asked =
      session.waitingFor === "permission" ? await client.sessions.permissions(id, { signal }) : [];
    const asks = asked.filter(({ status }) => status === "pending");
    output.document({ ...session, ...(asks.length > 0 && { asks }) });
    for (const [name, text] of describe(output, session, systemClock.now())) {
      output.result(`${output.style("dim", name.padEnd(11))} ${text}`);
    }
    for (const [index, line] of asks
      .flatMap((permission) => describePermission(permission, systemClock.now()))
      .entries()) {
      output.result(`${output.style("dim", (index === 0 ? "asks" : "").padEnd(11))} ${line}`);
    }
    return 0;
  },
};

function describe(output: Output, session: Session, nowMs: number): [string, string][] {
  const state = describeState(session);
  const ago = (instant: string): string => `${formatAge(instant, nowMs)} ago`;
  const { error, workspace } = session;
  const next = nextCommand(session);
  const remedy = describeRemedy(session);
  const rows: [string, string | null][] = [
    ["session", session.id],
    [
      "state",
      `${output.style(state.style, state.text)}  ${toSafeLine(session.reason).replaceAll("_", " ")}`,
    ],
    ["waits for", session.waitingFor ?? describeWait(session, nowMs)],
    ["goes on", session.resumeAt === null ? null : `at ${session.resumeAt}`],
    ["frozen", describeFreeze(session, nowMs)],
    ["next", next && output.hint(next)],
    ["error", error && toSafeLine(`${error.code}: ${error.message}`)],
    ["remedy", remedy && output.hint(toSafeLine(remedy))],
    ["prompt", indent(toSafeText(session.prompt).trimEnd())],
    ["agent", toSafeLine([session.agent, session.model].filter(Boolean).join(" · "))],
    ["workspace", toSafeLine(describeWorkspace(workspace))],
    ["path", workspace.path && toSafeLine(workspace.path)],
    ["files", describePlace(workspace)],
    ["sandbox", session.sandbox && toSafeLine(describeSandbox(session.sandbox))],
    ["used", describeUse(session).join(" · ") || null],
    ["budget", describeBudget(session)],
    ["created", ago(session.createdAt)],
    ["active", describeActive(session)],
    ["activity", session.status === "active" ? ago(session.lastActivityAt) : null],
    ["ended", session.completedAt && ago(session.completedAt)],
    ["worker", session.workerId && toSafeLine(session.workerId)],
    ["log", `${countOf(session.lastSeq, "event")} · epoch ${session.epoch}`],
    ["parent", session.parentId],
  ];
  return rows.filter((row): row is [string, string] => row[1] !== null);
}

function describeWorkspace({ mode, source, ref }: Session["workspace"]): string {
  if (source === null) return "an empty directory of its own";
  return `${mode === "in-place" ? "in place" : "a copy of"} ${source}${ref === null ? "" : ` at ${ref}`}`;
}

/** Which machine has them, and whether another one could go on with them. */
function describePlace({ host, snapshotStore }: Session["workspace"]): string | null {
  if (!host) return null;
  const machine = toSafeLine(host.replace(/\/.*/s, ""));
  const place = snapshotStore?.replace(/:.*/s, "");
  return `on ${machine}, ${place ? `stored in ${toSafeLine(place)}` : "and nowhere else"}`;
}

function describeFreeze(session: Session, nowMs: number): string | null {
  const until = frozenUntil(session, nowMs);
  return until && `until ${until} at most; a resume before goes on where its processes are`;
}

/** Attempts that ended in good order are given back, so that none may be left to tell of. */
function describeActive({ activeMs, attempts }: Session): string | null {
  const took = formatDuration(activeMs);
  if (attempts === 0) return activeMs === 0 ? null : took;
  return `${took} in ${countOf(attempts, "attempt")}`;
}

function indent(text: string): string {
  return text.replaceAll("\n", `\n${" ".repeat(12)}`);
}
