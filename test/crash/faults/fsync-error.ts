import { readFileSync } from "node:fs";
import { join } from "node:path";
import { poll } from "../../e2e/stint-process.ts";
import { AppendLoad } from "./append-load.ts";
import { locateTemplate } from "../../data-template.ts";
import { readEmbeddedUrl } from "./embedded-url.ts";
import { DISK_NEEDS, FailingDisk } from "./failing-disk.ts";
import { defineFault, promise } from "./system-fault.ts";

const FAILURES = 2;

/**
 * The disk answers flushes with an error for a while. Postgres must not trust what it wrote: it
 * panics and recovers from its log, and nothing that was acknowledged may be missing. The file
 * system has no journal: with one it would turn read-only, and hide the error from Postgres.
 */
export const fsyncErrorFault = defineFault("fsync error (EIO)", [...DISK_NEEDS], async (scene) => {
  const content = await locateTemplate();
  const disk = await FailingDisk.create(scene, "disk", {
    sizeMb: 512,
    hasJournal: false,
    content,
  });
  const dataDir = join(disk.path, "data");
  await scene.start(["dev"], dataDir).ready();
  const load = new AppendLoad();
  scene.onEnd(() => load.stop());
  const resumeMs: number[] = [];
  for (let failure = 1; failure <= FAILURES; failure++) {
    await load.start(() => readEmbeddedUrl(dataDir));
    await load.waitFor(50);
    await disk.tell("fail");
    await poll(() => Promise.resolve(countPanics(dataDir) >= failure ? true : null), 60_000);
    await disk.tell("heal");
    const healedAt = performance.now();
    await load.waitFor(50, 60_000);
    resumeMs.push(performance.now() - healedAt);
    await load.stop();
    const lost = await load.findLost(readEmbeddedUrl(dataDir));
    promise(lost.length === 0, `lost ${lost.slice(0, 5).join(", ")} of ${load.count}`);
  }
  return {
    orphans: scene.orphans,
    resumeMs: Math.round(Math.max(...resumeMs)),
    detail: `${FAILURES} times, ${countPanics(dataDir)} panics of Postgres; ${load.count} acknowledged appends: 0 lost`,
  };
});

function countPanics(dataDir: string): number {
  const log = readFileSync(join(dataDir, "log", "postgres.log"), "utf8");
  return [...log.matchAll(/PANIC: .*(?:Input\/output error)/g)].length;
}
