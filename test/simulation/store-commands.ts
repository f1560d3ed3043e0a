import { randomUUID } from "node:crypto";
import { type Arbitrary, type AsyncCommand, nat, tuple } from "fast-check";
import { toStintError } from "../../src/core/error.ts";
import type { NewEvent } from "../../src/core/event.ts";
import type { PermissionRequest } from "../../src/core/permission.ts";
import { LOCAL_USER_ID } from "../../src/core/session.ts";
import type {
  BackoffPlan,
  OwnerCommit,
  OwnerTransition,
  Ownership,
  Store,
  TransitionNotice,
} from "../../src/core/store.ts";
import { newSession, output } from "../conformance/store/harness.ts";
import { stripTimes } from "./stored-state.ts";

/** One of two stores that must agree, and how to move its database's clock. */
export interface Side {
  readonly store: Store;
  shiftTime(byMs: number): Promise<void>;
  readState(): Promise<unknown>;
}

/** What a run knows about both sides: ids that were given out, and owners that claims have made. */
export interface Known {
  readonly sessions: string[];
  readonly workers: string[];
  readonly owners: (Ownership & { readonly lastSeq: number })[];
  readonly calls: string[];
  readonly modelCalls: string[];
  readonly permissions: string[];
  readonly messages: { readonly id: string; readonly text: string }[];
}

/** Does the same to one side as to the other; what it answers is compared. */
type Act = (side: Side, known: Known) => Promise<unknown>;

/** Two stores, driven alike. */
export interface Pair {
  readonly known: Known;
  readonly sides: readonly [Side, Side];
}

/** Durations are multiples of this, so that the real time of a run decides nothing. */
const GRAIN_MS = 10_000;
const LEASE_MS = 3 * GRAIN_MS;

/** A command of a run: a name with its choices, and how it is carried out on one side. */
class StoreCommand implements AsyncCommand<Pair, unknown> {
  readonly #text: string;
  readonly #begin: (known: Known) => Act | null;
  readonly #onRun: (name: string) => void;

  constructor(
    text: string,
    begin: (known: Known) => Act | null,
    onRun: (name: string) => void = () => undefined,
  ) {
    this.#text = text;
    this.#begin = begin;
    this.#onRun = onRun;
  }

  check(): boolean {
    return true;
  }

  async run({ known, sides: [oracle, real] }: Pair): Promise<void> {
    const act = this.#begin(known);
    if (act === null) return;
    this.#onRun(this.#text.split("(")[0] ?? "");
    const expected = await answerOf(act, oracle, known);
    const actual = await answerOf(act, real, known);
    assertSame(`answer of ${this.#text}`, actual, expected);
    noteClaims(known, actual.claimed);
    assertSame(`state after ${this.#text}`, await real.readState(), await oracle.readState());
  }

  toString(): string {
    return this.#text;
  }
}

interface Answer {
  readonly value?: unknown;
  readonly code?: string;
  readonly claimed?: readonly (Ownership & { readonly lastSeq: number })[];
}

async function answerOf(act: Act, side: Side, known: Known): Promise<Answer> {
  try {
    const value = await act(side, known);
    return { value: stripTimes(value), claimed: readClaims(value) };
  } catch (thrown) {
    return { code: toStintError(thrown).code };
  }
}

function readClaims(value: unknown): Answer["claimed"] & object {
  if (!Array.isArray(value)) return [];
  return value.flatMap((one: { session?: { id: string; epoch: number; lastSeq: number } }) =>
    one.session
      ? [{ sessionId: one.session.id, epoch: one.session.epoch, lastSeq: one.session.lastSeq }]
      : [],
  );
}

function noteClaims(known: Known, claimed: Answer["claimed"]): void {
  for (const owner of claimed ?? []) known.owners.push(owner);
}

function assertSame(what: string, actual: unknown, expected: unknown): void {
  const [is, should] = [JSON.stringify(actual, null, 1), JSON.stringify(expected, null, 1)];
  if (is === should) return;
  throw new Error(`${what} differs\nPostgres: ${is}\noracle:   ${should}`);
}

