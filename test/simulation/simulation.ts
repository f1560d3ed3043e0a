import { delay } from "../../src/core/clock.ts";
import { StintError, toStintError } from "../../src/core/error.ts";
import { silentLogger } from "../../src/core/log.ts";
import { silentMetrics } from "../../src/core/metrics.ts";
import { LOCAL_USER_ID, type NewSession } from "../../src/core/session.ts";
import { isTerminal } from "../../src/core/state.ts";
import type { Store } from "../../src/core/store.ts";
import { SessionLifecycleManager } from "../../src/worker/session-lifecycle-manager.ts";
import { createSweeper } from "../../src/worker/sweeper.ts";
import type { Worker } from "../../src/worker/worker.ts";
import { newSession } from "../conformance/store/harness.ts";
import { Choices, hashText } from "./choices.ts";
import {
  createFaultyHost,
  createFaultyWire,
  type Fault,
  type FaultRates,
  FAULTS,
} from "./faulty-wire.ts";
import {
  type CommandPlan,
  HostDisk,
  type HostDiskOptions,
  type HostWire,
  type Incarnation,
} from "./host-disk.ts";
import { broken, Invariants, type SentMessage } from "./invariants.ts";
import { OracleDatabase, type OracleOptions } from "./oracle-database.ts";
import type { SlotAnswer } from "./oracle-rows.ts";
import { OracleStore, type OracleStoreOptions, type WireCall } from "./oracle-store.ts";
import { type AgentPlan, type CreateLifecycle, createSimulatedWorker } from "./simulated-worker.ts";
import { Chance, VirtualProcess, VirtualWorld } from "./virtual-world.ts";

/** What a planted bug replaces. */
export interface Variant {
  readonly createDatabase?: (options: OracleOptions) => OracleDatabase;
  readonly createStore?: (options: OracleStoreOptions) => OracleStore;
  readonly createLifecycle?: CreateLifecycle;
  readonly disk?: HostDiskOptions;
}

/** What one scenario was. */
export interface ScenarioReport {
  readonly seed: number;
  readonly hash: string;
  readonly steps: number;
  readonly deaths: number;
  readonly freezes: number;
  readonly workers: number;
  /** What users asked for. */
  readonly commands: number;
  /** Sessions by the state that they came to. */
  readonly ends: ReadonlyMap<string, number>;
  readonly effects: number;
  readonly calls: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<Fault, number>;
  readonly hostCalls: ReadonlyMap<string, number>;
  readonly hostFaults: ReadonlyMap<Fault, number>;
  /** What the database said, other than that it was done. */
  readonly answers: ReadonlyMap<string, number>;
}

const FAULTS_MS = 45_000;
const IN_PLACE = { mode: "in-place", source: "/project" } as const;
const REST_MS_MAX = 1_800_000;
const RETRIES_MAX = 40;
/** What a reader may need for the rest of a log, a few events at a time. */
const READ_MS_MAX = 300_000;

/** Which part of what a seed draws is run. */
export interface ScenarioPart {
  /** @default all that is drawn */
  readonly choices?: readonly string[] | null;
  /** Filled with what happened, also when the scenario fails. */
  readonly taken?: string[];
}

/** Runs the scenario of a seed. @throws InvariantBroken, with the seed in its message. */
export async function runScenario(
  seed: number,
  variant: Variant = {},
  { choices: kept = null, taken = [] }: ScenarioPart = {},
): Promise<ScenarioReport> {
  const choices = new Choices(kept);
  try {
    return await new Simulation(seed, variant, choices).run();
  } catch (error) {
    (error as Error).message = `STINT_SIM_SEED=${seed}: ${(error as Error).message}`;
    throw error;
  } finally {
    taken.push(...choices.taken);
  }
}

interface Reader {
  readonly sessionId: string;
  readonly seen: { readonly seq: number; readonly id: string }[];
}

interface Host {
  readonly place: number;
  process: VirtualProcess;
  worker: Worker;
  pid: number;
}

