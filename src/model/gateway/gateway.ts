import type { Clock } from "../../core/clock.ts";
import { StintError, toStintError } from "../../core/error.ts";
import type { SessionStats } from "../../core/event.ts";
import type { Logger } from "../../core/log.ts";
import type { ModelChoice, ModelPolicy, ModelPrice } from "../../core/model.ts";
import type { ModelCallIntent, ModelLedger } from "../../core/model-call.ts";
import type { BudgetLimits } from "../../core/session.ts";
import { findPrice } from "../prices.ts";
import type { Upstream } from "../upstream.ts";
import { readBeginning, readBodyText } from "./body.ts";
import { Budget, type BudgetRefusal } from "./budget.ts";
import { ExchangeRecord } from "./exchange-record.ts";
import { copyResponseHeaders } from "./headers.ts";
import { asRecord } from "./json-value.ts";
import { ModelCall } from "./model-call.ts";
import { readOutputTokensMax } from "./output-bound.ts";
import { callProvider, type RetryNotice } from "./provider-call.ts";
import { type ProviderRequest, sendToProvider } from "./provider-request.ts";
import { Redactor } from "./redactor.ts";
import { GatewayRefusal, writeRefusal } from "./refusal.ts";
import { type ApiFamily, findRoute, type GatewayWire, guessWire, type Route } from "./route.ts";
import { estimateInputTokens, StreamMeter } from "./stream-meter.ts";
import { tapStream } from "./tapped-stream.ts";

/** Largest body of one request: 32 MB, as at the vendors. */
export const REQUEST_BYTES_MAX = 32 * 1_048_576;

/** Calls of one attempt under way at a time. */
export const CALLS_MAX = 64;

/** Retries for a client that has none of its own to show. */
export const RETRIES_MAX = 4;

const ERROR_BODY_BYTES_MAX = 65_536;

/** What a gateway is made of. */
export interface GatewayOptions {
  /** The session's model; null where the agent chooses by itself. */
  readonly model: ModelChoice | null;
  readonly policy: ModelPolicy;
  /** Finds a provider's API. @throws {model_key_missing} {config_invalid} {model_unknown} */
  readonly resolve: (family: ApiFamily) => Promise<Upstream>;
  readonly ledger: ModelLedger;
  readonly limits: BudgetLimits & { readonly modelCallTimeoutMs: number };
  /** The totals at the start of the attempt. */
  readonly stats: SessionStats;
  /** The setting `prices`. */
  readonly prices: Readonly<Record<string, ModelPrice>>;
  /** Keeps what is asked and answered. */
  readonly recordExchanges: boolean;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told once, when a budget lets no call out any more: the attempt has to stop. */
  readonly onBudgetReached: (refusal: BudgetRefusal) => void;
  /** Told of every try that is followed by another. */
  readonly onRetry?: (notice: RetryNotice) => void;
  /** Told that bytes came: the agent is at work. */
  readonly onActivity?: () => void;
  /** Sends the requests. @default the global fetch */
  readonly fetch?: typeof globalThis.fetch;
}

/** How one request is treated. */
export interface HandleOptions {
  /** Tries after the first one. @default RETRIES_MAX */
  readonly retriesMax?: number;
}

interface Question extends ProviderRequest {
  readonly body: string;
  readonly model: string;
  /** The longest answer that it asks for. */
  readonly outputTokensMax: number;
  readonly isStreamed: boolean;
}

/** One call under way, and how to break it off. */
interface Exchange {
  readonly question: Question;
  readonly call: ModelCall;
  readonly controller: AbortController;
  /** Forgets the call once its outcome is recorded. */
  readonly release: () => void;
}

/**
 * The only way of one attempt to models: it holds the keys, records each call before it goes out
 * and what it came to, and keeps to the budgets. What a provider answers is passed on byte by byte
 * as it comes. Requests reach it by a socket, or in the same process, and are treated alike.
 */
