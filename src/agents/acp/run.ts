import type { AttemptContext, Checkpoint, InboxMessage, TurnResult } from "../../core/attempt.ts";
import { waitWithin } from "../../core/clock.ts";
import { StintError, toStintError } from "../../core/error.ts";
import type { NewEvent } from "../../core/event.ts";
import type { JsonObject } from "../../core/json.ts";
import { isLost } from "../builtin/command.ts";
import { explainLostCall } from "../builtin/lost-call.ts";
import { asObject, readText } from "../json-fields.ts";
import type { FoundProgram } from "../program.ts";
import type { AcpAgentOptions } from "./agent.ts";
import { readUpdate, startAgent, type StartedAgent } from "./agent-start.ts";
import { readUsage } from "./agent-usage.ts";
import { createFileRequests } from "./client-files.ts";
import { AgentRefusal, type AgentConnection, type AgentHandlers } from "./connection.ts";
import type { AcpAgentDefinition } from "./definition.ts";
import { answerPermission } from "./permission.ts";
import { RawMessages } from "./raw-messages.ts";
import { isWaiting, writeDigestPrompt, writeResumePrompt } from "./resume-facts.ts";
import { SpokenText } from "./spoken-text.ts";
import { concludeTurn, decodeTurn, encodeTurn, type TurnEnd } from "./turn-end.ts";
import { endLostCall, ToolCalls } from "./tool-calls.ts";

/** How long an agent may take to end its turn when it is told to. */
const CANCEL_PATIENCE_MS = 1_000;
/** How long it may take to end when its work is done: it may still write down what it remembers. */
const CLOSE_PATIENCE_MS = 1_000;
const STOP_GRACE_MS = 400;
/** Notes for the agent that are kept until it can be told; of more the newest. */
const NOTES_MAX = 50;

const STOPPED_NOTE = "This call was interrupted: the session was told to stop.";
const ENDED_NOTE = "This call was interrupted: the agent ended before it told how the call ended.";
const UNTOLD_NOTE = "The agent ended its turn without telling how this call ended.";

/** Works with an agent until its turn ends and no message waits. */
export async function runAcpAgent(
  context: AttemptContext,
  definition: AcpAgentDefinition,
  program: FoundProgram,
  onStart: AcpAgentOptions["onStart"] = () => undefined,
): Promise<TurnResult> {
  const { resumeFrom } = context;
  const messages = [...(resumeFrom?.undelivered ?? []), ...(await context.takeMessages())];
  const former = readFormerTurn(resumeFrom);
  const run = new AgentRun(context, definition, onStart);
  if (former !== null && messages.length === 0 && !run.owesNotes(former))
    return concludeTurn(former);
  await closeLostCalls(context);
  return run.work(program, messages, former);
}

/** The turn that an earlier attempt has ended; null while there is one to go on with. */
function readFormerTurn(resumeFrom: Checkpoint | null): TurnEnd | null {
  const last = resumeFrom?.steps.at(-1);
  return last?.response == null ? null : decodeTurn(last.response);
}

/** Calls that an earlier attempt left open have no end but that. */
async function closeLostCalls(context: AttemptContext): Promise<void> {
  const { resumeFrom, recovery } = context;
  for (const call of resumeFrom?.calls ?? []) {
    if (call.status !== "open") continue;
    const fact = recovery?.calls.get(call.callId) ?? null;
    const hasWaited = resumeFrom !== null && isWaiting(call, resumeFrom);
    const result = explainLostCall(fact, hasWaited);
    const status = fact?.status === "unknown" && !hasWaited ? "unknown" : "interrupted";
    const events = [endLostCall(call, result)];
    await context.closeCall(call.callId, { status, result, isError: true, events });
  }
}