const pick = <T>(all: readonly T[], choice: number): T | undefined => all[choice % all.length];

/** Picks the newest most of the time: what is long over is worth a look now and then. */
const pickLate = <T>(all: readonly T[], choice: number): T | undefined =>
  all.length === 0 ? undefined : all[all.length - 1 - Math.min(choice % 4, all.length - 1)];

type Parts = (known: Known, side: Side, owner: Ownership) => Promise<OwnerCommit> | OwnerCommit;

const USAGE = { inputTokens: 3, outputTokens: 2, cacheReadTokens: 1, cacheWriteTokens: 0 };
const THINKING: NewEvent = {
  type: "thinking",
  data: { iteration: 1, toolsUsed: [], usage: { ...USAGE, reasoningTokens: 0 } },
};
const METERED: NewEvent = {
  type: "model_call",
  data: {
    ...{ callId: "m", provider: "scripted", model: "scripted", status: "finished" },
    ...{ usage: { ...USAGE, reasoningTokens: 0 }, costUsd: 0.125, estimated: false },
  },
};
const FINAL: NewEvent = { type: "terminal", data: { command: "true", final: true, exitCode: 0 } };

/** Waits of one grain, of two, of two, and then no more. */
const BACKOFF: BackoffPlan = {
  ...{ baseMs: 2 * GRAIN_MS, maxMs: 4 * GRAIN_MS, timeoutMs: 6.5 * GRAIN_MS },
  ...{ retryAfterMs: null, chance: 0 },
};
const AWAY = { code: "model_unavailable", message: "HTTP 529" };

const TRANSITIONS: readonly OwnerTransition[] = [
  { to: "paused", reason: "backoff", backoff: BACKOFF, error: AWAY },
  { to: "paused", reason: "backoff", backoff: { ...BACKOFF, retryAfterMs: 3 * GRAIN_MS } },
  { to: "completed", reason: "end_turn", unlessInbox: true },
  { to: "failed", reason: "agent_error", error: { code: "agent_error", message: "broken" } },
  { to: "paused", reason: "awaiting_input", waitingFor: "input", unlessInbox: true },
  { to: "paused", reason: "shutdown", resumeInMs: 0 },
  { to: "paused", reason: "user", freezeMs: 3 * GRAIN_MS },
  { to: "paused", reason: "awaiting_permission", waitingFor: "permission", freezeMs: GRAIN_MS },
  { to: "paused", reason: "agent_lost", resumeInMs: 2 * GRAIN_MS },
  { to: "paused", reason: "agent_lost", resumeInMs: 0 },
  { to: "expired", reason: "deadline" },
  { to: "paused", reason: "end_turn" },
];

const ASKED: PermissionRequest = {
  ...{ tool: "bash", kind: "execute", title: "npm test", input: { command: "npm test" } },
  ...{ cwd: "/workspace", paths: [], modelCallId: null },
};