export class ModelGateway {
  readonly #options: GatewayOptions;
  readonly #budget: Budget;
  readonly #exchanges = new Set<Exchange>();
  readonly #secrets = new Set<string>();
  #redactor = new Redactor([]);
  #isClosed = false;
  #isOverBudget = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#budget = new Budget(options.limits, options.stats);
  }

  /** Answers a request to the door, whatever happens. */
  async handle(request: Request, options: HandleOptions = {}): Promise<Response> {
    const url = new URL(request.url);
    try {
      return await this.#handle(request, url, options.retriesMax ?? RETRIES_MAX);
    } catch (thrown) {
      return this.#refuse(guessWire(url.pathname), thrown);
    }
  }

  /** Resolves when what is under way now has come to its end and is recorded. */
  async settle(): Promise<void> {
    await Promise.all([...this.#exchanges].map(({ call }) => call.closed));
  }

  /** Breaks off what is under way, records it and takes nothing more. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const exchanges = [...this.#exchanges];
    for (const { controller } of exchanges) controller.abort(attemptEnded());
    await Promise.all(exchanges.map(({ call }) => call.close("aborted")));
  }

  async #handle(request: Request, url: URL, retriesMax: number): Promise<Response> {
    const route = findRoute(request.method, url);
    if (this.#isClosed) throw attemptEnded();
    if (!route) throw new GatewayRefusal(404, "The model gateway has nothing at this address.");
    this.#checkFamily(route.family);
    const upstream = await this.#resolve(route.family);
    if (route.kind === "free") return this.#passFree(request, route, upstream);
    const question = await this.#readQuestion(request, route, upstream);
    return this.#ask(request, question, retriesMax);
  }

  #checkFamily(family: ApiFamily): void {
    const { model, policy } = this.#options;
    if (model === null || model.provider === "scripted" || policy === "any") return;
    if (model.provider === family) return;
    const message = `This session may call models of ${model.provider} only (modelPolicy: ${policy}).`;
    throw new GatewayRefusal(403, message);
  }

  #checkModel(family: ApiFamily, name: string): void {
    const { model, policy } = this.#options;
    if (model === null || model.provider === "scripted" || policy !== "session") return;
    if (model.provider === family && model.name === name) return;
    const message = `This session may call ${model.name} only (modelPolicy: session).`;
    throw new GatewayRefusal(403, message);
  }

  async #resolve(family: ApiFamily): Promise<Upstream> {
    const upstream = await this.#options.resolve(family);
    const known = this.#secrets.size;
    for (const secret of upstream.secrets) this.#secrets.add(secret);
    if (this.#secrets.size > known) this.#redactor = new Redactor([...this.#secrets]);
    return upstream;
  }

  async #readQuestion(request: Request, route: Route, upstream: Upstream): Promise<Question> {
    const body = await readBodyText(request, REQUEST_BYTES_MAX);
    const fields = asRecord(parseJson(body));
    const model = route.model ?? fields["model"];
    if (typeof model !== "string" || !/^[^\s\p{C}]{1,200}$/u.test(model)) {
      throw new GatewayRefusal(400, "The request is no JSON object that names a model.");
    }
    this.#checkModel(route.family, model);
    const isStreamed = route.isStreamed ?? fields["stream"] === true;
    const outputTokensMax = readOutputTokensMax(fields);
    return { route, upstream, headers: request.headers, body, model, isStreamed, outputTokensMax };
  }

  /** What costs nothing is passed on without a record. */
  async #passFree(request: Request, route: Route, upstream: Upstream): Promise<Response> {
    const { method, headers, signal } = request;
    const body = method === "GET" ? null : await readBodyText(request, REQUEST_BYTES_MAX);
    const response = await this.#send({ route, upstream, headers, body }, signal);
    return response.ok ? this.#answer(response, response.body) : this.#passError(response);
  }

  async #ask(request: Request, question: Question, retriesMax: number): Promise<Response> {
    const exchange = this.#openExchange(question, request.signal);
    const { call, controller, release } = exchange;
    const { clock, log, onRetry } = this.#options;
    try {
      await this.#admit(exchange);
      await call.open();
      controller.signal.throwIfAborted();
      const { response, error, retries } = await callProvider(
        () => call.try(() => this.#send(question, controller.signal)),
        {
          callId: call.intent.callId,
          retriesMax,
          clock,
          signal: controller.signal,
          onRetry: (notice) => {
            log.warn(
              { ...notice, model: question.model },
              "A model call failed and is tried again",
            );
            onRetry?.(notice);
          },
        },
      );
      call.retries = retries;
      if (response === null) throw this.#describeFailure(error);
      call.httpStatus = response.status;
      if (response.ok && response.body) return this.#passOn(exchange, response, response.body);
      const refused = await this.#passError(response);
      await call.close(response.ok ? "finished" : "failed");
      release();
      return refused;
    } catch (thrown) {
      const { aborted, reason } = controller.signal;
      await call.close(aborted ? "aborted" : "failed");
      release();
      throw aborted ? reason : thrown;
    }
  }

  /** Waits for room within the budgets; what no budget is left for is refused. */
  async #admit({ call, controller, question }: Exchange): Promise<void> {
    const { callId, provider, model } = call.intent;
    const reserve = call.computeReserve(question.outputTokensMax);
    const demand = { callId, model: `${provider}:${model}`, reserve };
    const refusal = await this.#budget.admit(demand, controller.signal);
    if (refusal !== null) throw this.#reachBudget(refusal);
    controller.signal.throwIfAborted();
  }

  #openExchange(question: Question, client: AbortSignal): Exchange {
    const { provider, isVendorOwn } = question.upstream;
    const { model } = question;
    const price = findPrice({ provider, model, isVendorOwn, overrides: this.#options.prices });
    if (this.#exchanges.size >= CALLS_MAX) {
      throw new GatewayRefusal(429, "Too many calls at a time.");
    }
    const controller = new AbortController();
    const call = this.#makeCall(question, price);
    const unlink = this.#linkEnds(client, controller, call.intent.timeoutMs);
    const release = (): void => {
      unlink();
      this.#exchanges.delete(exchange);
    };
    const exchange: Exchange = { question, call, controller, release };
    this.#exchanges.add(exchange);
    return exchange;
  }

  #makeCall(question: Question, price: ModelPrice | null): ModelCall {
    const { clock, ledger, log, limits, recordExchanges } = this.#options;
    const { route, upstream, body, model, isStreamed } = question;
    const intent: ModelCallIntent = {
      callId: clock.newId(),
      provider: upstream.provider,
      wire: route.wire,
      model,
      isStreamed,
      inputTokensEstimate: estimateInputTokens(body),
      timeoutMs: limits.modelCallTimeoutMs,
    };
    const record = recordExchanges ? new ExchangeRecord(intent.callId, body, this.#redactor) : null;
    return new ModelCall({ intent, price, budget: this.#budget, ledger, log, record });
  }

  /** A call ends when its client goes away, and when its time is over. */
  #linkEnds(client: AbortSignal, controller: AbortController, timeoutMs: number): () => void {
    const onGone = (): void => controller.abort(new GatewayRefusal(499, "The client went away."));
    const message = `The model did not answer within ${timeoutMs / 1_000} s.`;
    const timer = this.#options.clock.setTimer(() => {
      controller.abort(new GatewayRefusal(504, message));
    }, timeoutMs);
    client.addEventListener("abort", onGone, { once: true });
    if (client.aborted) onGone();
    return () => {
      timer.cancel();
      client.removeEventListener("abort", onGone);
    };
  }

  #send(request: ProviderRequest, signal: AbortSignal): Promise<Response> {
    return sendToProvider(this.#options.fetch ?? globalThis.fetch, request, signal);
  }

  #passOn(exchange: Exchange, response: Response, body: ReadableStream<Uint8Array>): Response {
    const { call, controller, question } = exchange;
    const meter = new StreamMeter({
      wire: question.route.wire,
      contentType: response.headers.get("content-type") ?? "",
      inputTokensEstimate: call.intent.inputTokensEstimate,
    });
    call.meter = meter;
    const end = async (status: "finished" | "failed" | "aborted"): Promise<void> => {
      await call.close(status);
      exchange.release();
    };
    // Whoever breaks it off, also while nobody reads: the outcome is recorded at once.
    controller.signal.addEventListener("abort", () => void end("aborted"), { once: true });
    const stream = tapStream(body, {
      onBytes: (bytes) => {
        controller.signal.throwIfAborted();
        this.#options.onActivity?.();
        meter.take(bytes);
        call.record?.take(bytes);
        call.noteUsage();
        // What has been said to its end is paid for: only what would cost more is broken off.
        const refusal = meter.read().isEstimated ? this.#budget.refuseOngoing() : null;
        if (refusal !== null) throw this.#reachBudget(refusal);
      },
      onEnd: () => {
        meter.finish();
        return end("finished");
      },
      onError: async (error) => {
        const { aborted, reason } = controller.signal;
        const isCut = aborted || error instanceof GatewayRefusal;
        await end(isCut ? "aborted" : "failed");
        return aborted ? (reason as Error) : this.#describeFailure(error);
      },
      onCancel: async () => {
        controller.abort(new GatewayRefusal(499, "The client went away."));
        await end("aborted");
      },
    });
    return this.#answer(response, stream);
  }

  #answer(response: Response, body: ReadableStream<Uint8Array> | null): Response {
    const { status } = response;
    return new Response(status === 204 ? null : body, {
      status,
      headers: copyResponseHeaders(response.headers, this.#redactor),
    });
  }

  /** Providers quote keys in their errors, so these are not passed on as they are. */
  async #passError(response: Response): Promise<Response> {
    const { status } = response;
    const { text, isCut } = await readBeginning(response.body, ERROR_BODY_BYTES_MAX);
    const shown = isCut ? this.#redactor.redactCut(text) : this.#redactor.redact(text);
    return new Response(status === 204 ? null : shown, {
      status,
      headers: copyResponseHeaders(response.headers, this.#redactor),
    });
  }

  /** The first to find it tells the attempt; what is under way is broken off. */
  #reachBudget(reached: BudgetRefusal): GatewayRefusal {
    const what = reached.code === "budget_reached" ? "is used up" : "cannot be kept";
    const refusal = new GatewayRefusal(403, `The budget ${what}: ${reached.message}.`);
    if (this.#isOverBudget) return refusal;
    this.#isOverBudget = true;
    this.#options.onBudgetReached(reached);
    for (const { controller } of this.#exchanges) controller.abort(refusal);
    return refusal;
  }

  #describeFailure(error: unknown): GatewayRefusal {
    if (error instanceof GatewayRefusal) return error;
    const cause = error instanceof Error ? error.cause : undefined;
    const said = [error, cause]
      .map((each) => (each instanceof Error ? each.message : ""))
      .join(" ");
    const message = this.#redactor.redact(said.trim()).slice(0, 300);
    return new GatewayRefusal(502, `The model's API could not be reached: ${message}`);
  }

  #refuse(wire: GatewayWire, thrown: unknown): Response {
    if (thrown instanceof GatewayRefusal) return writeRefusal(wire, thrown.status, thrown.message);
    const { code, message } = toStintError(thrown);
    const shown = this.#redactor.redact(message);
    const isKnown = thrown instanceof StintError;
    const level = isKnown ? "info" : "warn";
    this.#options.log[level]({ code, error: shown }, "A request to the model gateway failed");
    const status = isKnown && !thrown.retryable ? 403 : 503;
    return writeRefusal(wire, status, isKnown ? shown : "The model gateway failed.");
  }
}

function attemptEnded(): GatewayRefusal {
  return new GatewayRefusal(503, "The attempt has ended.");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new GatewayRefusal(400, "The body is not JSON.", { cause: error });
  }
}