/** One agent's process, and the turns that it takes in an attempt. */
class AgentRun {
  readonly #context: AttemptContext;
  readonly #definition: AcpAgentDefinition;
  readonly #onStart: NonNullable<AcpAgentOptions["onStart"]>;
  readonly #raw = new RawMessages();
  readonly #notes: string[] = [];
  /** Whether a person's word is among the notes: the agent is told it even when it has ended its turn. */
  #hasNoteOfUser = false;
  /** The end of the turn to which what people said was added, when the present turn is for that alone. */
  #answered: TurnEnd | null = null;
  #spoken = new SpokenText();
  #calls: ToolCalls | null = null;
  #agent: StartedAgent | null = null;
  #connection: AgentConnection | null = null;
  #iteration: number;
  #lastUpdateAt = 0;
  #messageId: string | null = null;

  constructor(
    context: AttemptContext,
    definition: AcpAgentDefinition,
    onStart: NonNullable<AcpAgentOptions["onStart"]>,
  ) {
    this.#context = context;
    this.#definition = definition;
    this.#onStart = onStart;
    this.#iteration = Math.max(0, ...(context.resumeFrom?.steps ?? []).map((s) => s.iteration));
  }

  /** Whether what people said with their decisions is to be told yet, in a turn of its own. */
  owesNotes(end: TurnEnd): boolean {
    return end.notes !== undefined && this.#iteration < this.#context.limits.maxIterations;
  }

  async work(
    program: FoundProgram,
    messages: readonly InboxMessage[],
    former: TurnEnd | null,
  ): Promise<TurnResult> {
    const { signal } = this.#context;
    try {
      const agent = await untilAborted(signal, this.#start(program));
      let text = this.#writeFirstPrompt(agent, messages, former);
      let delivered = messages;
      this.#answered = messages.length === 0 ? former : null;
      for (;;) {
        const end = await this.#takeTurn(agent, text, delivered);
        delivered = await this.#context.takeMessages();
        const result = concludeTurn(end);
        const isOver = delivered.length === 0 && !this.owesNotes(end);
        if (isOver || result.outcome === "failed") {
          await agent.connection.stop(CLOSE_PATIENCE_MS, STOP_GRACE_MS);
          await this.#calls?.closeUntold(UNTOLD_NOTE);
          return result;
        }
        this.#answered = delivered.length === 0 ? end : null;
        const notes = [...(end.notes ?? []), ...this.#notes.splice(0)];
        text = [...notes, ...delivered.map((message) => message.text)].join("\n\n");
      }
    } catch (thrown) {
      throw await this.#end(thrown);
    }
  }

  #start(program: FoundProgram): Promise<StartedAgent> {
    const context = this.#context;
    const handlers: AgentHandlers = {
      onUpdate: (params) => this.#takeUpdate(params),
      onStderr: (text) => this.#raw.addStderr(text),
      requests: {
        ...createFileRequests(context),
        "session/request_permission": (params) => this.#answerPermission(params),
      },
    };
    const starting = startAgent({
      context,
      definition: this.#definition,
      program,
      handlers,
      onLaunch: (connection) => {
        this.#connection = connection;
      },
      lastUpdateAt: () => this.#lastUpdateAt,
    });
    return starting.then((agent) => {
      this.#agent = agent;
      const { origin, capabilities } = agent;
      const { name } = this.#definition;
      const started = { sessionId: context.sessionId, agent: name, origin };
      context.log.info({ ...started, version: capabilities.version }, "An agent has started");
      this.#onStart({ origin, version: capabilities.version });
      return agent;
    });
  }

  /** What the agent is told first, in this attempt. */
  #writeFirstPrompt(
    { origin }: StartedAgent,
    messages: readonly InboxMessage[],
    former: TurnEnd | null,
  ): string {
    const context = this.#context;
    const { resumeFrom, prompt, recovery } = context;
    const texts = messages.map(({ text }) => text);
    if (resumeFrom === null || resumeFrom.steps.length === 0)
      return [prompt, ...texts].join("\n\n");
    const hasMemory = origin !== "new";
    if (former === null) {
      const facts = { hasMemory, messages: texts };
      return writeResumePrompt({ prompt, recovery, resumeFrom }, facts);
    }
    const told = [...(former.notes ?? []), ...texts];
    return hasMemory ? told.join("\n\n") : writeDigestPrompt({ prompt, resumeFrom }, told);
  }

