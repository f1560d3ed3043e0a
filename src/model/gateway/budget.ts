import type { SessionStats, TokenUsage } from "../../core/event.ts";
import type { BudgetLimits } from "../../core/session.ts";

/** Tokens, and what they cost. */
interface Spending {
  readonly tokens: number;
  readonly costUsd: number;
}

/** Why a budget lets a call not go out, or not go on. */
export interface BudgetRefusal {
  readonly code: "budget_reached" | "price_unknown";
  readonly message: string;
}

/** A call that wants to go out. */
export interface BudgetDemand {
  readonly callId: string;
  /** `provider:model`, for messages. */
  readonly model: string;
  /** What it may take: its input and the longest answer that it asks for. Null without a price. */
  readonly reserve: { readonly tokens: number; readonly costUsd: number | null };
}

interface OpenCall {
  readonly reserved: Spending;
  readonly spent: Spending;
}

interface Waiting {
  readonly demand: BudgetDemand;
  readonly settle: (refusal: BudgetRefusal | null) => void;
}

const NOTHING: Spending = { tokens: 0, costUsd: 0 };

/**
 * What a session may still spend. The owner of a session is its only writer, so these figures,
 * taken from the stored totals at the start of an attempt, are exact. A call under way holds what it
 * may take, so that calls side by side pass a limit no further than one alone could.
 */
export class Budget {
  readonly #limits: BudgetLimits;
  readonly #open = new Map<string, OpenCall>();
  /** In the order in which they came: a small one does not keep a large one from its turn. */
  readonly #waiting: Waiting[] = [];
  #closed: Spending;
  #calls: number;

  constructor(limits: BudgetLimits, stats: SessionStats) {
    this.#limits = limits;
    const tokens = stats.inputTokens + stats.outputTokens;
    this.#closed = { tokens, costUsd: stats.costUsd ?? 0 };
    this.#calls = stats.modelCalls;
  }

  /**
   * Lets a call go out, which counts from then on: resolves with null, or why it may not. One that
   * would fit only if calls under way took less than they may waits for them. A model without a
   * price fits into no budget of dollars.
   * Rejects with the signal's reason.
   */
  async admit(demand: BudgetDemand, signal: AbortSignal): Promise<BudgetRefusal | null> {
    signal.throwIfAborted();
    const refusal = this.#refuse(demand);
    if (refusal !== null) return refusal;
    if (this.#waiting.length === 0 && this.#fits(demand)) {
      this.#take(demand);
      return null;
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal.reason as Error);
        this.#letIn();
      };
      const settle = (said: BudgetRefusal | null): void => {
        signal.removeEventListener("abort", onAbort);
        resolve(said);
      };
      const waiting: Waiting = { demand, settle };
      this.#waiting.push(waiting);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Why the calls under way must end, or null. */
  refuseOngoing(): BudgetRefusal | null {
    return this.#describeSpent((spent, limit) => spent > limit);
  }

  /** What is known now of a call under way. */
  update(callId: string, usage: TokenUsage, costUsd: number | null): void {
    const call = this.#open.get(callId);
    if (call === undefined) return;
    const spent = { tokens: sum(usage), costUsd: costUsd ?? 0 };
    this.#open.set(callId, { ...call, spent });
  }

  /** A call has ended; nothing happens for one that was never let in. */
  close(callId: string, usage: TokenUsage, costUsd: number | null): void {
    if (!this.#open.delete(callId)) return;
    this.#closed = add(this.#closed, { tokens: sum(usage), costUsd: costUsd ?? 0 });
    this.#letIn();
  }

  #letIn(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const refusal = this.#refuse(next.demand);
      if (refusal === null && !this.#fits(next.demand)) return;
      this.#waiting.shift();
      if (refusal === null) this.#take(next.demand);
      next.settle(refusal);
    }
  }

  #take({ callId, reserve }: BudgetDemand): void {
    this.#calls++;
    const reserved = { tokens: reserve.tokens, costUsd: reserve.costUsd ?? 0 };
    this.#open.set(callId, { reserved, spent: NOTHING });
  }

  #refuse({ model, reserve }: BudgetDemand): BudgetRefusal | null {
    const { modelCallsMax, costUsdMax } = this.#limits;
    if (modelCallsMax !== null && this.#calls >= modelCallsMax) {
      return reached(`the session has used its ${modelCallsMax} model calls`);
    }
    if (costUsdMax !== null && reserve.costUsd === null) {
      const reason = `the price of ${model} is not known`;
      const message = `${reason}, so it cannot be held to a budget of $${costUsdMax}; set it in prices`;
      return { code: "price_unknown", message };
    }
    return this.#describeSpent((spent, limit) => spent >= limit);
  }

  /** One that nothing else is under way with is let in whatever it may take: some call must be the last. */
  #fits({ reserve }: BudgetDemand): boolean {
    if (this.#open.size === 0) return true;
    const { tokensMax, costUsdMax } = this.#limits;
    const held = [...this.#open.values()].map(({ reserved, spent }) => ({
      tokens: Math.max(reserved.tokens, spent.tokens),
      costUsd: Math.max(reserved.costUsd, spent.costUsd),
    }));
    const { tokens, costUsd } = held.reduce(add, this.#closed);
    return (
      (tokensMax === null || tokens + reserve.tokens <= tokensMax) &&
      (costUsdMax === null || costUsd + (reserve.costUsd ?? 0) <= costUsdMax)
    );
  }

  #describeSpent(isOver: (spent: number, limit: number) => boolean): BudgetRefusal | null {
    const { tokensMax, costUsdMax } = this.#limits;
    const ongoing = [...this.#open.values()].map(({ spent }) => spent);
    const { tokens, costUsd } = ongoing.reduce(add, this.#closed);
    if (tokensMax !== null && isOver(tokens, tokensMax)) {
      return reached(`the session has used ${tokens} of its ${tokensMax} tokens`);
    }
    if (costUsdMax !== null && isOver(costUsd, costUsdMax)) {
      return reached(`the session has cost $${costUsd.toFixed(4)} of its $${costUsdMax}`);
    }
    return null;
  }
}

function reached(message: string): BudgetRefusal {
  return { code: "budget_reached", message };
}

function add(a: Spending, b: Spending): Spending {
  return { tokens: a.tokens + b.tokens, costUsd: a.costUsd + b.costUsd };
}

function sum(usage: TokenUsage): number {
  return usage.inputTokens + usage.outputTokens;
}
