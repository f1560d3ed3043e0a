import { randomUUID } from "node:crypto";
import { delay } from "../../../src/core/clock.ts";
import { toStintError } from "../../../src/core/error.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { LOCAL_USER_ID, type NewSession } from "../../../src/core/session.ts";
import type { Store } from "../../../src/core/store.ts";
import { connectStore } from "../../../src/store/postgres-store.ts";
import type { Worker } from "../../../src/worker/worker.ts";
import { newSession } from "../../conformance/store/harness.ts";
import { broken, InvariantBroken, type SentMessage } from "../../simulation/invariants.ts";
import { HostDisk } from "../../simulation/host-disk.ts";
import { createSimulatedWorker } from "../../simulation/simulated-worker.ts";
import { Chance } from "../../simulation/virtual-world.ts";
import type { Lane } from "./crash-postgres.ts";
import { FaultyLink, type LinkedConnection } from "./faulty-link.ts";
import { carryOutByHand, HAND_AGENT } from "./handwork.ts";
import { MortalProcess } from "./mortal-process.ts";
import { Recording, recordStore } from "./recorded-store.ts";
import {
  type CommandKind,
  type FaultKind,
  hashPlan,
  type PlannedCommand,
  type ProcessPlan,
  type ScenarioPlan,
} from "./scenario-plan.ts";
import { checkTables, requireNoOrphans } from "./table-invariants.ts";

/** What one scenario was. */
export interface CrashReport {
  readonly seed: number;
  /** Of its plan: equal plans have equal hashes. */
  readonly hash: number;
  readonly workers: number;
  readonly deaths: number;
  /** Deaths of workers that held a session. */
  readonly deathsAtWork: number;
  readonly commands: ReadonlyMap<CommandKind, number>;
  readonly faults: ReadonlyMap<FaultKind, number>;
  readonly calls: ReadonlyMap<string, number>;
  readonly answers: ReadonlySet<string>;
  readonly ends: ReadonlyMap<string, number>;
  readonly acknowledged: number;
}

/** Time of a process against that of the clock on the wall. */
const SPEED = 5;
const PASS_INTERVAL_MS = 1_000;
const REST_MS_MAX = 90_000;
const RETRIES_MAX = 60;
const RETRY_MS = 400;
/** Messages that may wait for one session, so few that there are too many. */
const INBOX_ITEMS_MAX = 3;
const HELD_MS = 300;
const REST_PASS_MS = 250;

/** Runs the scenario of a seed by its plan. @throws InvariantBroken */
export async function runCrashScenario(
  lane: Lane,
  seed: number,
  plan: ScenarioPlan,
): Promise<CrashReport> {
  const scenario = new CrashScenario(lane, seed, plan);
  try {
    return await scenario.run();
  } finally {
    scenario.abandon();
  }
}

interface Host {
  readonly place: number;
  readonly plan: ProcessPlan;
  readonly process: MortalProcess;
  readonly link: FaultyLink;
  readonly pid: number;
  store: Store | null;
  worker: Worker | null;
}

class CrashScenario {
  readonly #lane: Lane;
  readonly #seed: number;
  readonly #plan: ScenarioPlan;
  /** Time that passes outside of all processes. */
  readonly #outside: MortalProcess;
  readonly #recording = new Recording();
  readonly #disk: HostDisk;
  readonly #hosts: Host[] = [];
  readonly #all: Host[] = [];
  readonly #starting = new Set<Promise<void>>();
  readonly #sessions: string[] = [];
  readonly #deleted = new Set<string>();
  readonly #messages: SentMessage[] = [];
  readonly #held = new Set<string>();
  readonly #commands = new Map<CommandKind, number>();
  readonly #faults = new Map<FaultKind, number>();
  #failure: Error | null = null;
  #deaths = 0;
  #deathsAtWork = 0;
  #isOver = false;

  constructor(lane: Lane, seed: number, plan: ScenarioPlan) {
    this.#lane = lane;
    this.#seed = seed;
    this.#plan = plan;
    this.#outside = new MortalProcess({ name: "outside", chance: new Chance(seed), speed: SPEED });
    this.#disk = new HostDisk((error) => (this.#failure ??= error), { storeMs: [2, 20, 100] });
  }

