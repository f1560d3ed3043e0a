import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findProcesses, poll, runStint, type StintProcess } from "../../e2e/stint-process.ts";
import { AppendLoad } from "./append-load.ts";
import { locateTemplate } from "../../data-template.ts";
import { readEmbeddedUrl } from "./embedded-url.ts";
import { DISK_NEEDS, FailingDisk } from "./failing-disk.ts";
import { runTool } from "./scene.ts";
import { defineFault, promise } from "./system-fault.ts";
import { WorkingSession } from "./working-session.ts";

const RECOVERY_MS_MAX = 60_000;
/** From large to small, until not even a block is left. */
const PIECES = ["1G", "100M", "10M", "1M", "64K", "4K"];

/**
 * Some other program fills the disk on which everything lies. Commands of sessions end, events can no
 * longer be stored, Postgres ends and cannot start again; each says so by its code. Space is
 * freed: all goes on.
 */
export const diskFullFault = defineFault(
  "disk full",
  [...DISK_NEEDS, "fallocate", "git", "bwrap"],
  async (scene) => {
    const content = await locateTemplate();
    const disk = await FailingDisk.create(scene, "disk", { sizeMb: 3_072, content });
    const dataDir = join(disk.path, "data");
    const service = scene.start(["dev"], dataDir);
    const client = await service.connect();
    const load = new AppendLoad();
    scene.onEnd(() => load.stop());
    await load.start(() => readEmbeddedUrl(dataDir));
    const session = await WorkingSession.createEndless(client, 1);
    session.read(client);
    await session.waitForBegin(client, 0);

    await fillDisk(disk.path);
    await poll(() => Promise.resolve(saysFull(service) ? true : null), RECOVERY_MS_MAX);
    const code = await poll(async () => {
      // It may have crashed already, or live on until it has to write its log.
      killPostgres(dataDir);
      await fillDisk(disk.path);
      const args = ["db", "status", "--json"];
      const said = await runStint(args, { dataDir, cwd: scene.folder });
      return `${said.stdout}${said.stderr}`.includes("disk_full") ? said.code : null;
    }, RECOVERY_MS_MAX);
    promise(code === 3, `the command line ended with ${String(code)}`);
    // With the lease, at the latest, ends what works on the session.
    const countAlive = (): number => findProcesses(`STINT_SESSION=${session.id}`).length;
    await poll(() => Promise.resolve(countAlive() === 0 ? true : null), 30_000).catch(
      () => undefined,
    );
    const alive = countAlive();
    promise(alive === 0, `${alive} processes of the session go on writing`);

    for (const piece of PIECES) rmSync(join(disk.path, piece), { recursive: true, force: true });
    const freedAt = performance.now();
    await load.waitFor(50, RECOVERY_MS_MAX);
    const resumeMs = Math.round(performance.now() - freedAt);
    await load.stop();
    const lost = await load.findLost(readEmbeddedUrl(dataDir));
    promise(lost.length === 0, `lost ${lost.slice(0, 5).join(", ")} of ${load.count}`);
    const ended = await poll(async () => {
      const found = await client.sessions.get(session.id).catch(() => null);
      return found === null || found.completedAt === null ? null : found;
    }, RECOVERY_MS_MAX);
    // Ended by who keeps the disk free, or taken up again once there was room: either is the truth.
    const isTrue = ended.status === "completed" || ended.error?.code === "disk_full";
    promise(isTrue, `the session says ${JSON.stringify(ended)}`);
    await session.stopReading();
    await session.check(client);
    const next = await WorkingSession.create(client, 2, 0);
    await next.finish(client);
    return {
      orphans: scene.orphans,
      resumeMs,
      detail:
        `disk_full in the log and from the CLI; session ${ended.status}; ` +
        `${load.count} acknowledged appends: 0 lost`,
    };
  },
);

/** Leaves no block: an allocation fails as a whole, so smaller ones follow. */
async function fillDisk(path: string): Promise<void> {
  const fill = PIECES.map((size) => {
    const next = `"$0/${size}/$(ls "$0/${size}" | wc -l)"`;
    return `mkdir -p "$0/${size}"; while fallocate -l ${size} ${next}; do :; done`;
  });
  await runTool("sh", ["-c", `{ ${fill.join("; ")}; } 2> /dev/null; :`, path]);
}

function killPostgres(dataDir: string): void {
  const file = join(dataDir, "pg", "postmaster.pid");
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const pid = Number(text.split("\n")[0]);
  if (pid > 0 && existsSync(`/proc/${pid}`)) process.kill(pid, "SIGKILL");
}

function saysFull(service: StintProcess): boolean {
  return service.lines.some((line) => line["code"] === "disk_full");
}
