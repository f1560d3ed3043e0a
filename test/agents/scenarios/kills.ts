import type { Script } from "../../../src/core/script.ts";
import {
  countStarts,
  findCalls,
  findLoss,
  isDense,
  readPath,
  type ResumePath,
} from "../conversation.ts";
import { countProcesses, findAgents, findByWord, readNowTicks } from "../living-processes.ts";
import { type Findings, Notes, type ScenarioOptions } from "../scenario.ts";
import { describe, Scene } from "../scene.ts";

const TASK = "Scene two: go on whatever dies.";
/** Of one session: fewer than the fruitless attempts after which it is held for a person. */
const KILLS_PER_SESSION = 3;
const DAEMON_SECONDS = 86_400;

type Victim = "worker" | "agent" | "agent and worker";

/** Kills the worker, the agent, or both in the middle of a command, several times in a session. */
export async function runKills(options: ScenarioOptions): Promise<Findings> {
  const { plan, kills, onProgress } = options;
  const notes = new Notes();
  const paths: ResumePath[] = [];
  let orphans = 0;
  let executions = 0;
  let intents = 0;
  let worstMs = 0;
  const perSession = plan.name === "command" ? 1 : KILLS_PER_SESSION;
  for (let done = 0; done < kills; done += perSession) {
    const count = Math.min(perSession, kills - done);
    const round = new Round(options, notes, count, done);
    const seen = await round.run();
    paths.push(...seen.paths);
    orphans += seen.orphans;
    executions += seen.executions;
    intents += seen.intents;
    worstMs = Math.max(worstMs, seen.worstMs);
    onProgress(`${done + count} killed; came back by ${paths.join(", ")}`);
  }
  const facts = { kills, orphans, executions, intents, worstMs };
  return {
    violations: notes.violations,
    facts: { ...facts, paths: countPaths(paths) },
  };
}

/** How often each way was taken, in the order in which they were first taken. */
function countPaths(paths: readonly ResumePath[]): string {
  const times = (path: ResumePath): number => paths.filter((taken) => taken === path).length;
  return [...new Set(paths)].map((path) => `${path} ${times(path)}×`).join(", ");
}

/** One session and what dies in it. */
class Round {
  readonly #options: ScenarioOptions;
  readonly #notes: Notes;
  readonly #count: number;
  readonly #done: number;
  readonly #paths: ResumePath[] = [];
  /** A number of seconds that nobody else sleeps. */
  readonly #daemon: string;
  #orphans = 0;
  #worstMs = 0;

  constructor(options: ScenarioOptions, notes: Notes, count: number, done: number) {
    this.#options = options;
    this.#notes = notes;
    this.#count = count;
    this.#done = done;
    this.#daemon = String(DAEMON_SECONDS + (process.pid % 9_999)) + `.${done}`;
  }

