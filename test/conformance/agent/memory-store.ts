import { randomUUID } from "node:crypto";
import { AttemptStopped } from "../../../src/core/attempt.ts";
import type {
  CallIntent,
  CallOutcome,
  Checkpoint,
  InboxMessage,
  LedgerCall,
  StepRecord,
} from "../../../src/core/attempt.ts";
import { StintError } from "../../../src/core/error.ts";
import {
  EMPTY_STATS,
  encodeEvent,
  type NewEvent,
  type SessionEventType,
  type SessionStats,
} from "../../../src/core/event.ts";
import { addStats } from "../../../src/core/fold.ts";
import { type Json, type JsonObject, toStorable } from "../../../src/core/json.ts";
import type { StoredPermission } from "../../../src/core/permission.ts";
import type { OwnerCommit } from "../../../src/core/store.ts";

/** What happened, in the order in which it became durable or took effect. */
export interface Note {
  readonly kind:
    | "beginStep"
    | "finishStep"
    | "openCall"
    | "closeCall"
    | "emit"
    | "takeMessages"
    | "spawn"
    | "exit"
    | "write";
  readonly callId?: string;
}

export interface StoredEvent {
  readonly type: SessionEventType;
  readonly data: JsonObject;
}

interface Message {
  readonly id: string;
  readonly text: string;
  isTaken: boolean;
  isDelivered: boolean;
}

/** A question for leave, and whether a call has acted upon its answer. */
interface MemoryPermission extends StoredPermission {
  readonly isUsed: boolean;
}

/** What survives a crash: plain arrays under the contract of the store. */
export class MemoryStore {
  readonly sessionId = randomUUID();
  readonly events: StoredEvent[] = [];
  readonly steps: StepRecord[] = [];
  readonly calls: LedgerCall[] = [];
  readonly notes: Note[] = [];
  readonly rawMessages: Json[] = [];
  readonly #permissions = new Map<string, MemoryPermission>();
  agentSessionId: string | null = null;
  readonly #inbox: Message[] = [];
  readonly #listeners = new Set<() => void>();
  epoch = 1;

  /** Durable writes so far. */
  get writes(): number {
    return this.notes.filter(({ kind }) => !["spawn", "exit", "write"].includes(kind)).length;
  }

  get hasMessages(): boolean {
    return this.#inbox.some(({ isTaken }) => !isTaken);
  }

  get stats(): SessionStats {
    return this.events.reduce((stats, { type, data }) => {
      const sum = addStats(stats, type, data);
      // Nothing is metered here: what the agent says of its usage stands for that.
      return type === "thinking" ? addStats(sum, "model_call", data) : sum;
    }, EMPTY_STATS);
  }

  /** The events of one type, with their payloads. */
  dataOf(type: SessionEventType): JsonObject[] {
    return this.events.filter((event) => event.type === type).map(({ data }) => data);
  }

  sendMessage(text: string): string {
    const id = randomUUID();
    this.#inbox.push({ id, text, isTaken: false, isDelivered: false });
    return id;
  }

