import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AppendLoad } from "./append-load.ts";
import { makeDataFolder } from "../../data-template.ts";
import { readEmbeddedUrl } from "./embedded-url.ts";
import { defineFault, promise } from "./system-fault.ts";
import { WorkingSession } from "./working-session.ts";

/** An immediate shutdown, and what the kernel does when memory is short. */
const SIGNALS = ["SIGQUIT", "SIGKILL", "SIGQUIT"] as const;
const STEP_MS = 150;
const RECOVERY_MS_MAX = 30_000;

/** Postgres ends without a word to anybody while events are appended and a session works. */
export const postgresCrashFault = defineFault(
  "Postgres immediate shutdown and SIGKILL",
  ["git", "bwrap"],
  async (scene) => {
    const dataDir = await makeDataFolder(join(scene.folder, "data"));
    const client = await scene.start(["dev"], dataDir).connect();
    const session = await WorkingSession.create(client, SIGNALS.length * 4 + 4, STEP_MS);
    session.read(client);
    const load = new AppendLoad();
    scene.onEnd(() => load.stop());
    await load.start(() => readEmbeddedUrl(dataDir));
    const resumeMs: number[] = [];
    for (const signal of SIGNALS) {
      await Promise.all([session.waitForStep(), load.waitFor(100)]);
      const file = readFileSync(join(dataDir, "pg", "postmaster.pid"), "utf8");
      const crashedAt = performance.now();
      process.kill(Number(file.split("\n")[0]), signal);
      await Promise.all([session.waitForStep(RECOVERY_MS_MAX), load.waitFor(100, RECOVERY_MS_MAX)]);
      resumeMs.push(performance.now() - crashedAt);
    }
    await load.stop();
    const lost = await load.findLost(readEmbeddedUrl(dataDir));
    promise(lost.length === 0, `lost ${lost.slice(0, 5).join(", ")} of ${load.count}`);
    await session.finish(client);
    const { attempts } = await client.sessions.get(session.id);
    promise(attempts === 1, `the session took ${attempts} attempts`);
    return {
      orphans: scene.orphans,
      resumeMs: Math.round(Math.max(...resumeMs)),
      detail: `${SIGNALS.join(", ")}: ${load.count} acknowledged appends, 0 lost; one attempt, every step once`,
    };
  },
);