/** Workers, users, readers and a database in one virtual world, and what goes wrong in it. */
class Simulation {
  readonly #seed: number;
  readonly #variant: Variant;
  readonly #world = new VirtualWorld();
  readonly #choices: Choices;
  /** Draws the plan, before anything happens. */
  readonly #chance: Chance;
  /** Draws whether hints of news arrive. */
  readonly #newsChance: Chance;
  readonly #lives = new Map<string, number>();
  readonly #database: OracleDatabase;
  readonly #invariants: Invariants;
  readonly #disk: HostDisk;
  readonly #hosts: Host[] = [];
  readonly #stores = new Map<VirtualProcess, OracleStore>();
  readonly #processes = new Map<number, VirtualProcess>();
  readonly #messages: SentMessage[] = [];
  readonly #sessions: string[] = [];
  readonly #readers: Reader[] = [];
  readonly #calls = new Map<string, number>();
  readonly #faults = new Map<Fault, number>();
  readonly #hostCalls = new Map<string, number>();
  readonly #hostFaults = new Map<Fault, number>();
  readonly #answers = new Map<string, number>();
  readonly #watchesPeers: boolean;
  readonly #rates: FaultRates;
  #failure: Error | null = null;
  #processCount = 0;
  #deaths = 0;
  #freezes = 0;
  #commands = 0;
  #busyUsers = 0;
  #isOver = false;

