import type { AgentAdapter, AttemptContext, TurnResult } from "../core/attempt.ts";
import type { NewEvent } from "../core/event.ts";
import type { JsonObject } from "../core/json.ts";
import { encodeAnswer } from "./builtin/answer.ts";
import type { ModelReply } from "./builtin/model-client.ts";
import { runTurn } from "./builtin/turn.ts";

/**
 * One act of a fake agent. `say` and `call` are model steps of their own: the first ends the turn
 * unless messages wait, the second calls a tool of the builtin agent. The others happen on the way
 * to the next of them, and again if an attempt dies before it.
 */
export type FakeAct =
  | { readonly say: string }
  | { readonly call: { readonly tool: string; readonly input: JsonObject } }
  /** Appends events. */
  | { readonly emit: readonly NewEvent[] }
  /** Waits; stops waiting when it is told to stop. */
  | { readonly wait: Promise<unknown> | ((signal: AbortSignal) => Promise<unknown>) }
  /** Waits and is deaf to everything: an agent that hangs. */
  | { readonly hang: Promise<unknown> }
  /** Rejects with this message, as a defect in an adapter would. */
  | { readonly crash: string }
  /** Ends the turn as failed. */
  | { readonly fail: Omit<Extract<TurnResult, { outcome: "failed" }>, "outcome"> };

/** What a fake agent does: acts in order, or anything at all. */
export type FakeBehaviour = readonly FakeAct[] | ((context: AttemptContext) => Promise<TurnResult>);

type AnswerAct = Extract<FakeAct, { say: string } | { call: object }>;
type OtherAct = Exclude<FakeAct, AnswerAct>;

/** Tokens that each step of a fake agent reports. */
export const FAKE_USAGE = {
  inputTokens: 100,
  outputTokens: 10,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  reasoningTokens: 0,
} as const;

/**
 * An agent without a model, for tests: the builtin agent's loop, tools, ledger and resume with
 * answers that are given beforehand. Steps past the last act say "Done.".
 */
export function createFakeAgent(behaviour: FakeBehaviour, name = "fake"): AgentAdapter {
  return {
    name,
    needsModel: false,
    probe: () => Promise.resolve({ available: true, detail: "a fake for tests" }),
    run: (context) =>
      typeof behaviour === "function" ? behaviour(context) : playActs(context, behaviour),
  };
}

async function playActs(context: AttemptContext, acts: readonly FakeAct[]): Promise<TurnResult> {
  try {
    return await runTurn(context, async (_request, iteration) => {
      const { before, answer } = findActs(acts, iteration);
      for (const act of before) await playAct(context, act);
      return writeAnswer(answer, iteration);
    });
  } catch (error) {
    if (error instanceof FakeFailure) return { outcome: "failed", ...error.act.fail };
    throw error;
  }
}

/** The act that answers a step, and those between it and the answer before. */
function findActs(
  acts: readonly FakeAct[],
  iteration: number,
): { before: OtherAct[]; answer: AnswerAct } {
  let answers = 0;
  let before: OtherAct[] = [];
  for (const act of acts) {
    if (!isAnswer(act)) before.push(act);
    else if (++answers === iteration) return { before, answer: act };
    else before = [];
  }
  const isNext = iteration === answers + 1;
  return { before: isNext ? before : [], answer: { say: "Done." } };
}

function isAnswer(act: FakeAct): act is AnswerAct {
  return "say" in act || "call" in act;
}

async function playAct(context: AttemptContext, act: OtherAct): Promise<void> {
  const { signal } = context;
  if ("emit" in act) await context.emit(...act.emit);
  else if ("crash" in act) throw new Error(act.crash);
  else if ("fail" in act) throw new FakeFailure(act);
  else if ("hang" in act) await act.hang;
  else await untilAborted(signal, typeof act.wait === "function" ? act.wait(signal) : act.wait);
}

function untilAborted(signal: AbortSignal, work: Promise<unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
  });
}

function writeAnswer(act: AnswerAct, iteration: number): ModelReply {
  if ("say" in act) {
    const content = [{ type: "text", text: act.say }];
    return { response: encodeAnswer(content, [], "complete"), usage: FAKE_USAGE };
  }
  const { tool, input } = act.call;
  const content = [{ type: "tool-call", toolCallId: `fake-${iteration}`, toolName: tool, input }];
  return { response: encodeAnswer(content, [null], "complete"), usage: FAKE_USAGE };
}

class FakeFailure extends Error {
  readonly act: Extract<FakeAct, { fail: object }>;

  constructor(act: Extract<FakeAct, { fail: object }>) {
    super(act.fail.message);
    this.act = act;
  }
}