  async run(): Promise<{
    readonly paths: readonly ResumePath[];
    readonly orphans: number;
    readonly executions: number;
    readonly intents: number;
    readonly worstMs: number;
  }> {
    const { plan, cache } = this.#options;
    const scene = await Scene.open({
      plan,
      cache,
      writeScript: (outside) => this.#writeScript(outside),
    });
    try {
      const { id } = await scene.create(TASK);
      for (let kill = 1; kill <= this.#count; kill++) await this.#kill(scene, id, kill);
      const session = await scene.ended(id);
      const isRight =
        plan.name === "command" ? session.status === "failed" : session.status === "completed";
      this.#notes.expect(isRight, `after ${this.#count} kills it ended as ${describe(session)}`);
      return { ...(await this.#check(scene, id)), ...this.#seen() };
    } finally {
      await scene.close();
    }
  }

  #seen() {
    return { paths: this.#paths, orphans: this.#orphans, worstMs: this.#worstMs };
  }

  #writeScript(outside: string): Script {
    const blocked = Array.from({ length: this.#count }, (_, at) => {
      const kill = at + 1;
      return {
        bash:
          `echo ${kill} >> '${outside}/tally'; echo lost > lost-${kill}; ` +
          `(setsid sleep ${this.#daemon} > /dev/null 2>&1 &); ` +
          `until [ -e '${outside}/gate-${kill}' ]; do sleep 0.1; done; echo kept > kept-${kill}`,
      };
    });
    const first = { write: { path: "first", content: "kept\n" } };
    return [first, ...blocked, { bash: "cat first > last" }, { text: "All of it is done." }];
  }

  async #kill(scene: Scene, id: string, kill: number): Promise<void> {
    await scene.until(id, `command ${kill}`, () =>
      Promise.resolve(scene.readOutside("tally").split("\n").includes(`${kill}`) || null),
    );
    const victim = this.#chooseVictim(kill);
    const { epoch } = await scene.client.sessions.get(id);
    const starts = countStarts(scene);
    const after = scene.model.journal().length;
    const killedTicks = readNowTicks();
    if (victim !== "worker") await this.#killAgents(id);
    if (victim !== "agent") await scene.killWorker();
    const killedAt = performance.now();
    if (victim !== "agent") await scene.start();
    await scene
      .until(id, `attempt after the kill of ${victim}`, async () => {
        const session = await scene.client.sessions.get(id);
        return session.epoch > epoch && session.status === "active" ? session : null;
      })
      .catch((error: unknown) => {
        // A program that was cut off is not run again, so that its session may be over already.
        if (this.#options.plan.name !== "command") throw error;
      });
    this.#worstMs = Math.max(this.#worstMs, Math.round(performance.now() - killedAt));
    const left = await countProcesses(id, epoch);
    const hidden = findByWord(this.#daemon).filter(({ startTicks }) => startTicks <= killedTicks);
    this.#orphans += Math.max(left, hidden.length);
    this.#notes.expect(
      left + hidden.length === 0,
      `${left} processes of a dead attempt live, ${hidden.length} of them hidden`,
    );
    // Not before: what the dead have left would go on with it.
    scene.openGate(`gate-${kill}`);
    if (this.#options.plan.model === null) {
      this.#paths.push("none");
      return;
    }
    await this.#expectConversation(scene, id, { starts, after, victim });
  }

  async #expectConversation(
    scene: Scene,
    id: string,
    { starts, after, victim }: { starts: number; after: number; victim: Victim },
  ): Promise<void> {
    await scene.until(id, `question to the model after the kill of ${victim}`, () => {
      const asked = scene.model.journal().slice(after);
      return Promise.resolve(asked.some(({ turn }) => turn !== null) || null);
    });
    const path = readPath(scene, starts);
    this.#paths.push(path);
    const loss = findLoss(scene, { task: TASK, after, paths: this.#paths });
    this.#notes.expect(loss === null, `after the kill of ${victim}: ${loss ?? ""}`);
  }

  /** The builtin agent is the worker, and a program without a model is the call itself. */
  #chooseVictim(kill: number): Victim {
    if (this.#options.plan.definition === null) return "worker";
    const victims = ["worker", "agent", "agent and worker"] as const;
    return victims[(this.#done + kill - 1) % victims.length] ?? "worker";
  }

  async #killAgents(id: string): Promise<void> {
    const agents = await findAgents(id);
    this.#notes.expect(agents.length > 0, "there was no agent to be killed");
    for (const { pid } of agents) process.kill(pid, "SIGKILL");
  }

  /** Files as the log says, and no execution without an intent of its own. */
  async #check(scene: Scene, id: string) {
    const notes = this.#notes;
    const log = await scene.log(id);
    notes.expect(isDense(log), "the log is not dense");
    notes.expect((await countProcesses(id)) === 0, "processes outlive the session");
    const tally = scene.readOutside("tally").split("\n");
    let executions = 0;
    let intents = 0;
    for (let kill = 1; kill <= this.#count; kill++) {
      const calls = findCalls(log, `gate-${kill}`);
      const runs = tally.filter((line) => line === `${kill}`).length;
      executions += runs;
      intents += calls.length;
      notes.expect(
        runs <= calls.length,
        `command ${kill} ran ${runs} times on ${calls.length} intents`,
      );
      if (this.#options.plan.model === null) continue;
      const isFinished = calls.some(({ status }) => status === "finished");
      // Where the worker outlives its agent, it writes down the end of the call, and the files as they are.
      const isLeft = isFinished || this.#chooseVictim(kill) === "agent";
      const lost = (await scene.readWorkspace(id, `lost-${kill}`)) !== null;
      const kept = (await scene.readWorkspace(id, `kept-${kill}`)) !== null;
      notes.expect(
        lost === isLeft && kept === isFinished,
        `command ${kill} has ${isFinished ? "" : "not "}finished, but its files are ` +
          `${lost ? "there" : "gone"} and ${kept ? "there" : "gone"}`,
      );
    }
    if (this.#options.plan.model !== null) {
      for (const path of ["first", "last"]) {
        const text = await scene.readWorkspace(id, path);
        notes.expect(text === "kept\n", `the file ${path} is ${JSON.stringify(text)}`);
      }
    }
    return { executions, intents };
  }
}
