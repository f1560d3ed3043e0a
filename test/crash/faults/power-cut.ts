import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { StintClient } from "../../../src/client.ts";
import { AppendLoad } from "./append-load.ts";
import { locateTemplate } from "../../data-template.ts";
import { readEmbeddedUrl } from "./embedded-url.ts";
import { DISK_NEEDS, FailingDisk } from "./failing-disk.ts";
import { SHORT_LEASE } from "./lost-lease.ts";
import { startOwnPostgres } from "./own-postgres.ts";
import type { Scene } from "./scene.ts";
import { readAllSnapshots } from "./stored-snapshots.ts";
import { defineFault, promise } from "./system-fault.ts";
import { Pace } from "./pace.ts";
import { WorkingSession } from "./working-session.ts";

/** Cuts of the power, each at a random moment. `npm run crash:long` sets 20. */
const CUTS = Number(process.env["STINT_TEST_POWER_CUTS"] ?? 3);
const STEPS_A_CUT = 6;
const STEP_MS = 120;
const LOAD_MS_MAX = 700;
const RESUME_MS_MAX = 60_000;

/**
 * The power goes while events are appended and a session works and takes snapshots. Then the disk
 * holds what was flushed and any of the sectors that were not. A database that does not flush, on
 * the same disk, must be seen to lose something: else this could not fail.
 */
export const powerCutFault = defineFault(
  "power cut",
  [...DISK_NEEDS, "git", "bwrap"],
  async (scene) => {
    const disk = await FailingDisk.create(scene, "disk", {
      sizeMb: 3_072,
      content: await locateTemplate(),
    });
    const dataDir = join(disk.path, "data");
    const load = new AppendLoad();
    scene.onEnd(() => load.stop());
    const pace = new Pace(scene.folder);
    const env = { ...SHORT_LEASE, STINT_SANDBOX_READ_PATHS: pace.folder };
    const start = (): Promise<StintClient> => scene.start(["dev"], dataDir, env).connect();

    let client = await start();
    const session = await WorkingSession.create(client, CUTS * STEPS_A_CUT, STEP_MS, pace);
    const resumeMs: number[] = [];
    let [sectors, kept, snapshots] = [0, 0, 0];
    for (let cut = 1; cut <= CUTS; cut++) {
      session.read(client);
      await load.start(() => readEmbeddedUrl(dataDir));
      // However long all else takes, the session works now.
      pace.allow(cut * STEPS_A_CUT);
      await Promise.all([session.waitForStep(40_000), load.waitFor(100, 60_000)]);
      const seed = Math.floor(Math.random() * 2 ** 32);
      await delay(Math.random() * LOAD_MS_MAX);
      const lost = await disk.cutPower(seed);
      sectors += lost.sectors;
      kept += lost.kept;
      await Promise.all([load.stop(), session.stopReading()]);

      await disk.powerOn();
      const onAt = Date.now();
      noteReboot(dataDir);
      client = await start();
      resumeMs.push((await session.waitForResume(client, cut, RESUME_MS_MAX)) - onAt);
      const url = readEmbeddedUrl(dataDir);
      await requireNothingLost(load, url, `cut ${cut} (seed ${seed})`);
      await session.check(client);
      snapshots = await readAllSnapshots(url, dataDir);
      promise(snapshots > 0, "no snapshot was taken before the cut");
    }
    session.undoable = CUTS;
    await session.finish(client);
    const control = await loseWithoutFlushing(scene, disk, dataDir);
    return {
      orphans: scene.orphans,
      resumeMs: Math.round(Math.max(...resumeMs)),
      detail:
        `${CUTS} cuts, ${load.count} acknowledged appends and ${session.seen.size} shown events: 0 lost; ` +
        `${snapshots} snapshots readable; ${sectors - kept} of ${sectors} unflushed sectors lost; ` +
        `with fsync off: ${control}`,
    };
  },
);

/** Says of every workspace what is true after a power cut: that it was left in another boot. */
function noteReboot(dataDir: string): void {
  for (const name of readdirSync(join(dataDir, "workspaces"))) {
    const mark = join(dataDir, "workspaces", name, "boot");
    if (existsSync(mark)) writeFileSync(mark, randomUUID());
  }
}

async function requireNothingLost(load: AppendLoad, url: string, when: string): Promise<void> {
  const lost = await load.findLost(url);
  promise(lost.length === 0, `${when}: lost ${lost.slice(0, 5).join(", ")} of ${load.count}`);
}

/** Appends to a Postgres that does not flush, and cuts the power: says what was lost. */
async function loseWithoutFlushing(
  scene: Scene,
  disk: FailingDisk,
  dataDir: string,
): Promise<string> {
  await disk.remount();
  const { buildUrl } = await startOwnPostgres(dataDir, { fsync: "off" });
  const load = new AppendLoad();
  scene.onEnd(() => load.stop());
  await load.start(() => buildUrl("127.0.0.1"));
  await load.waitFor(200);
  await disk.cutPower(1);
  await load.stop();
  await disk.powerOn();
  const opened = await startOwnPostgres(dataDir, {}).catch((error: unknown) => String(error));
  if (typeof opened === "string") return "the database is destroyed";
  const lost = await load.findLost(opened.buildUrl("127.0.0.1"));
  promise(lost.length > 0, "a database that does not flush lost nothing: these cuts prove nothing");
  return `${lost.length} of ${load.count} lost`;
}