  /** All that was asked, oldest first. */
  get permissions(): readonly MemoryPermission[] {
    return [...this.#permissions.values()];
  }

  /** Those that no call has acted upon. */
  get openPermissions(): readonly MemoryPermission[] {
    return this.permissions.filter(({ isUsed }) => !isUsed);
  }

  /** Decides all that is asked now, as a person does. */
  decide(status: "allowed" | "denied", note: string | null = null): void {
    for (const one of this.permissions) {
      if (one.status !== "pending") continue;
      this.#change(one.id, { status, note, decidedBy: "user", decidedAt: new Date() });
    }
    this.#tell();
  }

  /** Calls after each change; returns what ends that. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  note(note: Note): void {
    this.notes.push(note);
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Resolves when the condition holds; looks after each note. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        this.#listeners.delete(check);
        resolve();
      };
      this.#listeners.add(check);
      check();
    });
  }

  checkpoint(): Checkpoint {
    const waiting = this.#inbox.filter(({ isTaken, isDelivered }) => isTaken && !isDelivered);
    return structuredClone({
      steps: this.steps,
      calls: this.calls,
      agentSessionId: this.agentSessionId,
      snapshotId: null,
      undelivered: waiting.map(({ id, text }) => ({ id, text, possibleDuplicate: false })),
      permissions: this.openPermissions.map(({ id, tool, title, status, note, callId }) => ({
        ...{ permissionId: id, tool, title, status, note, callId },
      })),
    });
  }

  /** @throws {stale_epoch} for an epoch that is no longer the session's. */
  checkEpoch(epoch: number): void {
    if (epoch === this.epoch) return;
    throw new StintError("stale_epoch", `epoch ${epoch} is not ${this.epoch}`);
  }

  commit(commit: OwnerCommit): number {
    const encoded = (commit.events ?? []).map(encode);
    const { beginStep, finishStep } = commit;
    if (beginStep) {
      const { iteration, inputs, inboxDelivered } = beginStep;
      const known = this.steps.findIndex((step) => step.iteration === iteration);
      if (known !== -1 && this.steps[known]?.response !== null) throw new Error("step is finished");
      const step = { iteration, inputs, response: null, usage: null };
      if (known === -1) this.steps.push(step);
      else expectSame(this.steps[known]?.inputs, inputs);
      for (const message of this.#inbox) {
        if (!inboxDelivered.includes(message.id)) continue;
        if (!message.isTaken || message.isDelivered) throw new Error("message delivered twice");
        message.isDelivered = true;
      }
    }
    if (finishStep) {
      const { iteration, response, usage } = finishStep;
      const place = this.steps.findIndex((step) => step.iteration === iteration);
      const step = this.steps[place];
      if (step === undefined || step.response !== null) throw new Error("step is not begun");
      this.steps[place] = { ...step, response: store(response), usage };
    }
    this.#writePermission(commit);
    this.agentSessionId = commit.agentSessionId ?? this.agentSessionId;
    this.rawMessages.push(...(commit.rawMessages ?? []));
    this.events.push(...encoded);
    this.note({ kind: beginStep ? "beginStep" : finishStep ? "finishStep" : "emit" });
    return this.events.length;
  }

  openCall(intent: CallIntent, epoch: number): string {
    const { iteration, ordinal } = intent;
    if (this.calls.some((call) => call.iteration === iteration && call.ordinal === ordinal)) {
      throw new Error("call is in the ledger already");
    }
    if (intent.permissionId !== undefined) this.#usePermission(intent.permissionId);
    const callId = randomUUID();
    const input = store(intent.input) as JsonObject;
    this.calls.push({
      ...intent,
      hasEffect: intent.hasEffect ?? true,
      snapshotId: null,
      input,
      callId,
      status: "open",
      epoch,
      result: null,
      isError: false,
    });
    this.note({ kind: "openCall", callId });
    return callId;
  }

  closeCall(callId: string, outcome: CallOutcome): void {
    const encoded = outcome.events.map(encode);
    const place = this.calls.findIndex((call) => call.callId === callId);
    const call = this.calls[place];
    if (call === undefined || call.status !== "open") throw new Error("call is not open");
    const { status, result, isError } = outcome;
    this.calls[place] = { ...call, status, result: store(result), isError, snapshotId: null };
    this.events.push(...encoded);
    this.note({ kind: "closeCall", callId });
  }

  #writePermission(commit: OwnerCommit): void {
    const { askPermission, bindPermission, tellPermission, usePermission } = commit;
    if (askPermission) {
      const { permissionId: id, requestHash, request, timeoutMs, callId } = askPermission;
      const [askedAt, expiresAt] = [new Date(), new Date(Date.now() + timeoutMs)];
      const open = { status: "pending", decidedBy: null, note: null, decidedAt: null } as const;
      const marks = { isTold: false, isUsed: false };
      const asked = {
        ...request,
        id,
        sessionId: this.sessionId,
        requestHash,
        callId,
        askedAt,
        expiresAt,
      };
      this.#permissions.set(id, { ...asked, ...open, ...marks });
    }
    if (bindPermission)
      this.#change(bindPermission.permissionId, { callId: bindPermission.callId });
    if (tellPermission !== undefined) this.#change(tellPermission, { isTold: true });
    if (usePermission !== undefined) this.#usePermission(usePermission);
  }

  #usePermission(id: string): void {
    const used = this.#permissions.get(id);
    if (used === undefined || used.isUsed || used.status === "pending") {
      throw new StintError("permission_not_decided", `permission ${id} is not there to be used`);
    }
    this.#change(id, { isUsed: true, isTold: true });
  }

  #change(id: string, change: Partial<MemoryPermission>): void {
    const known = this.#permissions.get(id);
    if (known !== undefined) this.#permissions.set(id, { ...known, ...change });
  }

  takeMessages(): InboxMessage[] {
    const waiting = this.#inbox.filter(({ isTaken }) => !isTaken);
    if (waiting.length === 0) return [];
    for (const message of waiting) message.isTaken = true;
    const events = waiting.map(({ text }) => encode({ type: "user_message", data: { text } }));
    this.events.push(...events);
    this.note({ kind: "takeMessages" });
    return waiting.map(({ id, text }) => ({ id, text, possibleDuplicate: false }));
  }
}

/** The reason with which an attempt of this kind is stopped. */
export function stopWith(kind: AttemptStopped["request"]["kind"]): AttemptStopped {
  return new AttemptStopped({ kind, message: `told to ${kind}` });
}

function encode(event: NewEvent): StoredEvent {
  const { type, json } = encodeEvent(event);
  return { type, data: JSON.parse(json) as JsonObject };
}

/** As a database keeps it. */
function store(value: Json): Json {
  return JSON.parse(JSON.stringify(toStorable(value))) as Json;
}

function expectSame(before: unknown, now: unknown): void {
  if (JSON.stringify(before) !== JSON.stringify(now)) throw new Error("inputs differ from before");
}
