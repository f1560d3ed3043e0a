import type { Stats } from "../../client.ts";
import { addExamples, type CommandModule } from "../command.ts";
import { formatDuration } from "../duration.ts";
import { toSafeLine } from "../terminal-safe.ts";

export const command: CommandModule = {
  configure(command) {
    addExamples(command, ["stint stats", "stint stats --json"]);
  },
  async run({ output, connect, signal }) {
    const client = await connect();
    const stats = await client.stats({ signal });
    output.document(stats);
    for (const [name, text] of describe(stats)) {
      output.result(`${output.style("dim", name.padEnd(18))} ${text}`);
    }
    return 0;
  },
};

function describe(stats: Stats): [string, string][] {
  const { averageDurationMs, expirationRatePercent } = stats;
  return [
    ["sessions", list(stats.sessions)],
    ["average duration", averageDurationMs === null ? "–" : formatDuration(averageDurationMs)],
    ["expired", expirationRatePercent === null ? "–" : `${expirationRatePercent}%`],
    ["events, last hour", list(stats.eventVolume)],
    ["workers", `${stats.workers} with ${stats.slots} slots`],
  ];
}

function list(counts: Readonly<Record<string, number>>): string {
  const items = Object.entries(counts).filter(([, count]) => count > 0);
  return items.length === 0
    ? "none"
    : items.map(([name, count]) => `${count} ${toSafeLine(name)}`).join(" · ");
}