const PARTS: Readonly<Record<string, (choice: number) => Parts>> = {
  events: () => () => ({ events: [output("a"), output("b")] }),
  totals: () => () => ({ events: [FINAL] }),
  beginStep: (choice) => (known) => ({
    beginStep: {
      iteration: 1 + (choice % 2),
      inputs: ["go"],
      inboxDelivered: known.messages.slice(-1).map(({ id }) => id),
      timeoutMs: 2 * GRAIN_MS,
    },
  }),
  finishStep: (choice) => () => ({
    events: [THINKING, METERED],
    finishStep: {
      iteration: 1 + (choice % 2),
      response: { choice: 1 },
      usage: { ...USAGE, reasoningTokens: 0 },
    },
  }),
  openCall: (choice) => (known) => ({
    openCall: {
      callId: known.calls.at(-1) as string,
      ...{ iteration: 1, ordinal: choice % 3, modelCallId: "m", tool: "bash", input: {} },
      timeoutMs: 2 * GRAIN_MS,
    },
  }),
  closeCall: (choice) => (known) => ({
    events: [FINAL],
    closeCall: {
      callId: pickLate(known.calls, choice) ?? randomUUID(),
      ...{ status: "finished", result: "done", isError: false, exitCode: 0 },
    },
  }),
  openModelCall: (choice) => (known) => ({
    openModelCall: {
      callId: known.modelCalls.at(-1) as string,
      ...{ provider: "scripted", wire: "anthropic", model: "m", isStreamed: choice % 2 === 0 },
      ...{ inputTokensEstimate: choice, timeoutMs: 2 * GRAIN_MS },
    },
  }),
  closeModelCall: (choice) => (known) => ({
    events: [METERED],
    closeModelCall: {
      callId: pickLate(known.modelCalls, choice) ?? randomUUID(),
      ...{ status: "finished", httpStatus: 200, usage: { ...USAGE, reasoningTokens: 0 } },
      ...{ costUsd: 0.125, isEstimated: false, retries: 0 },
    },
  }),
  snapshot: (choice) => (known) => ({
    snapshot: {
      ...{ id: `snapshot-${choice % 3}`, calls: known.calls.slice(-2) },
      ...(choice % 2 === 1 && { underWay: known.calls }),
      store: [null, "database", "folder:1"][choice % 3] as string | null,
      undone: known.calls.slice(0, choice % 2).map((callId) => ({ callId, result: "undone" })),
    },
  }),
  askPermission: (choice) => (known) => ({
    askPermission: {
      permissionId: known.permissions.at(-1) as string,
      requestHash: `hash-${choice % 2}`,
      request: ASKED,
      timeoutMs: (1 + (choice % 2)) * 2 * GRAIN_MS,
      atExpiry: choice % 3 === 0 ? "allowed" : "denied",
      callId: known.calls.at(-1) ?? null,
    },
  }),
  usePermission: (choice) => (known) => {
    const id = pickLate(known.permissions, choice) ?? randomUUID();
    return choice % 3 === 0 ? { tellPermission: id } : { usePermission: id };
  },
  bindPermission: (choice) => (known) => ({
    bindPermission: {
      permissionId: pickLate(known.permissions, choice) ?? randomUUID(),
      callId: choice % 3 === 0 ? null : (pickLate(known.calls, choice) ?? null),
    },
  }),
  places: (choice) => () => ({
    ...{ workspacePath: "/somewhere", agentSessionId: "its own" },
    ...(choice % 2 === 0 && { continuesEpoch: 1 }),
  }),
  takeMessages:
    (choice) =>
    async (known, { store }, { sessionId }) => {
      const items = await store.listInbox([sessionId]);
      const taken = items.filter(({ kind }) => kind === "message" || choice % 2 === 0);
      const again = known.messages.slice(0, choice % 7 === 0 ? 1 : 0).map(({ id }) => id);
      return {
        events: taken.map(({ text }) => ({ type: "user_message", data: { text: text ?? "" } })),
        inboxConsumed: [...taken.map(({ id }) => id), ...again],
      };
    },
  transition: (choice) => () => ({
    events: choice % 2 === 0 ? [output("last")] : [],
    transition: TRANSITIONS[choice % TRANSITIONS.length] as OwnerTransition,
  }),
};

function createSession(known: Known, a: number, b: number): Act {
  const limits = { ...newSession().limits, idleTimeoutMs: 2 * GRAIN_MS };
  const session = newSession({
    keepOpen: a % 2 === 0,
    inPlacePath: a % 5 === 0 ? "/in/place" : null,
    limits: {
      ...limits,
      pausedTimeoutMs: 6 * GRAIN_MS,
      queueTimeoutMs: 4 * GRAIN_MS,
      deadlineMs: b % 4 === 0 ? 5 * GRAIN_MS : null,
    },
  });
  const key =
    b % 3 === 0 ? { key: `key-${known.sessions.length % 2}`, requestHash: `${a % 2}` } : undefined;
  known.sessions.push(session.id);
  return ({ store }) => store.createSession(session, key);
}

