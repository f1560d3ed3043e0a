import { resolve } from "node:path";
import { Option } from "commander";
import type { Session } from "../../client.ts";
import type { Config } from "../../core/config.ts";
import { StintError } from "../../core/error.ts";
import { addExamples, type CommandModule } from "../command.ts";
import type { Output } from "../output.ts";
import { toSafeLine } from "../terminal-safe.ts";

interface ApplyCommandOptions {
  readonly to?: string;
  readonly branch?: boolean;
}

export const command: CommandModule<ApplyCommandOptions> = {
  configure(command) {
    command.argument("<session>", "id, or the start of one");
    command.option("--to <folder>", "apply there (default: the source of the workspace)");
    command.addOption(
      new Option("--branch", "make a branch stint/<id> of it in the source").conflicts("to"),
    );
    addExamples(command, [
      "stint diff 7f3a1c",
      "stint apply 7f3a1c",
      "stint apply 7f3a1c --branch",
    ]);
    command.addHelpText(
      "after",
      "\nMerges three ways into the files as they are now. All of it is applied, or nothing.\n" +
        "With --branch your files stay as they are: the branch has one commit, on the commit that\n" +
        "the session started from.",
    );
  },
  async run({ output, connect, loadConfig, signal, cwd }, [id = ""], options) {
    const client = await connect();
    const session = await client.sessions.get(id, { signal });
    assertNotActive(session);
    const config = await loadConfig();
    if (options.branch === true) return makeBranch({ session, config, output });
    const [{ withSessionFiles }, { applyToSource }] = await Promise.all([
      import("../session-files.ts"),
      import("../../workspace/apply.ts"),
    ]);
    const request = { session, config, output };
    const { target, result } = await withSessionFiles(request, async ({ workspace, to }) => {
      const target = options.to === undefined ? workspace.source : resolve(cwd, options.to);
      const applied = applyToSource(workspace, {
        ...(options.to === undefined || target === null ? {} : { target }),
        ...(to === undefined ? {} : { to }),
      });
      return { target, result: await applied };
    });
    if (result.conflicts.length > 0) throw describeConflict(session, result.conflicts);
    output.document({ sessionId: session.id, target, ...result });
    for (const path of result.applied) {
      output.result(`${output.style("green", "✓")} ${toSafeLine(path)}`);
    }
    const count = result.applied.length;
    const files = `${count} file${count === 1 ? "" : "s"}`;
    output.line(
      count === 0 ? "Nothing to apply." : `${files} changed in ${toSafeLine(target ?? "")}`,
    );
    return 0;
  },
};

async function makeBranch(request: {
  readonly session: Session;
  readonly config: Config;
  readonly output: Output;
}): Promise<number> {
  const { session, output } = request;
  const [{ withSessionFiles }, { createResultBranch }] = await Promise.all([
    import("../session-files.ts"),
    import("../../workspace/result-branch.ts"),
  ]);
  const made = await withSessionFiles(request, ({ workspace, to }) =>
    createResultBranch(workspace, {
      message: describeCommit(session),
      ...(to !== undefined && { to }),
    }),
  );
  output.document({ sessionId: session.id, ...(made ?? { branch: null }) });
  if (made === null) {
    output.line("Nothing to apply.");
    return 0;
  }
  const { branch, commit, isNew, target } = made;
  output.result(`${output.style("green", "✓")} ${branch} ${commit.slice(0, 12)}`);
  output.line(`${isNew ? "Made" : "There already"} in ${toSafeLine(target)}`);
  return 0;
}

const SUBJECT_CHARS_MAX = 72;

function describeCommit({ id, prompt }: Session): string {
  const [first = ""] = prompt.trim().split("\n", 1);
  const subject = [...toSafeLine(first)].slice(0, SUBJECT_CHARS_MAX).join("").trim();
  return `${subject === "" ? "Result of a session" : subject}\n\nStint-Session: ${id}`;
}

/** Its worker takes snapshots of its own while it runs. */
function assertNotActive({ id, status }: Session): void {
  if (status !== "active") return;
  throw new StintError("workspace_busy", `session ${id} is still at work`, {
    remedy: `Pause it first: stint pause ${id}. Or wait for its end.`,
  });
}

function describeConflict({ id }: Session, conflicts: readonly string[]): StintError {
  const paths = conflicts.map(toSafeLine).join("\n");
  return new StintError(
    "workspace_conflict",
    `nothing was applied: these files changed on both sides\n${paths}`,
    {
      fields: { sessionId: id, conflicts: conflicts.join("\n") },
      remedy: `Commit or move your own changes away, then: stint apply ${id}`,
    },
  );
}