  constructor(seed: number, variant: Variant, choices: Choices) {
    this.#seed = seed;
    this.#variant = variant;
    this.#choices = choices;
    this.#chance = new Chance(seed);
    this.#newsChance = this.#chance.fork();
    const ids = this.#createProcess("database");
    const options = { now: () => this.#world.now, newId: () => ids.newId(), inboxItemsMax: 3 };
    this.#database = variant.createDatabase?.(options) ?? new OracleDatabase(options);
    this.#invariants = new Invariants(this.#database);
    this.#disk = new HostDisk((error) => (this.#failure ??= error), variant.disk);
    this.#watchesPeers = this.#chance.happens(0.3);
    // Most scenarios know only some of the faults: the others would hide what these bring about.
    this.#rates = Object.fromEntries(
      FAULTS.filter((fault) => !fault.startsWith("crash") && this.#chance.happens(0.6)).map(
        (fault) => [fault, this.#chance.pick([0.003, 0.01, 0.04])],
      ),
    );
  }

  async run(): Promise<ScenarioReport> {
    this.#startJanitor();
    const workers = this.#chance.between(2, 3);
    for (let place = 0; place < workers; place++) this.#startHost(place);
    this.#planUsers();
    this.#planTrouble();
    await this.#runUntil(this.#world.now + FAULTS_MS);
    this.#endTrouble();
    await this.#rest();
    this.#invariants.checkEnd(this.#messages);
    this.#checkReaders();
    this.#checkLedger();
    const ends = new Map<string, number>();
    for (const { row } of this.#database.sessions.values()) count(ends, row.status);
    await this.#deleteOne();
    return {
      ...{ ends, effects: this.#disk.effects.size },
      ...{ seed: this.#seed, hash: this.#world.hash, steps: this.#world.steps, workers },
      ...{ deaths: this.#deaths, freezes: this.#freezes, commands: this.#commands },
      ...{ calls: this.#calls, faults: this.#faults, answers: this.#answers },
      ...{ hostCalls: this.#hostCalls, hostFaults: this.#hostFaults },
    };
  }

  // -- time --------------------------------------------------------------------------------------

  async #runUntil(until: number, isDone = (): boolean => false): Promise<void> {
    while (!isDone() && (await this.#world.step(until))) {
      if (this.#failure) throw this.#failure;
      this.#invariants.check();
    }
    if (this.#failure) throw this.#failure;
  }

  /** Nothing goes wrong any more: everything must come to its end, or wait for a person. */
  async #rest(): Promise<void> {
    const until = this.#world.now + REST_MS_MAX;
    await this.#runUntil(until, () => this.#busyUsers === 0 && this.#isAtRest());
    if (!this.#isAtRest()) {
      const rows = [...this.#database.sessions.values()].map(({ row }) => row);
      const left = rows.filter(({ status }) => !isTerminal(status));
      broken(`after ${REST_MS_MAX} ms: ${left.map((row) => `${row.id} ${row.status}`).join(", ")}`);
    }
    // Whoever still believes to hold a session learns the truth, and readers see the end.
    await this.#runUntil(this.#world.now + 5_000);
    await this.#runUntil(this.#world.now + READ_MS_MAX, () =>
      this.#readers.every((reader) => reader.seen.length >= this.#logOf(reader).length),
    );
  }

  #isAtRest(): boolean {
    return [...this.#database.sessions.values()].every(({ row, permissions }) => {
      const isAsking = permissions.some(({ status }) => status === "pending");
      const isHeld = row.status === "paused" && row.resumeAt === null && !isAsking;
      return isTerminal(row.status) || isHeld;
    });
  }

  // -- processes ---------------------------------------------------------------------------------

  /** Its chance depends on the seed and its name alone: no death elsewhere changes it. */
  #createProcess(kind: string): VirtualProcess {
    const life = (this.#lives.get(kind) ?? 0) + 1;
    this.#lives.set(kind, life);
    const name = `${kind}.${life}`;
    const chance = new Chance(this.#seed ^ hashText(name));
    const wallSkewMs = chance.happens(0.3) ? chance.between(-3_600_000, 3_600_000) : 0;
    const idSpace = ++this.#processCount;
    return new VirtualProcess(this.#world, { name, idSpace, chance, wallSkewMs });
  }

  #connect(process: VirtualProcess, hasFaults: boolean, onCrash: (() => void) | null): OracleStore {
    const chance = process.chance.fork();
    const call = chance.between(1, 120);
    const fault: Fault = chance.happens(0.5) ? "crash_before" : "crash_after";
    const mayCrash = onCrash !== null && chance.happens(0.5);
    const wire = createFaultyWire({
      ...{ world: this.#world, process, choices: this.#choices },
      rates: () => (hasFaults && !this.#isOver ? this.#rates : null),
      crashPoint: mayCrash ? { call, fault } : null,
      onCrash: () => onCrash?.(),
      onCall: ({ command }, seen) => {
        count(this.#calls, command);
        if (seen) count(this.#faults, seen);
      },
      carryOut: (statement, work) => this.#carryOut(statement, work),
    });
    const onAcknowledged: OracleStoreOptions["onAcknowledged"] = (slot) =>
      this.#guard(() => this.#invariants.acknowledge(slot));
    const options = { database: this.#database, clock: process, wire, onAcknowledged };
    const store = this.#variant.createStore?.(options) ?? new OracleStore(options);
    this.#stores.set(process, store);
    return store;
  }

  #connectHost(process: VirtualProcess, onCrash: () => void): HostWire {
    const chance = process.chance.fork();
    const call = chance.between(1, 40);
    const fault: Fault = chance.happens(0.5) ? "crash_before" : "crash_after";
    return createFaultyHost({
      ...{ world: this.#world, process, choices: this.#choices, onCrash },
      rates: () => (this.#isOver ? null : this.#rates),
      crashPoint: chance.happens(0.3) ? { call, fault } : null,
      onCall: (command, seen) => {
        count(this.#hostCalls, command);
        if (seen) count(this.#hostFaults, seen);
      },
    });
  }

  /** One that was overtaken meanwhile begins in vain: it can write nothing. */
  #checkBeginning(attempt: Incarnation): void {
    const row = this.#database.find(attempt.sessionId);
    if (row?.epoch !== attempt.epoch || row.status !== "active") return;
    this.#disk.begin(attempt, row.snapshotId);
  }

  #carryOut<T>(call: WireCall, work: () => T): T {
    const tell = this.#guard(() => this.#invariants.carryOut(call, work));
    const value = this.#noteAnswer(call, tell);
    if (!/^(read|list|get|find|heartbeat|ping)/.test(call.command)) this.#announce();
    return value;
  }

  #noteAnswer<T>({ command }: WireCall, tell: () => T): T {
    try {
      const value = tell();
      const { status = "", code = "" } = (value ?? {}) as Partial<SlotAnswer>;
      if (command === "commit") count(this.#answers, code || status);
      return value;
    } catch (error) {
      count(this.#answers, toStintError(error).code);
      throw error;
    }
  }

  /** Keeps a broken promise from being taken for an error of the database. */
  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      this.#failure ??= error as Error;
      throw error;
    }
  }

  /** Hints of news are late, or get lost. */
  #announce(): void {
    for (const [process, store] of this.#stores) {
      if (!process.isAlive || !this.#newsChance.happens(0.3)) continue;
      this.#world.plan(process, this.#newsChance.between(1, 50), "news", () =>
        store.announceWork(),
      );
    }
  }

  /** A process with a store that nothing happens to: its sweeps bound what a loss may take. */
  #startJanitor(): void {
    const clock = this.#createProcess("janitor");
    const store = this.#connect(clock, false, null);
    const logger = silentLogger;
    const lifecycle = new SessionLifecycleManager({ store, clock, logger, metrics: silentMetrics });
    const intervals = { lostLeaseIntervalMs: 1_000, sweepIntervalMs: 5_000 };
    const peers = { peerIntervalMs: 60_000, bootId: "" };
    createSweeper({ lifecycle, store, clock, logger, ...intervals, ...peers }).start();
  }

  #startHost(place: number): void {
    const pid = this.#processCount + 1_000;
    const process = this.#createProcess(`worker-${place}`);
    this.#processes.set(pid, process);
    const store = this.#connect(process, true, () => this.#kill(host, 2_000));
    const worker = createSimulatedWorker({
      ...{ process, store, disk: this.#disk, pid, watchesPeers: this.#watchesPeers },
      onPoison: () => this.#kill(host, 500),
      isRunning: (other) => this.#processes.get(other)?.isAlive ?? false,
      createLifecycle: this.#variant.createLifecycle,
      hostWire: this.#connectHost(process, () => this.#kill(host, 2_000)),
      commandClock: {
        setTimer: (run, afterMs) => this.#world.plan(null, afterMs, "command", run),
      },
      onBegin: (attempt) => this.#checkBeginning(attempt),
    });
    const host: Host = { place, process, worker, pid };
    this.#hosts[place] = host;
    // One that cannot register ends, and whatever runs it starts it again.
    worker.start().catch(() => this.#kill(host, 500));
  }

  #kill(host: Host, downMs: number): void {
    if (!host.process.isAlive || this.#hosts[host.place] !== host) return;
    this.#deaths++;
    host.process.kill();
    this.#stores.delete(host.process);
    this.#world.plan(null, downMs, "restart", () => this.#startHost(host.place));
  }

  async #stopGently(host: Host): Promise<void> {
    await host.worker.stop();
    if (!host.process.isAlive || this.#hosts[host.place] !== host) return;
    host.process.kill();
    this.#stores.delete(host.process);
    this.#world.plan(null, 1_000, "restart", () => this.#startHost(host.place));
  }

  #freeze(host: Host, forMs: number): void {
    this.#freezes++;
    host.process.freeze();
    this.#world.plan(null, forMs, "thaw", () => host.process.thaw());
  }

  #planTrouble(): void {
    let planned = 0;
    const plan = (label: string, act: (host: Host) => void): void => {
      const at = this.#chance.between(500, FAULTS_MS - 5_000);
      const place = this.#chance.between(0, this.#hosts.length - 1);
      if (!this.#choices.happens(`${label} ${++planned}`)) return;
      this.#world.plan(null, at, label, () => {
        const host = this.#hosts[place];
        if (host?.process.isAlive) act(host);
      });
    };
    for (let deaths = this.#chance.between(1, 3); deaths > 0; deaths--) {
      const downMs = this.#chance.between(100, 20_000);
      plan("kill", (host) => this.#kill(host, downMs));
    }
    if (this.#chance.happens(0.4)) plan("stop", (host) => void this.#stopGently(host));
    if (this.#chance.happens(0.6)) {
      const forMs = this.#chance.between(3_000, 30_000);
      plan("freeze", (host) => this.#freeze(host, forMs));
    }
    if (!this.#choices.happens("last kill")) return;
    // Whatever else happens, one dies that is alive.
    this.#world.plan(null, FAULTS_MS - 2_000, "last kill", () => {
      const host = this.#hosts.find(({ process }) => process.isAlive);
      if (host && this.#deaths === 0) this.#kill(host, 1_000);
    });
  }

  #endTrouble(): void {
    this.#isOver = true;
    for (const { process } of this.#hosts) if (process.isFrozen) process.thaw();
  }

  // -- users -------------------------------------------------------------------------------------

  #planUsers(): void {
    const process = this.#createProcess("user");
    const store = this.#connect(process, true, null);
    let planned = 0;
    const act = (withinMs: number, name: string, work: () => Promise<unknown>): void => {
      const at = this.#chance.between(0, withinMs);
      if (!this.#choices.happens(`${name} ${++planned}`)) return;
      this.#commands++;
      this.#busyUsers++;
      this.#world.plan(process, at, name, () => {
        void this.#insist(process, work).finally(() => this.#busyUsers--);
      });
    };
    for (let count = this.#chance.between(2, 5); count > 0; count--) {
      const session = this.#planSession(process);
      const key = { key: session.id, requestHash: "hash" };
      const isRead = this.#chance.happens(0.5);
      act(20_000, "create", async () => {
        await store.createSession(session, key);
        if (this.#sessions.includes(session.id)) return;
        this.#sessions.push(session.id);
        if (isRead) this.#startReader(session.id);
      });
    }
    const requests = this.#chance.between(10, 18);
    for (let count = requests; count > 0; count--) {
      act(FAULTS_MS - 2_000, "ask", this.#planRequest(process, store));
    }
  }

  #planSession(process: VirtualProcess): NewSession {
    const chance = process.chance;
    const calls = Array.from({ length: chance.between(0, 4) });
    const plan: AgentPlan = {
      isPoison: chance.happens(0.03),
      commandsMs: calls.map(() => chance.pick([null, 100, 3_000, 12_000])),
      thoughts: calls.map(() => chance.pick([0, 50, 500, 2_000, 6_000, 20_000])),
      end: chance.pick(["say", "say", "say", "say", "say", "say", "crash", "fail"] as const),
    };
    const { limits } = newSession();
    return newSession({
      limits: {
        ...limits,
        idleTimeoutMs: chance.pick([limits.idleTimeoutMs, 8_000]),
        deadlineMs: chance.pick([null, null, null, 40_000]),
      },
      id: process.newId(),
      agent: "fake",
      prompt: JSON.stringify(plan),
      keepOpen: chance.happens(0.3),
      permissions: chance.happens(0.3) ? ["ask *"] : [],
      ...(chance.happens(0.3) && { workspace: IN_PLACE, inPlacePath: IN_PLACE.source }),
    });
  }

  #planRequest(process: VirtualProcess, store: Store): () => Promise<unknown> {
    const { chance } = process;
    const drawn = chance.next();
    const place = chance.next();
    const id = process.newId();
    const pickSession = (): string | null =>
      this.#sessions[Math.floor(place * this.#sessions.length)] ?? null;
    const on = (work: (sessionId: string) => Promise<unknown>) => async (): Promise<void> => {
      const sessionId = pickSession();
      if (sessionId !== null) await work(sessionId);
    };
    if (drawn < 0.4) return this.#planMessage(store, id, pickSession);
    if (drawn < 0.5) return on((sessionId) => store.pauseSession(sessionId));
    if (drawn < 0.67) return on((sessionId) => store.resumeSession(sessionId));
    if (drawn < 0.72) return on((sessionId) => store.cancelSession(sessionId));
    if (drawn < 0.74) {
      const forced = { to: "expired", reason: "deadline", message: "by force" } as const;
      return on((sessionId) => store.forceTransition(sessionId, forced));
    }
    if (drawn < 0.78) {
      const data = { command: "note", output: id, final: false };
      return on((sessionId) => store.appendUnowned(sessionId, [{ type: "terminal", data }]));
    }
    const decision = chance.happens(0.7) ? "allow" : "deny";
    if (drawn < 0.9) return on((sessionId) => decide(store, sessionId, decision));
    if (drawn < 0.94) return on((sessionId) => askInVain(store, sessionId, id));
    return on((sessionId) => lookAround(store, sessionId));
  }

  #planMessage(store: Store, id: string, pickSession: () => string | null): () => Promise<unknown> {
    let sessionId: string | null = null;
    return async () => {
      sessionId ??= pickSession();
      if (sessionId === null) return;
      const message = { id, sessionId, text: `message ${id}` };
      await store.sendMessage({ ...message, userId: LOCAL_USER_ID });
      this.#messages.push(message);
    };
  }

  /** A client that does not hear back asks again; what was refused stays refused. */
  async #insist(process: VirtualProcess, work: () => Promise<unknown>): Promise<void> {
    for (let retries = 0; retries < RETRIES_MAX; retries++) {
      try {
        await work();
        return;
      } catch (error) {
        if (toStintError(error).code !== "database_unavailable") return;
      }
      await delay(process, 500);
    }
  }

  #startReader(sessionId: string): void {
    const process = this.#createProcess("reader");
    const store = this.#connect(process, true, null);
    const reader: Reader = { sessionId, seen: [] };
    this.#readers.push(reader);
    const read = async (): Promise<void> => {
      const after = reader.seen.at(-1)?.seq ?? 0;
      const query = { after, limit: process.chance.between(1, 20) };
      const isRaw = process.chance.happens(0.5);
      try {
        const events = await (isRaw
          ? store.readEventRows(sessionId, query)
          : store.readEvents(sessionId, query));
        reader.seen.push(...events.map(({ seq, id }) => ({ seq, id })));
      } catch {
        // The next round asks again from the same place.
      }
      process.setTimer(() => void read(), process.chance.between(50, 900));
    };
    void read();
  }

  #checkReaders(): void {
    for (const reader of this.#readers) {
      const { sessionId, seen } = reader;
      const log = this.#logOf(reader);
      const isSame = ({ id }: { id: string }, place: number): boolean => seen[place]?.id === id;
      const isDense = seen.every(({ seq }, place) => seq === place + 1);
      if (!isDense || seen.length !== log.length || !log.every(isSame)) {
        const seqs = seen.map(({ seq }) => seq).join(" ");
        broken(`a reader of ${sessionId} saw ${seqs}, its log ends at ${log.length}`);
      }
    }
  }

  /** What the ledger calls done was done, and once. */
  #checkLedger(): void {
    for (const [sessionId, { calls }] of this.#database.sessions) {
      for (const { hasEffect, status, isError, input } of calls) {
        if (!hasEffect || isError || status !== "finished") continue;
        const { path, command } = input;
        const written = path ?? (JSON.parse(String(command)) as CommandPlan).path;
        const effects = this.#disk.effects.get(`${sessionId}/${String(written)}`) ?? 0;
        if (effects === 1) continue;
        broken(
          `the ledger of ${sessionId} calls ${String(written)} done, which happened ${effects} times`,
        );
      }
    }
  }

  #logOf({ sessionId }: Reader): readonly { readonly id: string }[] {
    return this.#database.sessions.get(sessionId)?.events ?? [];
  }

  async #deleteOne(): Promise<void> {
    const rows = [...this.#database.sessions.values()].map(({ row }) => row);
    const over = rows.find(({ status }) => isTerminal(status));
    const process = this.#createProcess("operator");
    const store = this.#connect(process, false, null);
    const live = rows.find(({ status }) => !isTerminal(status));
    const refused = live ? store.deleteSession(live.id).catch(toStintError) : null;
    const deleted = over ? store.deleteSession(over.id) : Promise.resolve();
    await this.#runUntil(this.#world.now + 1_000);
    await deleted;
    if (live && !this.#database.find(live.id)) broken(`session ${live.id} was deleted alive`);
    await refused;
    if (over && this.#database.find(over.id)) broken(`session ${over.id} was deleted and is there`);
  }
}

/** Answers what an agent asks leave for. */
async function decide(store: Store, sessionId: string, decision: "allow" | "deny"): Promise<void> {
  const asked = await store.listPermissions(sessionId, { isOpen: true });
  const pending = asked.find(({ status }) => status === "pending");
  if (!pending) return;
  const answer = { sessionId, permissionId: pending.id, note: null, userId: LOCAL_USER_ID };
  await store.decidePermission({ ...answer, decision });
  const opposite = decision === "allow" ? "deny" : "allow";
  await store.decidePermission({ ...answer, decision: opposite });
}

/** What must be refused. */
async function askInVain(store: Store, sessionId: string, id: string): Promise<void> {
  const answer = { sessionId, permissionId: id, note: null, userId: LOCAL_USER_ID } as const;
  const requests = [
    () => store.resumeSession(id),
    () => store.findRepeated(LOCAL_USER_ID, { key: sessionId, requestHash: "another" }),
    () => store.decidePermission({ ...answer, decision: "allow" }),
  ];
  for (const request of requests) {
    const code = await request().then(
      () => "none",
      (error: unknown) => toStintError(error).code,
    );
    if (code === "database_unavailable") throw new StintError(code, "the answer is not known");
  }
}

async function lookAround(store: Store, sessionId: string): Promise<void> {
  await store.getSession(sessionId);
  await store.readStateChanges(sessionId);
  await store.listSessions({});
  await store.getScript(sessionId);
  await store.findRepeated(LOCAL_USER_ID, { key: sessionId, requestHash: "hash" });
  await store.readStats();
  await store.listWorkers();
  await store.listAskingSessions([sessionId]);
  await store.ping();
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
