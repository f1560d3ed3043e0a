import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { createClient } from "../../src/client/client.ts";
import { webClock } from "../../src/client/web-clock.ts";
import type { Clock } from "../../src/core/clock.ts";
import { makeDataFolder } from "../data-template.ts";
import { type CuttingProxy, startCuttingProxy } from "./cutting-proxy.ts";
import { makeFolder, poll, StintProcess } from "./stint-process.ts";

const CUTS = 100;
const RESTARTS = 4;

/** Waits before reconnects are a tenth of theirs, at most 100 ms; the watch over silence keeps its time. */
const hastyClock: Clock = {
  ...webClock,
  setTimer: (callback, delayMs) =>
    webClock.setTimer(callback, delayMs >= 45_000 ? delayMs : Math.min(delayMs / 10, 100)),
};

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A small generator with a fixed start: a failure is the same at the next run. */
function createRandom(state: number): () => number {
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

test("a client cut at random bytes and by killed servers sees each event once, in order", async () => {
  const folder = makeFolder();
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  const start = (args: readonly string[], env: Record<string, string> = {}): StintProcess => {
    const started = new StintProcess([...args, "--json"], folder.path, env);
    cleanups.push(() => started.stop("SIGKILL"));
    return started;
  };
  let server = start(["server"]);
  const { url, token } = await server.ready();
  const port = Number(new URL(url).port);
  const worker = start(["worker"]);
  await worker.ready();

  const random = createRandom(20_260_101);
  const proxy: CuttingProxy = await startCuttingProxy(
    () => port,
    // The head of the answer alone takes some 500 bytes. After the cuts that are wanted what has piled
    // up is read in larger pieces: a session may talk faster than a reader who is cut can follow.
    () => (proxy.cuts() < CUTS ? 500 : 50_000) + Math.floor(random() * 1_300),
  );
  cleanups.push(() => proxy.close());

  const direct = createClient({ url, token });
  // It talks, in many commands and in a long one, until there were cuts enough.
  const { id } = await direct.sessions.create({
    prompt: "talk",
    model: "scripted",
    script: [
      ...Array.from({ length: 20 }, () => ({
        bash: "for i in 1 2 3; do echo $i; sleep 0.05; done",
      })),
      { bash: "until [ -e enough ]; do echo more; sleep 0.05; done" },
      { text: "done" },
    ],
  });

  const seen: { seq: number; id: string }[] = [];
  const cut = createClient({ url: proxy.url, token, clock: hastyClock });
  const reading = (async () => {
    for await (const event of cut.subscribe(id)) seen.push({ seq: event.seq, id: event.id });
  })();
  const untilCut = (count: number): Promise<boolean> =>
    poll(() => Promise.resolve(proxy.cuts() >= count ? true : null), 60_000);
  for (let restart = 1; restart <= RESTARTS; restart++) {
    await untilCut((CUTS / (RESTARTS + 1)) * restart);
    await server.stop("SIGKILL");
    server = start(["server"], { STINT_PORT: String(port) });
    await server.ready();
  }
  await untilCut(CUTS);
  const { workspace } = await direct.sessions.get(id);
  writeFileSync(join(workspace.path ?? "", "enough"), "");
  await reading;

  expect(proxy.cuts() + RESTARTS).toBeGreaterThanOrEqual(CUTS);
  const stored: { seq: number; id: string }[] = [];
  for (let after = 0; ; after = stored.at(-1)?.seq ?? 0) {
    const { events } = await direct.sessions.events(id, { after, limit: 1_000 });
    if (events.length === 0) break;
    stored.push(...events.map((event) => ({ seq: event.seq, id: event.id })));
  }
  expect(seen).toEqual(stored);
  expect(stored.map(({ seq }) => seq)).toEqual(stored.map((_, index) => index + 1));
  expect((await direct.sessions.get(id)).status).toBe("completed");
}, 180_000);
