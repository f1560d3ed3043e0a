import { addExamples, type CommandModule } from "../command.ts";
import { runChecks, type CheckResult } from "../doctor-checks.ts";
import type { Output } from "../output.ts";
import { toSafeLine } from "../terminal-safe.ts";

export const command: CommandModule = {
  configure(command) {
    addExamples(command, ["stint doctor", "stint doctor --json"]);
  },
  async run(context) {
    const { output } = context;
    const checks = await runChecks(context);
    const failed = checks.filter(({ status }) => status === "failed");
    output.document({ ok: failed.length === 0, checks });
    for (const check of checks) print(output, check);
    output.line(failed.length === 0 ? "\nStint can run here." : "\nStint cannot run here yet.");
    return failed.length === 0 ? 0 : 3;
  },
};

const MARKS = {
  ok: ["green", "✓"],
  warning: ["yellow", "!"],
  failed: ["red", "✕"],
} as const;

function print(output: Output, { name, status, detail, remedy }: CheckResult): void {
  const [style, mark] = MARKS[status];
  output.result(`${output.style(style, mark)} ${name.padEnd(11)} ${toSafeLine(detail)}`);
  if (remedy !== undefined)
    output.result(`${" ".repeat(14)}next: ${toSafeLine(output.hint(remedy))}`);
}
