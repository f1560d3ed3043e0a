import type { Worker } from "../../client.ts";
import { addExamples, type CommandModule } from "../command.ts";
import { formatAge } from "../duration.ts";
import type { Output } from "../output.ts";
import { shortenIds } from "../session-text.ts";
import { formatTable, type Cell, type Column } from "../table.ts";
import { systemClock } from "../system-clock.ts";
import { toSafeLine } from "../terminal-safe.ts";

const COLUMNS: readonly Column[] = [
  { title: "ID" },
  { title: "NAME" },
  { title: "LIVE" },
  { title: "BUSY", align: "right" },
  { title: "HEARTBEAT", align: "right" },
  { title: "UP", align: "right" },
  { title: "HOST" },
  { title: "PID", align: "right" },
  { title: "VERSION" },
  { title: "AGENTS" },
];

export const command: CommandModule = {
  configure(command) {
    addExamples(command, ["stint workers", "stint workers --json"]);
  },
  async run({ output, connect, signal }) {
    const client = await connect();
    const workers = await client.workers.list({ signal });
    output.document({ workers });
    if (workers.length === 0) output.line(output.hint("No workers. Start one: stint worker"));
    else for (const line of format(output, workers, systemClock.now())) output.result(line);
    return 0;
  },
};

function format(output: Output, workers: readonly Worker[], nowMs: number): string[] {
  const ids = shortenIds(workers.map(({ id }) => id));
  const rows = workers.map((worker): Cell[] => [
    { text: toSafeLine(ids.get(worker.id) ?? worker.id) },
    { text: toSafeLine(worker.name) },
    worker.isLive
      ? { text: "✓ live", style: (text) => output.style("green", text) }
      : { text: "✕ lost", style: (text) => output.style("red", text) },
    { text: `${worker.activeSessions}/${worker.slots}` },
    { text: formatAge(worker.heartbeatAt, nowMs) },
    { text: formatAge(worker.startedAt, nowMs) },
    { text: toSafeLine(worker.host) },
    { text: String(worker.pid) },
    { text: toSafeLine(worker.version) },
    { text: toSafeLine(worker.agents.join(", ")) },
  ]);
  return formatTable(COLUMNS, rows, (text) => output.style("dim", text));
}