function registerWorker(known: Known, a: number): Act {
  const id = randomUUID();
  known.workers.push(id);
  const worker = {
    ...{ id, name: "worker", host: "host", bootId: a % 4 === 0 ? "" : "boot", pid: 1 },
    ...{ pidStartTime: "1", slots: 4, version: "0.0.0", agents: ["builtin"] },
    workspaceHost: ["here", "here", "there", null][a % 4] as string | null,
    snapshotStores: [["database"], [], ["database", "folder:1"]][a % 3] as string[],
    leaseDurationMs: LEASE_MS,
  };
  return ({ store }) => store.registerWorker(worker);
}

function claimFirst({ workers: [workerId = ""], sessions: [sessionId = ""] }: Known): Act {
  return ({ store }) => store.claimSessions({ workerId, limit: 1, sessionId });
}

/** What a run begins with: a worker, and sessions of which it holds one. */
export function makeBeginnings(): AsyncCommand<Pair, unknown>[] {
  return [
    new StoreCommand("registerWorker", (known) => registerWorker(known, 1)),
    new StoreCommand("createSession", (known) => createSession(known, 1, 1)),
    new StoreCommand("createSession", (known) => createSession(known, 2, 2)),
    new StoreCommand("claimSession", claimFirst),
  ];
}

/** A store may tell more than the port promises, and in any order. */
async function sorted(notices: Promise<readonly TransitionNotice[]>): Promise<unknown> {
  return (await notices)
    .map(({ sessionId, from, to, reason, epoch }) => ({ sessionId, from, to, reason, epoch }))
    .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

const choice = nat(1_000);

/** All commands, with how often each is taken. */
export function makeCommands(
  onRun: (name: string) => void,
): Arbitrary<AsyncCommand<Pair, unknown>>[] {
  const define = (
    name: string,
    begin: (known: Known, a: number, b: number) => Act | null,
  ): Arbitrary<StoreCommand> =>
    tuple(choice, choice).map(
      ([a, b]) => new StoreCommand(`${name}(${a}, ${b})`, (known) => begin(known, a, b), onRun),
    );
  const onSession = (
    name: string,
    act: (side: Side, id: string, choice: number) => Promise<unknown>,
  ) =>
    define(name, (known, a, b) => {
      const id = pickLate(known.sessions, a) ?? randomUUID();
      return (side) => act(side, id, b);
    });
  const onWorker = (
    name: string,
    act: (side: Side, id: string, choice: number) => Promise<unknown>,
  ) =>
    define(name, (known, a, b) => {
      const id = pickLate(known.workers, a) ?? randomUUID();
      return (side) => act(side, id, b);
    });
  const commits = Object.entries(PARTS).map(([name, makeParts]) =>
    define(`commit.${name}`, (known, a, b) => {
      const owner = pickLate(known.owners, a);
      if (owner === undefined) return null;
      if (name === "openCall") known.calls.push(randomUUID());
      if (name === "openModelCall") known.modelCalls.push(randomUUID());
      if (name === "askPermission") known.permissions.push(randomUUID());
      const parts = makeParts(b);
      return async (side) =>
        side.store.commit(owner, owner.lastSeq, await parts(known, side, owner));
    }),
  );
  const claimAny = onWorker("claimSessions", async ({ store }, workerId) => {
    const claimed = await store.claimSessions({ workerId, limit: 50, agents: ["builtin"] });
    return [...claimed].sort((a, b) => (a.session.id < b.session.id ? -1 : 1));
  });
  const claimOne = define("claimSession", (known, a, b) => {
    const workerId = pickLate(known.workers, a);
    const sessionId = pickLate(known.sessions, b);
    if (workerId === undefined || sessionId === undefined) return null;
    return ({ store }) => store.claimSessions({ workerId, limit: 1, sessionId });
  });
  const create = define("createSession", (known, a, b) => createSession(known, a, b));
  const register = define("registerWorker", (known, a) => registerWorker(known, a));
  const send = define("sendMessage", (known, a, b) => {
    const sessionId = pickLate(known.sessions, a) ?? randomUUID();
    const again = b % 6 === 0 ? pick(known.messages, b) : undefined;
    const message = again ?? { id: randomUUID(), text: `message ${known.messages.length}` };
    if (!again) known.messages.push(message);
    const text = b % 12 === 0 ? "another text" : message.text;
    return ({ store }) =>
      store.sendMessage({ id: message.id, sessionId, userId: LOCAL_USER_ID, text });
  });
  const force = onSession("forceTransition", ({ store }, id, b) =>
    store.forceTransition(id, {
      to: (["paused", "failed", "expired"] as const)[b % 3] ?? "paused",
      reason: (["worker_lost", "agent_error", "deadline"] as const)[b % 3] ?? "user",
      ...{ message: "by force", resumeInMs: b % 2 === 0 ? 0 : null },
    }),
  );
  const decide = define("decidePermission", (known, a, b) => {
    const sessionId = pickLate(known.sessions, Math.floor(b / 8)) ?? randomUUID();
    const permissionId = pickLate(known.permissions, a) ?? randomUUID();
    const decision = b % 3 === 0 ? "deny" : "allow";
    const note = b % 2 === 0 ? "as you like" : null;
    return ({ store }) =>
      store.decidePermission({ sessionId, permissionId, decision, note, userId: LOCAL_USER_ID });
  });
  const shift = define(
    "shiftTime",
    (_known, a) => (side) => side.shiftTime(GRAIN_MS * ([1, 2, 3, 1, 6][a % 5] ?? 1)),
  );
  const often = [create, register, claimAny, claimAny, claimOne, send, decide, shift, ...commits];
  return [
    ...often,
    ...commits,
    force,
    onSession("pauseSession", ({ store }, id) => store.pauseSession(id)),
    onSession("resumeSession", ({ store }, id) => store.resumeSession(id)),
    onSession("resumeSession", ({ store }, id) => store.resumeSession(id)),
    onSession("cancelSession", ({ store }, id) => store.cancelSession(id)),
    onSession("deleteSession", ({ store }, id) => store.deleteSession(id)),
    onSession("getSession", ({ store }, id) => store.getSession(id)),
    onSession("readCheckpoint", ({ store }, id) => store.readCheckpoint(id)),
    onSession("appendUnowned", ({ store }, id) => store.appendUnowned(id, [output("unowned")])),
    onWorker("heartbeat", async ({ store }, id) => {
      const { isLive, held } = await store.heartbeat(id, LEASE_MS);
      return { isLive, held };
    }),
    onWorker("buryWorker", ({ store }, id) => store.buryWorker(id, "boot")),
    onWorker("removeWorker", ({ store }, id) => store.removeWorker(id)),
    define("recordActivity", (known) => {
      const owners = known.owners.slice(-3);
      return ({ store }) => store.recordActivity(owners);
    }),
    define("listPeers", () => async ({ store }) => {
      const peers = await store.listPeers("boot");
      return peers.map(({ id }) => id).sort();
    }),
    define(
      "sweepLostLeases",
      () =>
        ({ store }) =>
          sorted(store.sweepLostLeases()),
    ),
    define(
      "sweepIdleSessions",
      () =>
        ({ store }) =>
          sorted(store.sweepIdleSessions()),
    ),
    define(
      "sweepPermissions",
      () =>
        async ({ store }) =>
          (await store.sweepPermissions()).length,
    ),
    define("listPermissions", (known, a, b) => {
      const sessionId = pickLate(known.sessions, a) ?? randomUUID();
      return ({ store }) => store.listPermissions(sessionId, { isOpen: b % 2 === 0 });
    }),
    define(
      "sweepControlRequests",
      () =>
        ({ store }) =>
          sorted(store.sweepControlRequests()),
    ),
  ];
}
