import type { SessionDiff } from "../../client.ts";
import { addExamples, type CommandModule } from "../command.ts";
import type { Output, Style } from "../output.ts";
import { toSafeLine, toSafeText } from "../terminal-safe.ts";

interface DiffOptions {
  readonly stat?: boolean;
}

export const command: CommandModule<DiffOptions> = {
  configure(command) {
    command.argument("<session>", "id, or the start of one");
    command.option("--stat", "only the files, with counts of lines");
    addExamples(command, ["stint diff 7f3a1c", "stint diff 7f3a1c --json | jq -r .patch"]);
  },
  async run({ output, connect, signal }, [id = ""], options) {
    const client = await connect();
    const diff = await client.sessions.diff(id, {}, { signal });
    output.document(diff);
    if (diff.files.length === 0) output.line("No changes.");
    else if (options.stat === true) printFiles(output, diff);
    else printPatch(output, diff);
    return 0;
  },
};

function printFiles(output: Output, diff: SessionDiff): void {
  for (const file of diff.files) {
    const old = file.oldPath === undefined ? "" : `${toSafeLine(file.oldPath)} → `;
    const counts = file.binary ? "binary" : formatCounts(output, file.additions, file.deletions);
    output.result(`${file.action.padEnd(8)} ${old}${toSafeLine(file.path)}  ${counts}`);
  }
  const files = `${diff.files.length} file${diff.files.length === 1 ? "" : "s"}`;
  output.line(`${files}  ${formatCounts(output, diff.additions, diff.deletions)}`);
}

function formatCounts(output: Output, additions: number, deletions: number): string {
  return `${output.style("green", `+${additions}`)} ${output.style("red", `−${deletions}`)}`;
}

function printPatch(output: Output, diff: SessionDiff): void {
  for (const line of diff.patch.replace(/\n$/, "").split("\n")) {
    const style = styleOfLine(line);
    // Line by line, so that no character of the patch can end a line or colour the next.
    const safe = toSafeText(line.replace(/\r$/, "")).replaceAll("\n", "␍");
    output.result(style === null ? safe : output.style(style, safe));
  }
  if (diff.truncated)
    output.notice(output.hint("the patch is cut; see the files with: stint diff --stat"));
}

function styleOfLine(line: string): Style | null {
  if (/^(diff |index |--- |\+\+\+ )/.test(line)) return "bold";
  if (line.startsWith("@@")) return "cyan";
  if (line.startsWith("+")) return "green";
  return line.startsWith("-") ? "red" : null;
}
