import { Readable } from "node:stream";
import type { CustodyExit, CustodyProcess } from "../../src/core/attempt.ts";
import type { Clock } from "../../src/core/clock.ts";
import type { CommandEnd } from "../../src/workspace/exit-record.ts";
import { InvariantBroken } from "./invariants.ts";

/** What a worker asks of its host, beside time. */
export const HOST_COMMANDS = [
  ...([
    "openWorkspace",
    "spawn",
    "readFile",
    "writeFile",
    "takeSnapshot",
    "storeSnapshot",
  ] as const),
  ...(["restore", "readCommandEnd", "close"] as const),
] as const;
export type HostCommand = (typeof HOST_COMMANDS)[number];

/** Carries a call to the host and its answer back; faults happen here. */
export type HostWire = <T>(call: { readonly command: HostCommand }, work: () => T) => Promise<T>;

/** The wire of a host that never fails. */
export const directHost: HostWire = async (_call, work) => work();

/** What a command of an agent is: how long it runs, and the file that it writes halfway. */
export interface CommandPlan {
  readonly durationMs: number;
  readonly path: string;
}

/** An attempt, or a later turn of it. */
export interface Incarnation {
  readonly sessionId: string;
  readonly epoch: number;
}

interface Running extends Incarnation {
  readonly pid: number;
  end(exit: CustodyExit): void;
}

/** What differs from a host without faults. */
export interface HostDiskOptions {
  /** A planted bug: ids are given out before what they name is stored. */
  readonly isHasty?: boolean;
  /** A planted bug: what an earlier attempt started is left alone. */
  readonly isLenient?: boolean;
  /** A planted bug: going back to a state leaves newer files. */
  readonly leavesFiles?: boolean;
  /** What storing a snapshot may take. */
  readonly storeMs?: readonly number[];
}

const KILLED: CustodyExit = { code: null, signal: "SIGKILL", timedOut: false, stopped: true };
const ENDED: CustodyExit = { code: 0, signal: null, timedOut: false, stopped: false };

/**
 * The disk and the processes of a host that all workers share; they outlive them. Files are a map
 * from paths to texts. Everything happens at one moment: what takes time is told by the wire.
 */
export class HostDisk {
  /** How often each call had its effect. */
  readonly effects = new Map<string, number>();
  readonly isHasty: boolean;
  readonly storeMs: readonly number[];
  readonly #isLenient: boolean;
  readonly #leavesFiles: boolean;
  readonly #snapshots = new Map<string, ReadonlyMap<string, string>>();
  readonly #files = new Map<string, Map<string, string>>();
  readonly #running = new Set<Running>();
  readonly #records = new Map<string, CommandEnd>();
  readonly #epochs = new Map<string, number>();
  readonly #onBroken: (error: InvariantBroken) => void;
  #ids = 0;

  constructor(onBroken: (error: InvariantBroken) => void, options: HostDiskOptions = {}) {
    this.#onBroken = onBroken;
    this.isHasty = options.isHasty ?? false;
    this.#isLenient = options.isLenient ?? false;
    this.#leavesFiles = options.leavesFiles ?? false;
    this.storeMs = options.storeMs ?? [20, 200, 2_000];
  }