  async run(): Promise<CrashReport> {
    const user = await this.#startUser();
    for (let place = 0; place < this.#plan.workers; place++) this.#start(place);
    await this.#work(user);
    this.#requireDeath();
    await this.#endTrouble();
    await this.#rest(user);
    await this.#deleteOne(user);
    await this.#stop();
    if (this.#failure) throw this.#failure;
    const ends = await checkTables(this.#lane, {
      ...{ sessionIds: this.#sessions, deleted: this.#deleted, messages: this.#messages },
      ...{ recording: this.#recording, effects: this.#disk.effects, held: this.#held },
    });
    return {
      ...{ seed: this.#seed, hash: hashPlan(this.#plan), workers: this.#plan.workers, ends },
      ...{ deaths: this.#deaths, deathsAtWork: this.#deathsAtWork, commands: this.#commands },
      ...{ faults: this.#faults, calls: this.#recording.calls, answers: this.#recording.answers },
      acknowledged: this.#recording.acknowledged.length,
    };
  }

  /** Lets go of everything, whatever became of it. */
  abandon(): void {
    this.#isOver = true;
    for (const { process, link } of this.#all) {
      process.kill();
      link.close();
    }
    this.#outside.kill();
  }

  // -- processes ---------------------------------------------------------------------------------

  #createHost(place: number, name: string, plan: ProcessPlan): Host {
    const process = new MortalProcess({ name, chance: new Chance(plan.seed), speed: SPEED });
    const link = new FaultyLink(this.#lane.postgres.backends);
    const pid = 1_000 + this.#all.length;
    const host: Host = { place, plan, process, link, pid, store: null, worker: null };
    this.#all.push(host);
    for (const { kind, at } of plan.faults) {
      link.plan(at, (connection) => this.#bringAbout(kind, host, connection));
    }
    return host;
  }

  /** Connects as a service would that is started again until it runs. */
  async #connect({ process, link, plan }: Host): Promise<Store> {
    const url = this.#lane.postgres.urlOf(this.#lane.name);
    for (;;) {
      try {
        const store = await connectStore({
          ...{
            url,
            clock: process.atRealTime,
            logger: silentLogger,
            inboxItemsMax: INBOX_ITEMS_MAX,
            createSocket: () => link.createSocket(),
          },
          limits: { lanes: 1 },
        });
        const watchWork = plan.listens ? undefined : (): (() => void) => () => undefined;
        return recordStore(store, process, this.#recording, watchWork);
      } catch (error) {
        if (toStintError(error).code !== "database_unavailable") throw error;
      }
      await delay(process, RETRY_MS);
    }
  }

  async #startUser(): Promise<Store> {
    const host = this.#createHost(-1, "user", this.#plan.user);
    host.store = await this.#connect(host);
    return host.store;
  }

  #start(place: number): void {
    if (this.#isOver) return;
    const started = this.#startHost(place).catch((error: Error) => {
      this.#failure ??= error;
    });
    this.#starting.add(started);
    void started.then(() => void this.#starting.delete(started));
  }

  async #startHost(place: number): Promise<void> {
    const { processes } = this.#plan;
    const workers = this.#all.length - 1;
    const plan = processes[Math.min(workers, processes.length - 1)] as ProcessPlan;
    const host = this.#createHost(place, `worker-${place}`, plan);
    this.#hosts[place] = host;
    // It may die on the way: then nobody waits for it any more.
    await host.process.whileAlive(this.#bringUp(host));
  }

  async #bringUp(host: Host): Promise<void> {
    const store = await this.#connect(host);
    host.store = store;
    host.worker = createSimulatedWorker({
      ...{ process: host.process, store, disk: this.#disk, pid: host.pid },
      watchesPeers: this.#plan.watchesPeers,
      passIntervalMs: PASS_INTERVAL_MS,
      onPoison: () => this.#kill(host, "death by its agent"),
      isRunning: (pid) => this.#all.some((one) => one.pid === pid && one.process.isAlive),
    });
    for (;;) {
      try {
        await host.worker.start();
        return;
      } catch (error) {
        if (toStintError(error).code !== "database_unavailable") throw error;
      }
      await delay(host.process, RETRY_MS);
    }
  }

  #kill(host: Host, kind: FaultKind): void {
    if (!host.process.isAlive) return;
    this.#deaths++;
    if (this.#recording.isAtWork(host.process)) this.#deathsAtWork++;
    count(this.#faults, kind);
    host.process.kill();
    host.link.close();
    if (host.plan.endsLeaseAtDeath) this.#goOn(this.#endLease(host));
    const isLast = this.#hosts.every(({ process }) => !process.isAlive);
    if (isLast || host.plan.isRestarted) {
      this.#outside.setTimer(() => this.#start(host.place), host.plan.downMs);
    }
  }

  /** Time is moved, not waited for. */
  async #endLease(host: Host): Promise<void> {
    const ids = [...this.#recording.workerIdsOf(host.process)];
    await this.#lane.query(
      `update stint.workers set lease_duration_ms = 1,
        lease_expires_at = clock_timestamp() - interval '1 millisecond' where id = any ($1)`,
      [ids],
    );
  }

  // -- faults ------------------------------------------------------------------------------------

  #bringAbout(kind: FaultKind, host: Host, connection: LinkedConnection): void {
    if (this.#isOver || !host.process.isAlive) return;
    if (kind.startsWith("death")) {
      this.#kill(host, kind);
      return;
    }
    count(this.#faults, kind);
    if (kind.startsWith("cut")) connection.cut();
    else if (kind === "backend terminated") this.#goOn(this.#terminate(connection));
    else if (kind === "lease ended early") this.#goOn(this.#endLease(host));
    else if (kind === "connection held beyond the lease") {
      connection.hold();
      this.#goOn(this.#outlastLease(host, () => connection.release()));
    } else if (kind === "process frozen beyond the lease") {
      host.process.freeze();
      host.link.hold();
      const goOn = (): void => {
        host.link.release();
        host.process.thaw();
      };
      this.#goOn(this.#outlastLease(host, goOn));
    }
  }

  /** Nobody waits for it, but it must not fail. */
  #goOn(work: Promise<unknown>): void {
    work.catch((error: Error) => (this.#failure ??= error));
  }

  /** What was held goes on when others may have taken over. */
  async #outlastLease(host: Host, goOn: () => void): Promise<void> {
    await this.#endLease(host);
    const { store } = this.#all[0] as Host;
    await this.#try(async () => store?.sweepLostLeases());
    await delay(this.#outside, HELD_MS);
    goOn();
  }

  async #terminate({ backendPid }: LinkedConnection): Promise<void> {
    if (backendPid === null) return;
    await this.#lane.query("select pg_terminate_backend($1)", [backendPid]);
  }

  /** Whatever else happened, one dies that was alive. */
  #requireDeath(): void {
    const host = this.#hosts.find(({ process }) => process.isAlive);
    if (this.#deaths === 0 && host) this.#kill(host, "death at the end of the work");
  }

  async #endTrouble(): Promise<void> {
    for (const { link, process } of this.#all) {
      link.heal();
      process.thaw();
    }
    await delay(this.#outside, 1);
  }

  // -- users -------------------------------------------------------------------------------------

  async #work(user: Store): Promise<void> {
    const { commands, hasHandwork, restartsPostgres } = this.#plan;
    const [first, second]: PlannedCommand[][] = [[], []];
    for (const [place, command] of commands.entries()) (place % 2 ? first : second)?.push(command);
    const chains = [first ?? [], second ?? []].map((chain) => this.#carryOutAll(user, chain));
    if (hasHandwork) chains.push(this.#workByHand(user));
    if (restartsPostgres) chains.push(this.#restartPostgres());
    await Promise.all(chains);
  }

  async #restartPostgres(): Promise<void> {
    await delay(this.#outside, 1_000);
    count(this.#faults, "postgres shut down");
    await this.#lane.postgres.restart();
  }

  async #carryOutAll(user: Store, commands: readonly PlannedCommand[]): Promise<void> {
    for (const command of commands) {
      await delay(this.#outside, command.pauseMs);
      count(this.#commands, command.kind);
      await this.#carryOut(user, command);
    }
  }

  async #carryOut(user: Store, { kind, place }: PlannedCommand): Promise<void> {
    const sessionId = this.#sessions[Math.floor(place * this.#sessions.length)];
    if (kind === "create") return this.#create(user);
    if (kind === "sweep") return this.#sweep(user);
    if (kind === "bury") return this.#insist(() => user.buryWorker(randomUUID(), "boot"));
    if (sessionId === undefined) return;
    switch (kind) {
      case "message":
        return this.#send(user, sessionId);
      case "pause":
        this.#held.add(sessionId);
        return this.#insist(() => user.pauseSession(sessionId));
      case "resume":
        return this.#insist(() => user.resumeSession(sessionId));
      case "cancel":
        return this.#insist(() => user.cancelSession(sessionId));
      case "force":
        return this.#insist(() =>
          user.forceTransition(sessionId, { to: "expired", reason: "deadline", message: "force" }),
        );
      case "append": {
        const data = { command: "note", output: randomUUID(), final: false };
        // Not repeated: it has no key by which a repetition could be told.
        await this.#try(() => user.appendUnowned(sessionId, [{ type: "terminal", data }]));
        return;
      }
      case "look":
        return this.#insist(() => this.#look(user, sessionId));
      case "zombie write":
        return this.#writeAsZombie(user);
      case "delete":
        return this.#delete(user, sessionId);
    }
  }

  async #create(user: Store): Promise<void> {
    const place = this.#sessions.length;
    const planned = this.#plan.sessions[place];
    if (!planned) return;
    const { limits } = newSession();
    const { deadlineMs, queueTimeoutMs, keepOpen } = planned;
    const session: NewSession = newSession({
      limits: {
        ...limits,
        deadlineMs,
        queueTimeoutMs: queueTimeoutMs ?? limits.queueTimeoutMs,
      },
      agent: "fake",
      prompt: JSON.stringify(planned.agent),
      keepOpen,
    });
    this.#sessions.push(session.id);
    const key = { key: session.id, requestHash: "hash" };
    await this.#insist(() => user.createSession(session, key));
  }

  async #send(user: Store, sessionId: string): Promise<void> {
    const message = { id: randomUUID(), sessionId, text: `message ${randomUUID()}` };
    await this.#insist(async () => {
      await user.sendMessage({ ...message, userId: LOCAL_USER_ID });
      this.#messages.push(message);
    });
  }

  async #sweep(user: Store): Promise<void> {
    await this.#try(async () => {
      await user.sweepLostLeases();
      await user.sweepControlRequests();
      await user.sweepIdleSessions();
    });
  }

  async #look(user: Store, sessionId: string): Promise<void> {
    await user.getSession(sessionId);
    const events = await user.readEvents(sessionId, { limit: 5_000 });
    const dense = events.every(({ seq }, place) => seq === place + 1);
    if (!dense) broken(`a reader of ${sessionId} saw ${events.map(({ seq }) => seq).join(" ")}`);
    await user.findRepeated(LOCAL_USER_ID, { key: sessionId, requestHash: "another" });
  }

