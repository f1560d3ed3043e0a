import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  AttemptStopped,
  type AgentAdapter,
  type AttemptContext,
  type Checkpoint,
  type LedgerCall,
  type StepRecord,
  type TurnResult,
} from "../core/attempt.ts";
import type { NewEvent } from "../core/event.ts";
import { silentLogger } from "../core/log.ts";
import type { ModelDoor, ModelDoorUrls } from "../core/model.ts";
import { createCustody } from "../workspace/custody.ts";
import { buildAgentEnvironment } from "../workspace/environment.ts";
import { openWorkspaceFiles } from "../workspace/files.ts";
import { probeCustody } from "../workspace/probe.ts";
import { createSandbox } from "../workspace/sandbox.ts";
import { systemClock } from "./system-clock.ts";

/** A session without a database, for measuring an agent. */
export interface ProbeSessionOptions {
  readonly id: string;
  readonly workspace: string;
  readonly home: string;
  readonly prompt: string;
  /** Where the agent finds its model. */
  readonly urls: ModelDoorUrls;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** One attempt on it. */
export interface ProbeAttempt {
  run(adapter: AgentAdapter): Promise<TurnResult>;
  /** Tells the agent to stop. */
  stop(): void;
  /** Kills what lives, and takes nothing more from the agent. */
  close(): Promise<void>;
}

const LIMITS = {
  maxIterations: 20,
  commandTimeoutMs: 600_000,
  modelCallTimeoutMs: 600_000,
  outputBytesMax: 1_048_576,
  modelWaitMs: 60_000,
};

/** What an agent does, as it would be stored, kept in memory. */
export class ProbeSession {
  readonly #options: ProbeSessionOptions;
  readonly events: NewEvent[] = [];
  readonly calls: LedgerCall[] = [];
  readonly steps: StepRecord[] = [];
  #agentSessionId: string | null = null;
  /** How often it asked leave. */
  asked = 0;
  epoch = 1;

  constructor(options: ProbeSessionOptions) {
    this.#options = options;
  }

  /** A file of the workspace; null when there is none. */
  readFile(path: string): Promise<string | null> {
    return readFile(join(this.#options.workspace, path), "utf8").catch(() => null); // not written
  }

  async open(): Promise<ProbeAttempt> {
    const { id, workspace, home, env } = this.#options;
    const controller = new AbortController();
    const custody = createCustody({
      probe: await probeCustody(),
      attemptCookie: `probe.${systemClock.newId()}`,
      sandbox: createSandbox(
        "none",
        { tree: workspace, home, scratch: "/tmp" },
        { readable: [], hidden: [], hasNetwork: true },
      ),
      env: buildAgentEnvironment({ inherit: env, home }),
      clock: systemClock,
    });
    const context = this.#createContext(controller.signal, (spec) => custody.spawn(spec));
    const stop = (kind: "cancel" | "lost"): void => {
      controller.abort(new AttemptStopped({ kind, message: `the measurement of ${id} goes on` }));
    };
    return {
      run: (adapter) => adapter.run(context),
      stop: () => stop("cancel"),
      async close() {
        stop("lost");
        await custody.close();
      },
    };
  }

  #createContext(signal: AbortSignal, spawn: AttemptContext["spawn"]): AttemptContext {
    const { id, workspace, home, prompt } = this.#options;
    const { epoch } = this;
    /** An attempt that was lost writes nothing more. */
    const check = (): void => {
      if (epoch !== this.epoch) signal.throwIfAborted();
    };
    const append = (...events: readonly NewEvent[]): void => {
      check();
      this.events.push(...events);
    };
    return {
      ...{ sessionId: id, epoch, prompt, workspace, home, limits: LIMITS, signal, spawn },
      ...{ clock: systemClock, log: silentLogger, recovery: null },
      files: openWorkspaceFiles(workspace),
      homeFiles: openWorkspaceFiles(home),
      model: {
        ...{ wire: "anthropic", modelName: "scripted", baseUrl: "" },
        fetch: () => Promise.reject(new Error("a measurement asks no model by itself")),
      },
      resumeFrom: epoch === 1 ? null : this.#checkpoint(),
      openModelDoor: () => Promise.resolve(this.#createDoor()),
      restoreHome: () => Promise.resolve(false),
      commit: ({ events = [], beginStep, finishStep, agentSessionId }) => {
        append(...events);
        this.#agentSessionId = agentSessionId ?? this.#agentSessionId;
        if (beginStep) this.steps.push({ ...beginStep, response: null, usage: null });
        const last = this.steps.at(-1);
        if (finishStep && last) this.steps[this.steps.length - 1] = { ...last, ...finishStep };
        return Promise.resolve(this.events.length);
      },
      emit: (...events) => Promise.resolve(append(...events)),
      openCall: (intent) => {
        check();
        const callId = systemClock.newId();
        const call = { ...intent, callId, hasEffect: intent.hasEffect ?? true, snapshotId: null };
        this.calls.push({ ...call, status: "open", epoch, result: null, isError: false });
        return Promise.resolve(callId);
      },
      closeCall: (callId, { events, ...outcome }) => {
        append(...events);
        const at = this.calls.findIndex((call) => call.callId === callId);
        const call = this.calls[at];
        if (call) this.calls[at] = { ...call, ...outcome };
        return Promise.resolve();
      },
      takeMessages: () => Promise.resolve([]),
      ask: () => {
        this.asked += 1;
        return Promise.resolve({ decision: "allow", by: "policy", permissionId: null, note: null });
      },
      recordActivity: () => undefined,
    };
  }

  #checkpoint(): Checkpoint {
    const { steps, calls } = structuredClone({ steps: this.steps, calls: this.calls });
    const nothing = { snapshotId: null, undelivered: [], permissions: [] };
    return { steps, calls, agentSessionId: this.#agentSessionId, ...nothing };
  }

  #createDoor(): ModelDoor {
    const { urls } = this.#options;
    return {
      ...{ socketPath: "", bridgePath: "", tcpUrl: "", token: "probe", urls },
      urlsAt: () => urls,
      proxyEnvironmentAt: () => ({}),
    };
  }
}
