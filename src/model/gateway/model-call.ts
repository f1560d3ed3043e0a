import type { Logger } from "../../core/log.ts";
import type { ModelPrice } from "../../core/model.ts";
import {
  type ModelCallIntent,
  type ModelCallStatus,
  type ModelLedger,
  NO_USAGE,
} from "../../core/model-call.ts";
import { toStintError } from "../../core/error.ts";
import { computeCost } from "../prices.ts";
import type { Budget } from "./budget.ts";
import { GatewayRefusal } from "./refusal.ts";
import type { ExchangeRecord } from "./exchange-record.ts";
import type { Metered, StreamMeter } from "./stream-meter.ts";

/** What a call under way needs. */
export interface ModelCallOptions {
  readonly intent: ModelCallIntent;
  readonly price: ModelPrice | null;
  readonly budget: Budget;
  readonly ledger: ModelLedger;
  readonly log: Logger;
  readonly record: ExchangeRecord | null;
}

const NOTHING: Metered = { usage: NO_USAGE, cacheWriteLongTokens: 0, isEstimated: false };

/** One call from its intent to its outcome. Closed exactly once, however it ends. */
export class ModelCall {
  readonly intent: ModelCallIntent;
  readonly record: ExchangeRecord | null;
  /** Set once the provider answers. */
  meter: StreamMeter | null = null;
  httpStatus: number | null = null;
  retries = 0;
  #isUnderWay = false;
  #lostTries = 0;
  /** Resolves when the outcome is recorded. */
  readonly closed: Promise<void>;
  readonly #options: ModelCallOptions;
  /** Null until the budget has let it in. */
  #opening: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  #tellClosed: () => void = () => undefined;

  constructor(options: ModelCallOptions) {
    this.intent = options.intent;
    this.record = options.record;
    this.#options = options;
    this.closed = new Promise((resolve) => (this.#tellClosed = resolve));
  }

  /** Records the intent of a call that the budget has let in; resolves when it is durable. */
  async open(): Promise<void> {
    this.#opening = this.#options.ledger.openCall(this.intent);
    await this.#opening;
  }

  /**
   * Makes one try of it. One that ends without an answer, after the provider may have read the
   * request, is counted by its input, whoever broke it off.
   */
  async try(send: () => Promise<Response>): Promise<Response> {
    this.#isUnderWay = true;
    try {
      return await send();
    } catch (thrown) {
      if (mayHaveArrived(thrown)) this.#lostTries++;
      throw thrown;
    } finally {
      this.#isUnderWay = false;
    }
  }

  /** What the call may come to: its input, and an answer of so many tokens. */
  computeReserve(outputTokens: number): {
    readonly tokens: number;
    readonly costUsd: number | null;
  } {
    const { inputTokensEstimate: inputTokens } = this.intent;
    const usage = { ...NO_USAGE, inputTokens, outputTokens };
    const costUsd = this.#computeCost({ usage, cacheWriteLongTokens: 0, isEstimated: true });
    return { tokens: inputTokens + outputTokens, costUsd };
  }

  /** Tells the budget what the meter has read. */
  noteUsage(): void {
    if (this.meter === null) return;
    const { usage, cacheWriteLongTokens } = this.#readUsage();
    this.#options.budget.update(
      this.intent.callId,
      usage,
      this.#computeCost({ usage, cacheWriteLongTokens, isEstimated: true }),
    );
  }

  /**
   * Records the outcome. Never rejects: where it cannot be recorded the intent stays open, and the
   * next attempt counts the call by its estimate.
   */
  close(status: ModelCallStatus): Promise<void> {
    this.#closing ??= this.#close(status).finally(() => this.#tellClosed());
    return this.#closing;
  }

  async #close(status: ModelCallStatus): Promise<void> {
    const { budget, ledger, log } = this.#options;
    const { intent, httpStatus, retries } = this;
    const metered = this.#readUsage();
    const { usage, isEstimated } = metered;
    const costUsd = this.#computeCost(metered);
    budget.close(intent.callId, usage, costUsd);
    const isRecorded = await this.#opening?.then(
      () => true,
      () => false,
    );
    // It never went out: whoever wanted to open it was told why.
    if (isRecorded !== true) return;
    const exchange = this.record?.toJson();
    try {
      const known = { callId: intent.callId, status, httpStatus, usage, costUsd };
      await ledger.closeCall(intent, {
        ...known,
        isEstimated,
        retries,
        ...(exchange !== undefined && { exchange }),
      });
    } catch (thrown) {
      const { code, message } = toStintError(thrown);
      if (code === "stale_epoch") return;
      log.warn({ code, error: message }, "The outcome of a model call could not be recorded");
    }
  }

  #readUsage(): Metered {
    const answered = this.meter?.read() ?? NOTHING;
    // Gone before there was an answer: the provider may charge for what it has read.
    const lost = this.#lostTries + (this.#isUnderWay ? 1 : 0);
    if (lost === 0) return answered;
    const inputTokens = answered.usage.inputTokens + lost * this.intent.inputTokensEstimate;
    return { ...answered, usage: { ...answered.usage, inputTokens }, isEstimated: true };
  }

  #computeCost({ usage, cacheWriteLongTokens }: Metered): number | null {
    const { price } = this.#options;
    return price === null ? null : computeCost(price, usage, cacheWriteLongTokens);
  }
}

/** Errors of a connection that never stood. */
const NEVER_CONNECTED = new RegExp(
  [
    "^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|UND_ERR_CONNECT_TIMEOUT",
    "CERT_\\w+|ERR_TLS_\\w+|\\w*SELF_SIGNED\\w*|UNABLE_TO_\\w+)$",
  ].join("|"),
);

/** A refusal of ours comes after an answer; anything else that ends a try may come after the request. */
function mayHaveArrived(thrown: unknown): boolean {
  if (thrown instanceof GatewayRefusal) return thrown.status === 499 || thrown.status >= 500;
  const cause =
    thrown instanceof Error ? (thrown.cause as { code?: unknown } | undefined) : undefined;
  return !NEVER_CONNECTED.test(String(cause?.code ?? ""));
}