  /** An epoch that is over writes once more, at the very place where it would fit. */
  async #writeAsZombie(user: Store): Promise<void> {
    const owner = this.#recording.owners.at(-1);
    if (!owner) return;
    const { sessionId } = owner;
    await this.#insist(async () => {
      const session = await user.getSession(sessionId);
      // Every even epoch is a pause or an end: nobody ever owned it.
      const epoch = Math.max(0, (session?.epoch ?? 2) - 2);
      const data = { command: "zombie", output: randomUUID(), final: false };
      const events = [{ type: "terminal", data }] as const;
      const lastSeq = session?.lastSeq ?? 1;
      const { status } = await user.commit({ sessionId, epoch }, lastSeq, { events });
      if (status === "ok") broken(`epoch ${epoch} wrote to ${sessionId} after it was over`);
    });
  }

  async #delete(user: Store, sessionId: string): Promise<void> {
    // Noted first: a deletion without an answer may have happened.
    this.#deleted.add(sessionId);
    await this.#insist(() => user.deleteSession(sessionId));
  }

  async #workByHand(user: Store): Promise<void> {
    const session = newSession({ agent: HAND_AGENT });
    this.#sessions.push(session.id);
    await this.#insist(() => user.createSession(session, { key: session.id, requestHash: "hash" }));
    await this.#try(() => carryOutByHand(user, session.id, this.#messages));
  }

  /** A client that does not hear back asks again; what was refused stays refused. */
  async #insist(work: () => Promise<unknown>): Promise<void> {
    for (let retries = 0; retries < RETRIES_MAX; retries++) {
      if (await this.#try(work)) return;
      await delay(this.#outside, RETRY_MS);
    }
    broken("the database did not come back");
  }

  /** False when nobody knows what became of it. */
  async #try(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (error instanceof InvariantBroken) throw error;
      const { code } = toStintError(error);
      if (code === "internal") throw error;
      return code !== "database_unavailable";
    }
  }

  // -- the end -----------------------------------------------------------------------------------

  /** Nothing goes wrong any more: everything comes to its end, or waits for a person. */
  async #rest(user: Store): Promise<void> {
    const giveUpAt = performance.now() + REST_MS_MAX;
    for (;;) {
      if (this.#failure) throw this.#failure;
      await this.#endLeasesOfDead();
      await requireNoOrphans(this.#lane, user, this.#sessions);
      const open = await this.#listOpen();
      if (open.length === 0) return;
      if (performance.now() > giveUpAt) {
        broken(`after ${REST_MS_MAX} ms: ${JSON.stringify(await this.#describeStall(open))}`);
      }
      for (const { id, agent, status } of open) {
        // Nobody works on those but we.
        if (agent === HAND_AGENT && status !== "active") {
          await this.#insist(() => user.cancelSession(id));
        }
      }
      await this.#try(() => user.sweepControlRequests());
      await delay(this.#outside, REST_PASS_MS);
    }
  }

  /** Of those too that no process knows. */
  async #endLeasesOfDead(): Promise<void> {
    const alive = this.#all
      .filter(({ process }) => process.isAlive)
      .flatMap(({ process }) => [...this.#recording.workerIdsOf(process, "live")]);
    await this.#lane.query(
      `update stint.workers set lease_duration_ms = 1,
        lease_expires_at = least(lease_expires_at, clock_timestamp() - interval '1 millisecond')
       where id <> all ($1) and (lease_duration_ms > 1 or lease_expires_at > clock_timestamp())`,
      [alive],
    );
  }

  /** Backoffs are cut short. */
  async #listOpen(): Promise<{ id: string; status: string; agent: string }[]> {
    await this.#lane.query(
      "update coding_sessions set resume_at = now() where id = any ($1) and resume_at > now()",
      [this.#sessions],
    );
    return this.#lane.query(
      `select id, status, agent from coding_sessions where id = any ($1)
        and (status in ('pending', 'active') or status = 'paused' and resume_at is not null)`,
      [this.#sessions],
    );
  }

  /** What those that should work do instead. */
  async #describeStall(open: readonly { readonly id: string }[]): Promise<unknown> {
    const ids = open.map(({ id }) => id);
    const ask = (text: string, values: readonly unknown[] = []): Promise<unknown> =>
      this.#lane.query(text, values);
    return {
      sessions: await ask(
        "select *, clock_timestamp() as now from coding_sessions where id = any ($1)",
        [ids],
      ),
      events: await ask(
        `select session_id, seq, event_type, event_data, created_at from session_events
          where session_id = any ($1) order by session_id, seq desc limit 12`,
        [ids],
      ),
      workers: await ask("select *, clock_timestamp() as now from stint.workers"),
      backends: await ask(
        `select pid, state, wait_event_type, wait_event, query, pg_blocking_pids(pid) as blocked_by,
          clock_timestamp() - query_start as since from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()`,
      ),
      processes: this.#all.map(({ process, pid, store, worker }) => ({
        ...{ name: process.name, pid, isAlive: process.isAlive },
        ...{ hasStore: store !== null, hasWorker: worker !== null },
        workerIds: [...this.#recording.workerIdsOf(process)],
      })),
    };
  }

  async #deleteOne(user: Store): Promise<void> {
    const over = [...this.#recording.ends.keys()].find((id) => !this.#deleted.has(id));
    if (over === undefined || !this.#outside.chance.happens(0.3)) return;
    const owner = this.#recording.owners.find(({ sessionId }) => sessionId === over);
    await this.#delete(user, over);
    if (!owner) return;
    const events = [{ type: "terminal", data: { command: "late", output: "", final: false } }];
    const { status } = await user.commit(owner, owner.lastSeq, { events: events as never });
    if (status === "ok") broken(`session ${over} was deleted and written to`);
  }

  async #stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#starting);
    if (!this.#plan.stopsGently) return;
    const alive = this.#all.filter(({ process }) => process.isAlive);
    await Promise.all(alive.map(({ worker }) => worker?.stop()));
    await Promise.all(alive.map(({ store }) => store?.close()));
  }
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