  /** The state before the agent did anything. Kills what earlier attempts have left running. */
  open({ sessionId, epoch }: Incarnation): string {
    if (!this.#isLenient) this.#kill((one) => one.sessionId === sessionId && one.epoch < epoch);
    const base = `${sessionId}/base`;
    if (!this.#snapshots.has(base)) this.#snapshots.set(base, new Map(this.#filesOf(sessionId)));
    return base;
  }

  /** An agent begins: nothing else may work on its files, and they must be what the log says. */
  begin({ sessionId, epoch }: Incarnation, snapshotId: string | null): void {
    this.#epochs.set(sessionId, epoch);
    const left = [...this.#running].find((one) => one.sessionId === sessionId);
    if (left) this.#report(`a command of epoch ${left.epoch} runs beside ${epoch} of ${sessionId}`);
    if (snapshotId === null) return;
    const stored = this.#snapshots.get(snapshotId) ?? new Map<string, string>();
    const files = this.#filesOf(sessionId);
    const isSame = [...files].every(([path, text]) => stored.get(path) === text);
    if (isSame && files.size === stored.size) return;
    this.#report(`the files of ${sessionId} are not those of ${snapshotId} as its agent begins`);
  }

  read(sessionId: string, path: string): string | null {
    return this.#filesOf(sessionId).get(path) ?? null;
  }

  /** An effect that must not happen twice. */
  write({ sessionId, epoch }: Incarnation, path: string, text: string): "created" | "modified" {
    const key = `${sessionId}/${path}`;
    const count = (this.effects.get(key) ?? 0) + 1;
    this.effects.set(key, count);
    if (count > 1) this.#report(`the call that writes ${key} had its effect ${count} times`);
    if (epoch < (this.#epochs.get(sessionId) ?? 0)) {
      this.#report(`an attempt of ${sessionId} wrote a file after the next one began`);
    }
    const files = this.#filesOf(sessionId);
    const action = files.has(path) ? "modified" : "created";
    files.set(path, text);
    return action;
  }

  /** The present state, and how it is stored under its id. */
  takeSnapshot(sessionId: string): { readonly id: string; readonly store: () => void } {
    const files = new Map(this.#filesOf(sessionId));
    const id = `${sessionId}/${++this.#ids}`;
    return { id, store: () => void this.#snapshots.set(id, files) };
  }

  restore(sessionId: string, id: string): void {
    const stored = this.#snapshots.get(id);
    if (stored === undefined) {
      this.#report(`snapshot ${id} is in the log, not on the disk`);
      return;
    }
    const files = this.#filesOf(sessionId);
    if (!this.#leavesFiles) files.clear();
    for (const [path, text] of stored) files.set(path, text);
  }

  /** Starts a command; it lives until it ends or is killed, whatever becomes of its worker. */
  spawn(owner: Incarnation, callId: string, plan: CommandPlan, clock: Clock): CustodyProcess {
    let resolve: (exit: CustodyExit) => void;
    const exited = new Promise<CustodyExit>((tell) => (resolve = tell));
    const end = (exit: CustodyExit): void => {
      if (!this.#running.delete(running)) return;
      const isCutShort = exit !== ENDED;
      this.#records.set(callId, {
        kind: "ended",
        exitCode: exit.code,
        isCutShort,
        isSameBoot: true,
      });
      resolve(exit);
    };
    const running: Running = { ...owner, pid: ++this.#ids, end };
    this.#running.add(running);
    this.#records.set(callId, { kind: "cut_off" });
    clock.setTimer(() => {
      if (this.#running.has(running)) this.write(owner, plan.path, callId);
    }, plan.durationMs / 2);
    clock.setTimer(() => end(ENDED), plan.durationMs);
    return {
      ...{ pid: running.pid, stdout: Readable.from([]), stderr: Readable.from([]), stdin: null },
      ...{ exited, stop: () => Promise.resolve(end(KILLED)).then(() => exited) },
    };
  }

  readCommandEnd(callId: string): CommandEnd {
    return this.#records.get(callId) ?? { kind: "not_begun" };
  }

  /** Kills what runs of an attempt. */
  close({ sessionId, epoch }: Incarnation): void {
    this.#kill((one) => one.sessionId === sessionId && one.epoch === epoch);
  }

  #kill(isMeant: (one: Running) => boolean): void {
    for (const one of [...this.#running].filter(isMeant)) one.end(KILLED);
  }

  #filesOf(sessionId: string): Map<string, string> {
    const files = this.#files.get(sessionId) ?? new Map<string, string>();
    this.#files.set(sessionId, files);
    return files;
  }

  /** The worker would take it for an error of its own. */
  #report(message: string): void {
    this.#onBroken(new InvariantBroken(message));
  }
}
