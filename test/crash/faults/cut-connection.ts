import { join } from "node:path";
import { poll } from "../../e2e/stint-process.ts";
import { ByteCuttingProxy } from "./byte-cutting-proxy.ts";
import { makeDataFolder } from "../../data-template.ts";
import { readEmbeddedUrl } from "./embedded-url.ts";
import { defineFault, promise } from "./system-fault.ts";
import { WorkingSession } from "./working-session.ts";

/** From the first byte of a login to the middle of a later answer. */
const BYTES = [1, 100, 700, 1_500, 4_000, 12_000];
/** Of each size: the connections of the log, of the heartbeat and of the claims, and more. */
const CUTS = 5;
const STEP_MS = 60;
const RECOVERY_MS_MAX = 30_000;

/** Connections between a worker and Postgres end in mid-message, whatever had been asked or done. */
export const cutConnectionFault = defineFault(
  "connection cut after N bytes",
  ["git", "bwrap"],
  async (scene) => {
    const dataDir = await makeDataFolder(join(scene.folder, "data"));
    const client = await scene.start(["server"], dataDir).connect();
    const direct = new URL(readEmbeddedUrl(dataDir));
    const proxy = new ByteCuttingProxy(() => Number(direct.port));
    const through = new URL(direct);
    through.port = String(await proxy.listen());
    scene.onEnd(() => proxy.close());
    const worker = scene.start(["worker"], dataDir, { DATABASE_URL: through.href });
    await worker.ready();
    const session = await WorkingSession.create(client, BYTES.length * 3 + 2, STEP_MS);
    session.read(client);
    const resumeMs: number[] = [];
    for (const bytes of BYTES) {
      await session.waitForStep(RECOVERY_MS_MAX);
      const wanted = proxy.cuts + CUTS;
      proxy.cutAfter(bytes);
      await poll(() => Promise.resolve(proxy.cuts >= wanted ? true : null), RECOVERY_MS_MAX);
      proxy.cutAfter(Number.POSITIVE_INFINITY);
      const healedAt = performance.now();
      await session.waitForStep(RECOVERY_MS_MAX);
      resumeMs.push(performance.now() - healedAt);
    }
    await session.finish(client);
    const { attempts } = await client.sessions.get(session.id);
    promise(attempts === 1, `the session took ${attempts} attempts`);
    return {
      orphans: scene.orphans,
      resumeMs: Math.round(Math.max(...resumeMs)),
      detail: `${proxy.cuts} cuts after ${BYTES.join(", ")} bytes: one attempt, every step once, a dense log`,
    };
  },
);