  /** Gives the agent a prompt, and waits for the end of its turn. */
  async #takeTurn(
    agent: StartedAgent,
    text: string,
    messages: readonly InboxMessage[],
  ): Promise<TurnEnd> {
    const context = this.#context;
    const { limits, signal, resumeFrom } = context;
    if (this.#iteration >= limits.maxIterations) {
      return { stopReason: "max_turn_requests", text: `It took ${limits.maxIterations} turns.` };
    }
    const iteration = ++this.#iteration;
    this.#spoken = new SpokenText();
    const calls = new ToolCalls({
      context,
      quirks: this.#definition.quirks,
      iteration,
      known: agent.origin === "new" ? [] : (resumeFrom?.calls ?? []),
      seen: this.#calls?.ended ?? new Set(),
      onCall: ({ tool }) => this.#flushSpoken([tool]),
    });
    const beginStep = {
      iteration,
      inputs: [text],
      inboxDelivered: messages.map(({ id }) => id),
      timeoutMs: limits.modelCallTimeoutMs,
    };
    await context.commit({ beginStep });
    this.#calls = calls;
    const prompt = [{ type: "text", text }];
    const asking = agent.connection.request("session/prompt", {
      sessionId: agent.agentSessionId,
      prompt,
    });
    const answer = await untilAborted(signal, asking).catch(async (thrown: unknown) => {
      if (signal.aborted && !isLost(signal)) await this.#cancel(agent, asking);
      throw thrown;
    });
    await calls.closeUntold(UNTOLD_NOTE);
    return this.#finishTurn(iteration, answer, calls);
  }

  async #finishTurn(iteration: number, answer: JsonObject, calls: ToolCalls): Promise<TurnEnd> {
    const usage = readUsage(answer, this.#definition.quirks);
    const said = this.#spoken;
    const notes = this.#hasNoteOfUser ? this.#notes.splice(0) : [];
    this.#hasNoteOfUser = false;
    const isEmpty = !said.saysAnything && calls.count === 0;
    const end: TurnEnd = {
      stopReason: readText(answer, "stopReason") ?? "unknown",
      // There may be nothing to say to a note: then what it said before it is its answer.
      text: said.lastWord || (this.#answered?.text ?? ""),
      ...(isEmpty && this.#answered === null && { isEmpty }),
      ...(notes.length > 0 && { notes }),
    };
    const event = said.take(iteration, [], usage);
    this.#raw.add({ method: "session/prompt", result: answer });
    const finishStep = { iteration, response: encodeTurn(end), usage: usage ?? NO_USAGE };
    const events = event === null ? [] : [event];
    await this.#context.commit({ events, finishStep, rawMessages: this.#raw.take() });
    return end;
  }

  async #takeUpdate(params: JsonObject): Promise<void> {
    const { clock } = this.#context;
    this.#lastUpdateAt = clock.monotonic();
    this.#context.recordActivity();
    const calls = this.#calls;
    // Before the first prompt only a replay talks: our log holds what it tells, and more.
    if (calls === null || this.#agent === null) return;
    const update = readUpdate(params, this.#agent.agentSessionId);
    if (update === null) return;
    this.#raw.add(update);
    switch (readText(update, "sessionUpdate")) {
      case "agent_message_chunk":
        await this.#addSpoken("text", update);
        break;
      case "agent_thought_chunk":
        await this.#addSpoken("reasoning", update);
        break;
      case "tool_call":
      case "tool_call_update":
        await calls.take(update);
        break;
      default:
    }
    if (this.#raw.isFull) await this.#context.commit({ rawMessages: this.#raw.take() });
  }

  async #addSpoken(kind: "text" | "reasoning", update: JsonObject): Promise<void> {
    const piece = readText(asObject(update["content"]), "text");
    if (piece === null) return;
    const messageId = readText(update, "messageId");
    const isAnother =
      messageId !== null && this.#messageId !== null && messageId !== this.#messageId;
    this.#messageId = messageId;
    if (isAnother) this.#spoken.separate();
    if (this.#spoken.add(kind, piece)) await this.#writeSpoken([]);
  }

  /** The agent acts: what it said before is an event of its own. */
  async #flushSpoken(toolsUsed: readonly string[]): Promise<void> {
    await this.#writeSpoken(toolsUsed);
    this.#spoken.endWord();
  }

  async #writeSpoken(toolsUsed: readonly string[]): Promise<void> {
    const event = this.#spoken.take(this.#iteration, toolsUsed, null);
    const events: NewEvent[] = event === null ? [] : [event];
    const rawMessages = this.#raw.take();
    if (events.length + rawMessages.length > 0) await this.#context.commit({ events, rawMessages });
  }

  async #answerPermission(params: JsonObject): Promise<JsonObject> {
    const calls = this.#calls;
    if (calls === null) return { outcome: { outcome: "cancelled" } };
    this.#raw.add({ method: "session/request_permission", params });
    return answerPermission(params, {
      context: this.#context,
      calls,
      onCall: ({ tool }) => this.#flushSpoken([tool]),
      onNote: (note, by) => this.#keepNote(`[Stint] ${note}`, by),
    });
  }

  #keepNote(note: string, by: "user" | "policy"): void {
    this.#notes.push(note);
    if (this.#notes.length > NOTES_MAX) this.#notes.shift();
    if (by === "user") this.#hasNoteOfUser = true;
  }

  /** Lets the agent end its turn by itself, for a short while. */
  async #cancel(
    { connection, agentSessionId }: StartedAgent,
    asking: Promise<unknown>,
  ): Promise<void> {
    connection.notify("session/cancel", { sessionId: agentSessionId });
    await waitWithin(this.#context.clock, CANCEL_PATIENCE_MS, asking);
  }

  /** The session goes on after it: what the agent said last would be told nowhere else. */
  async #tellCrash(thrown: unknown): Promise<void> {
    const { code, message } = toStintError(thrown);
    if (code !== "agent_crashed") return;
    await this.#context.emit({ type: "error", data: { code, message } });
  }

  /** Ends the agent and what it left open; returns why. Nothing of it is alive then. */
  async #end(thrown: unknown): Promise<unknown> {
    const { signal, log } = this.#context;
    const mustBeSilent = isLost(signal) || isWriteFailure(thrown, signal);
    if (mustBeSilent) this.#calls?.abandon();
    await this.#connection?.stop(0, isLost(signal) ? 0 : STOP_GRACE_MS);
    if (!mustBeSilent) {
      await this.#writeSpoken([]);
      await this.#calls?.closeAll(signal.aborted ? STOPPED_NOTE : ENDED_NOTE);
      if (!signal.aborted) await this.#tellCrash(thrown);
    }
    if (!signal.aborted) return explainFailure(thrown, this.#definition);
    if (thrown !== signal.reason)
      log.warn({ error: String(thrown) }, "An attempt was stopped amid a failure");
    return signal.reason;
  }
}

const NO_USAGE = {
  inputTokens: 0,
  outputTokens: 0,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  reasoningTokens: 0,
};

/** Whether it is the log that failed, and not the agent. */
function isWriteFailure(thrown: unknown, signal: AbortSignal): boolean {
  if (signal.aborted && thrown === signal.reason) return false;
  if (thrown instanceof AgentRefusal) return false;
  return !toStintError(thrown).code.startsWith("agent_");
}

function explainFailure(thrown: unknown, { title }: AcpAgentDefinition): unknown {
  if (!(thrown instanceof AgentRefusal)) return thrown;
  return new StintError("agent_error", `${title} answered with an error: ${thrown.message}`, {
    cause: thrown,
  });
}

/** Waits for work; rejects with the signal's reason as soon as it is aborted. */
async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  work.catch(() => undefined); // the race below tells it, unless the abort came first
  const over = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true, signal: over.signal });
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    over.abort();
  }
}
