import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Session, SessionEvent, StintClient } from "../../src/client.ts";
import { readLog } from "../../src/cli/chaos/log-check.ts";
import type { Script } from "../../src/core/script.ts";
import { makeFolder, poll, StintProcess } from "../e2e/stint-process.ts";
import type { AgentPlan } from "./agent-plan.ts";
import { ModelHost } from "./model-host.ts";

/** Work on however busy a machine, and no promise. */
export const PATIENCE_MS = 240_000;

const TERMINAL_STATES = ["completed", "failed", "expired"];

/** What a scene is set up with. */
export interface SceneOptions {
  readonly plan: AgentPlan;
  /** Folder that holds `agents`, as `stint agents install` fills it; null where none is needed. */
  readonly cache: string | null;
  /** What the model says, given the folder outside of all workspaces. */
  readonly writeScript: (outside: string) => Script;
}

/** A Stint of its own, with an agent that is installed, and a model that does as a script says. */
export class Scene {
  readonly plan: AgentPlan;
  readonly model: ModelHost;
  readonly script: Script;
  /** Where commands leave what no recovery undoes. */
  readonly outside: string;
  /** A key in the environment of the worker that must be nowhere else. */
  readonly canary = `sk-canary-${randomBytes(16).toString("hex")}`;
  readonly #folder: ReturnType<typeof makeFolder>;
  readonly #all: StintProcess[] = [];
  #current: StintProcess | null = null;
  #client: StintClient | null = null;

  private constructor(
    plan: AgentPlan,
    place: ReturnType<typeof makeFolder>,
    outside: string,
    model: ModelHost,
    script: Script,
  ) {
    this.plan = plan;
    this.#folder = place;
    this.outside = outside;
    this.model = model;
    this.script = script;
  }

  /** Sets everything up, with the worker running. */
  static async open({ plan, cache, writeScript }: SceneOptions): Promise<Scene> {
    const place = makeFolder("stint agents ");
    const outside = join(place.path, "outside");
    mkdirSync(outside);
    if (cache !== null) symlinkSync(join(cache, "agents"), join(place.path, "agents"));
    const script = writeScript(outside);
    const scene = new Scene(plan, place, outside, await ModelHost.start(script), script);
    try {
      await scene.start();
      return scene;
    } catch (error) {
      await scene.close();
      throw error;
    }
  }

  get dataDir(): string {
    return this.#folder.path;
  }

  get client(): StintClient {
    if (this.#client === null) throw new Error("nothing runs");
    return this.#client;
  }

  /** Every process that was started, in order. */
  get processes(): readonly StintProcess[] {
    return this.#all;
  }

  /** Starts `stint dev` on the data that there is. */
  async start(): Promise<void> {
    const env = {
      ...this.plan.settings,
      ...this.model.environment(this.canary),
      STINT_SANDBOX: "strict",
      STINT_SANDBOX_WRITE_PATHS: this.outside,
      STINT_LOG_LEVEL: "debug",
    };
    this.#current = new StintProcess(["dev", "--json"], this.dataDir, env);
    this.#all.push(this.#current);
    this.#client = await this.#current.connect();
  }

  /** Kills the server with its worker. */
  async killWorker(): Promise<void> {
    await this.#current?.stop("SIGKILL");
  }

  /** Creates the session of the scene. */
  create(
    task: string,
    request: Partial<Parameters<StintClient["sessions"]["create"]>[0]> = {},
  ): Promise<Session> {
    const { plan, script } = this;
    return this.client.sessions.create({
      prompt: plan.writePrompt(task, script),
      agent: plan.name,
      ...(plan.model !== null && { model: plan.model }),
      ...request,
    });
  }

  /** Waits for what ends the wait, or for the end of the session; says what it saw where neither comes. */
  async until<T>(id: string, what: string, ask: () => Promise<T | null>): Promise<T> {
    try {
      return await poll(async () => {
        const found = await ask();
        if (found !== null) return found;
        const session = await this.client.sessions.get(id);
        if (TERMINAL_STATES.includes(session.status)) {
          throw new Error(`the session ended as ${describe(session)}`);
        }
        return null;
      }, PATIENCE_MS);
    } catch (error) {
      const session = await this.client.sessions.get(id).catch(() => null);
      const at = session === null ? "" : `; it is ${describe(session)}`;
      throw new Error(`no ${what}: ${(error as Error).message}${at}`, { cause: error });
    }
  }

  /** Waits until a session is over. */
  ended(id: string, boundMs = PATIENCE_MS): Promise<Session> {
    return poll(async () => {
      const session = await this.client.sessions.get(id);
      return TERMINAL_STATES.includes(session.status) ? session : null;
    }, boundMs).catch(async () => {
      throw new Error(`it never ended: ${describe(await this.client.sessions.get(id))}`);
    });
  }

  log(id: string): Promise<readonly SessionEvent[]> {
    return readLog(this.client, id);
  }

  /** A file outside of all workspaces; empty where there is none. */
  readOutside(name: string): string {
    try {
      return readFileSync(join(this.outside, name), "utf8");
    } catch {
      return ""; // nobody wrote it yet
    }
  }

  /** A file of a session's workspace; null where there is none. */
  async readWorkspace(id: string, path: string): Promise<string | null> {
    const { workspace } = await this.client.sessions.get(id);
    if (workspace.path === null) return null;
    return readFile(join(workspace.path, path), "utf8").catch(() => null); // nobody wrote it
  }

  /** Lets commands go on that wait for this. */
  openGate(name: string): void {
    writeFileSync(join(this.outside, name), "");
  }

  /** The raw bytes of a session's stream; the session must have ended. */
  async readStream(id: string): Promise<string> {
    const { url, token } = await this.#ready();
    const response = await fetch(`${url}/v1/sessions/${id}/stream?after=0`, {
      headers: { authorization: `Bearer ${token}` },
    });
    return response.text();
  }

  /** Lines of the log with this message, over all processes. */
  linesOf(message: string): readonly Readonly<Record<string, unknown>>[] {
    return this.#all.flatMap(({ lines }) => lines.filter(({ msg }) => msg === message));
  }

  async close(): Promise<void> {
    for (const running of this.#all) await running.stop("SIGKILL");
    this.model.close();
    await this.#folder.dispose();
  }

  #ready(): Promise<{ url: string; token: string }> {
    if (this.#current === null) throw new Error("nothing runs");
    return this.#current.ready();
  }
}

/** How a session stands, in words. */
export function describe({ status, reason, error }: Session): string {
  return `${status} (${reason})${error === null ? "" : `: ${error.message}`}`;
}
