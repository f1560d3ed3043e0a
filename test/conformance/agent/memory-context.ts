import { type ChildProcessByStdio, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { resolve } from "node:path";
import type { Readable, Writable } from "node:stream";
import {
  type AttemptContext,
  type AttemptLimits,
  AttemptStopped,
  type CustodyExit,
  type CustodyProcess,
  type SpawnSpec,
  type StopRequest,
} from "../../../src/core/attempt.ts";
import type { Clock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import type { ModelBinding } from "../../../src/core/model.ts";
import type { WorkspaceFiles } from "../../../src/core/workspace.ts";
import { PermissionDesk, type PermissionSettings } from "../../../src/worker/permission-desk.ts";
import { openWorkspaceFiles } from "../../../src/workspace/files.ts";
import { type MemoryStore, stopWith } from "./memory-store.ts";

/** Where the process of an attempt dies: just before, or just after its n-th write is durable. */
export interface Cut {
  readonly write: number;
  readonly side: "before" | "after";
}

export interface MemoryAttemptOptions {
  readonly store: MemoryStore;
  /** Real path of the workspace. */
  readonly workspace: string;
  readonly prompt: string;
  readonly model: ModelBinding;
  readonly limits?: Partial<AttemptLimits>;
  readonly clock?: Clock;
  readonly cut?: Cut;
  /** @default the workspace */
  readonly home?: string;
  /** Answers what the agent asks leave for, in the place of the rules. */
  readonly decide?: AttemptContext["ask"];
  /** What the agent must ask leave for, of whoever decides in the store. @default nothing */
  readonly rules?: readonly string[];
}

export interface MemoryAttempt {
  readonly context: AttemptContext;
  /** Tells the attempt to stop. */
  stop(kind: StopRequest["kind"]): void;
  /** Resolves when the cut was reached. From then on the context does nothing at all. */
  readonly died: Promise<"died">;
  /** Dies now, as by kill -9. */
  kill(): void;
  /** Processes that were started and have not ended. */
  readonly running: ReadonlySet<number>;
}

/** Real time, `speed` times as fast. */
export function createTestClock(speed = 1): Clock {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now() * speed,
    uptime: () => performance.now() * speed,
    setTimer(callback, delayMs) {
      const timer = setTimeout(callback, delayMs / speed);
      return { cancel: () => clearTimeout(timer) };
    },
    newId: () => randomUUID(),
    random: () => Math.random(),
  };
}

const ASKING: PermissionSettings = {
  permissions: [],
  permissionTimeoutMs: 3_600_000,
  permissionDefault: "deny",
  permissionHoldMs: 3_600_000,
};

const LIMITS: AttemptLimits = {
  maxIterations: 20,
  commandTimeoutMs: 10_000,
  modelCallTimeoutMs: 10_000,
  outputBytesMax: 65_536,
  modelWaitMs: 60_000,
};

/** An attempt on a session of a MemoryStore, which resumes from what the store holds. */
export function openMemoryAttempt(options: MemoryAttemptOptions): MemoryAttempt {
  const { store, cut } = options;
  const clock = options.clock ?? createTestClock();
  const controller = new AbortController();
  const { epoch } = store;
  const processes = new Map<number, CustodyProcess>();
  const running = new Set<number>();
  let isDead = false;
  const death = new EventEmitter();
  const died = once(death, "died").then((): "died" => "died");
  const die = (): void => {
    isDead = true;
    for (const { pid } of processes.values()) killGroup(pid);
    death.emit("died");
  };
  const never = new Promise<never>(() => undefined);

  /** One durable write, at which the attempt may die. */
  const write = async <T>(action: () => T): Promise<T> => {
    if (isDead) return never;
    await new Promise((resolve) => setImmediate(resolve));
    if (isDead) return never;
    if (cut?.side === "before" && store.writes + 1 === cut.write) {
      die();
      return never;
    }
    store.checkEpoch(epoch);
    const result = action();
    if (cut?.side === "after" && store.writes === cut.write) {
      die();
      return never;
    }
    return result;
  };

  const desk = new PermissionDesk({
    hold: {
      ...{ sessionId: store.sessionId, signal: controller.signal, isFreezing: false },
      session: { permissions: options.rules ?? [] },
      passGate: () => Promise.resolve(),
      pause: (request) => controller.abort(new AttemptStopped(request)),
      stop: (request) => controller.abort(new AttemptStopped(request)),
    },
    store: {
      listPermissions: () => (isDead ? never : Promise.resolve(store.openPermissions)),
      watchWork: (onWork) => store.watch(onWork),
    },
    commit: (commit) => write(() => store.commit(commit)),
    resolvePath: (path) => context.files.resolve(path, options.workspace),
    places: { workspace: options.workspace, home: options.home ?? options.workspace },
    ...{ settings: ASKING, clock },
  });

  const context: AttemptContext = {
    sessionId: store.sessionId,
    epoch,
    prompt: options.prompt,
    workspace: options.workspace,
    home: options.home ?? options.workspace,
    limits: { ...LIMITS, ...options.limits },
    clock,
    log: silentLogger,
    signal: controller.signal,
    model: {
      ...options.model,
      fetch: (...args) => (isDead ? never : options.model.fetch(...args)),
    },
    openModelDoor: () => Promise.reject(new Error("an attempt in memory has no door to models")),
    files: noteWrites(openWorkspaceFiles(options.workspace), store),
    homeFiles: openWorkspaceFiles(options.home ?? options.workspace),
    restoreHome: () => Promise.resolve(false),
    resumeFrom: epoch === 1 && store.steps.length === 0 ? null : store.checkpoint(),
    recovery: null,
    async spawn(spec) {
      if (isDead) return never;
      const process = spawnPlain(spec, options.workspace, options.home ?? options.workspace, clock);
      processes.set(process.pid, process);
      running.add(process.pid);
      store.note({ kind: "spawn" });
      void process.exited.then(() => {
        running.delete(process.pid);
        processes.delete(process.pid);
        return store.note({ kind: "exit" });
      });
      return process;
    },
    commit: (commit) => write(() => store.commit(commit)),
    emit: async (...events) => {
      await write(() => store.commit({ events }));
    },
    openCall: (intent) => write(() => store.openCall(intent, epoch)),
    closeCall: (callId, outcome) => write(() => store.closeCall(callId, outcome)),
    takeMessages: async () => {
      if (isDead) return never;
      store.checkEpoch(epoch);
      return store.hasMessages ? write(() => store.takeMessages()) : [];
    },
    ask: (request) => options.decide?.(request) ?? desk.ask(request),
    recordActivity: () => undefined,
  };
  return {
    context,
    died,
    kill: die,
    running,
    stop(kind) {
      if (kind === "lost") store.epoch++;
      controller.abort(stopWith(kind));
    },
  };
}

function noteWrites(files: WorkspaceFiles, store: MemoryStore): WorkspaceFiles {
  return {
    read: (path, options) => files.read(path, options),
    resolve: (path, seenAs) => files.resolve(path, seenAs),
    list: (path, options) => files.list(path, options),
    search: (pattern, options) => files.search(pattern, options),
    async write(path, bytes) {
      const action = await files.write(path, bytes);
      store.note({ kind: "write" });
      return action;
    },
  };
}

/** A process group of its own; what is left of it is killed when its leader ends. */
function spawnPlain(
  spec: SpawnSpec,
  workspace: string,
  home: string,
  clock: Clock,
): CustodyProcess {
  const child = spawn(spec.command, spec.args, {
    cwd: resolve(workspace, spec.cwd ?? "."),
    env: { ...process.env, HOME: home, ...spec.env },
    detached: true,
    stdio: [spec.stdin ?? "ignore", "pipe", "pipe"],
  }) as ChildProcessByStdio<Writable | null, Readable, Readable>;
  child.stdin?.on("error", () => undefined); // it has ended: its exit tells
  const pid = child.pid ?? 0;
  let isStopped = false;
  let isTimedOut = false;
  const timer =
    spec.timeoutMs === undefined
      ? null
      : clock.setTimer(() => {
          isTimedOut = true;
          killGroup(pid);
        }, spec.timeoutMs);
  const exited = new Promise<CustodyExit>((resolve) => {
    child.once("exit", (code, signal) => {
      timer?.cancel();
      killGroup(pid);
      resolve({ code, signal, timedOut: isTimedOut, stopped: isStopped });
    });
  });
  return {
    pid,
    stdout: child.stdout,
    stderr: child.stderr,
    stdin: child.stdin,
    exited,
    stop(graceMs = 0) {
      isStopped = true;
      if (graceMs > 0) {
        killGroup(pid, "SIGTERM");
        clock.setTimer(() => killGroup(pid), graceMs);
      } else killGroup(pid);
      return exited;
    },
  };
}

function killGroup(pid: number, signal: NodeJS.Signals = "SIGKILL"): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended already.
  }
}
