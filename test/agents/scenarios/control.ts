import type { Script } from "../../../src/core/script.ts";
import { countStarts, findLoss, readPath } from "../conversation.ts";
import { countProcesses, findByWord, readCpuTicks } from "../living-processes.ts";
import { type Findings, Notes, type ScenarioOptions } from "../scenario.ts";
import { describe, PATIENCE_MS, Scene } from "../scene.ts";
import { poll } from "../../e2e/stint-process.ts";

/** Until nothing that an agent has started lives, from the word of a person. */
const STOP_MS_MAX = 5_000;
/** How long a frozen agent is watched. */
const FREEZE_MS = 1_000;
const TASK = "Scene three: obey.";

const hasBegun = (scene: Scene) => () =>
  Promise.resolve(scene.readOutside("tally") === "" ? null : true);

/** A command with daemons is cancelled: nothing of it lives 5 s later. */
export async function runCancel({ plan, cache }: ScenarioOptions): Promise<Findings> {
  const notes = new Notes();
  const daemon = `${91_000 + (process.pid % 9_999)}.5`;
  const scene = await Scene.open({
    plan,
    cache,
    writeScript: (outside) => [
      {
        bash:
          `(setsid sleep ${daemon} > /dev/null 2>&1 &); (nohup sleep ${daemon} > /dev/null 2>&1 &); ` +
          `echo begun >> '${outside}/tally'; sleep ${daemon}`,
      },
      { text: "It was not cancelled." },
    ],
  });
  try {
    const { id } = await scene.create(TASK);
    // The command itself and its two daemons.
    const runs = (): boolean => findByWord(daemon).length >= 3;
    await scene.until(id, "command with daemons", () => Promise.resolve(runs() || null));
    const startedAt = performance.now();
    await scene.client.sessions.cancel(id);
    await poll(async () => {
      const left = (await countProcesses(id)) + findByWord(daemon).length;
      return left === 0 ? true : null;
    }, 60_000).catch(() => notes.violations.push("processes live a minute after the cancel"));
    const tookMs = Math.round(performance.now() - startedAt);
    notes.facts["cancelMs"] = tookMs;
    notes.expect(tookMs <= STOP_MS_MAX, `it took ${tookMs} ms until nothing lived`);
    const session = await scene.ended(id);
    const isCancelled = session.status === "failed" && session.reason === "cancelled";
    notes.expect(isCancelled, `it ended as ${describe(session)}`);
    return notes;
  } finally {
    await scene.close();
  }
}

/** Paused in the middle of a command, and resumed: the conversation goes on to its end. */
export async function runPause({ plan, cache }: ScenarioOptions): Promise<Findings> {
  const notes = new Notes();
  const scene = await Scene.open({ plan, cache, writeScript: writePausable });
  try {
    const { id } = await scene.create(TASK);
    await scene.until(id, "command", hasBegun(scene));
    const starts = countStarts(scene);
    const after = scene.model.journal().length;
    const startedAt = performance.now();
    await scene.client.sessions.pause(id);
    await scene.until(id, "pause", async () =>
      (await scene.client.sessions.get(id)).status === "paused" ? true : null,
    );
    notes.facts["pauseMs"] = Math.round(performance.now() - startedAt);
    const isFrozen = (await countProcesses(id)) > 0;
    if (isFrozen) {
      const before = await readCpuTicks(id);
      await new Promise((resolve) => setTimeout(resolve, FREEZE_MS));
      const used = (await readCpuTicks(id)) - before;
      notes.expect(used === 0, `processes used ${used} ticks of CPU in a pause`);
    }
    scene.openGate("gate");
    await scene.client.sessions.resume(id);
    const session = await scene.ended(id);
    const isLost = plan.model === null && !isFrozen;
    const expected = isLost ? "failed" : "completed";
    notes.expect(session.status === expected, `it ended as ${describe(session)}`);
    notes.facts["pausePath"] = isFrozen ? "frozen in place" : "none";
    if (plan.model === null) return notes;
    // Who was frozen goes on without a start.
    const path = isFrozen ? "exact" : readPath(scene, starts);
    if (!isFrozen) notes.facts["pausePath"] = path;
    const loss = findLoss(scene, { task: TASK, after, paths: [path] });
    notes.expect(loss === null, loss ?? "");
    return notes;
  } finally {
    await scene.close();
  }
}

function writePausable(outside: string): Script {
  const wait = `until [ -e '${outside}/gate' ]; do sleep 0.1; done`;
  return [{ bash: `echo begun >> '${outside}/tally'; ${wait}` }, { text: "All of it is done." }];
}

/** Leave that was asked for before everything died is given after it; each run has one of its own. */
export async function runPermission({ plan, cache }: ScenarioOptions): Promise<Findings> {
  const notes = new Notes();
  const scene = await Scene.open({
    plan,
    cache,
    // The model wants the same once more after the crash, as it is told to ask again.
    writeScript: (outside) => [
      { bash: `touch asked-file; echo run >> '${outside}/tally'` },
      { bash: `touch asked-file; echo run >> '${outside}/tally'` },
      { text: "All of it is done." },
    ],
  });
  try {
    const { id } = await scene.create(TASK, { permissions: ["ask execute", "ask edit"] });
    const hasAsked = await poll(async () => {
      if ((await scene.client.sessions.permissions(id)).length > 0) return "asked";
      const { status } = await scene.client.sessions.get(id);
      return status === "pending" || status === "active" ? null : "ended";
    }, PATIENCE_MS);
    notes.facts["asksLeave"] = hasAsked === "asked";
    if (hasAsked !== "asked") {
      notes.facts["permissionAcrossKill"] = "not asked";
      return notes;
    }
    notes.expect(scene.readOutside("tally") === "", "it acted before it had leave");
    await scene.killWorker();
    await scene.start();
    const asked = await allowAll(scene, id);
    const session = await scene.ended(id);
    notes.expect(session.status === "completed", `it ended as ${describe(session)}`);
    const runs = scene.readOutside("tally").split("\n").filter(Boolean).length;
    notes.expect(runs >= 1, "the command did not run");
    notes.expect(runs <= asked, `the command ran ${runs} times on ${asked} questions`);
    notes.facts["permissionAcrossKill"] = `${asked} asked, ${runs} run`;
    return notes;
  } finally {
    await scene.close();
  }
}

/** Allows what is asked until the session has ended; returns how many questions there were. */
async function allowAll(scene: Scene, id: string): Promise<number> {
  const seen = new Set<string>();
  await poll(async () => {
    for (const { id: permissionId, status } of await scene.client.sessions.permissions(id)) {
      seen.add(permissionId);
      if (status !== "pending") continue;
      await scene.client.sessions.decidePermission(id, permissionId, { decision: "allow" });
    }
    const { status } = await scene.client.sessions.get(id);
    return status === "completed" || status === "failed" ? true : null;
  }, PATIENCE_MS);
  return seen.size;
}
