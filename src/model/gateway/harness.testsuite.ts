/** A gateway over any provider, with a ledger in memory. */
import { randomUUID } from "node:crypto";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../../core/clock.ts";
import { EMPTY_STATS, type SessionStats } from "../../core/event.ts";
import { addStats } from "../../core/fold.ts";
import type { JsonObject } from "../../core/json.ts";
import type { Logger } from "../../core/log.ts";
import type { ModelCallIntent, ModelCallOutcome, ModelLedger } from "../../core/model-call.ts";
import { parseScript, type Script } from "../../core/script.ts";
import { startScriptedModelServer, type ScriptedModelServer } from "../scripted/server.ts";
import type { Upstream } from "../upstream.ts";
import { ModelGateway, type GatewayOptions } from "./gateway.ts";

/** Real time, waits cut short. */
export const fastClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  uptime: () => performance.now(),
  setTimer(callback, delayMs) {
    const timer = setTimeout(callback, delayMs >= 60_000 ? delayMs : delayMs / 50);
    return { cancel: () => clearTimeout(timer) };
  },
  newId: () => randomUUID(),
  random: () => 0.5,
};

/** Keeps what was recorded. */
export class MemoryLedger implements ModelLedger {
  readonly intents: ModelCallIntent[] = [];
  readonly outcomes: ModelCallOutcome[] = [];
  /** Called before an intent is durable. */
  beforeOpen: () => Promise<void> = () => Promise.resolve();

  async openCall(intent: ModelCallIntent): Promise<void> {
    await this.beforeOpen();
    this.intents.push(intent);
  }

  closeCall(_intent: ModelCallIntent, outcome: ModelCallOutcome): Promise<void> {
    this.outcomes.push(outcome);
    return Promise.resolve();
  }

  /** The totals, as a session's log adds them up. */
  get stats(): SessionStats {
    return this.outcomes.reduce(
      (stats, outcome) => addStats(stats, "model_call", outcome as unknown as JsonObject),
      EMPTY_STATS,
    );
  }
}

/** Keeps the lines that were logged. */
export class LineLog implements Logger {
  readonly lines: string[] = [];
  readonly #note = (fields: object, message: string): void => {
    this.lines.push(JSON.stringify({ ...fields, message }));
  };
  debug = this.#note;
  info = this.#note;
  warn = this.#note;
  error = this.#note;
}

/** Everything that a test of the gateway starts, ended together. */
export class GatewayHarness {
  readonly ledger = new MemoryLedger();
  readonly log = new LineLog();
  readonly reached: string[] = [];
  readonly retries: number[] = [];
  readonly #servers: Server[] = [];
  readonly #scripted: ScriptedModelServer[] = [];
  readonly #gateways: ModelGateway[] = [];

  /** A provider of any behaviour; resolves with its address. */
  async startProvider(listener: RequestListener): Promise<string> {
    const server = createServer(listener);
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async startScripted(script: unknown): Promise<ScriptedModelServer> {
    const parsed: Script = parseScript(script);
    const server = await startScriptedModelServer({
      lookUpScript: () => Promise.resolve(parsed),
      clock: fastClock,
    });
    this.#scripted.push(server);
    return server;
  }

  /** A gateway to one address, whichever family is asked for. */
  createGateway(upstream: Partial<Upstream>, options: Partial<GatewayOptions> = {}): ModelGateway {
    return this.createScriptedGateway(() => upstream, options);
  }

  createScriptedGateway(
    resolve: (family: "anthropic" | "openai" | "gemini") => Partial<Upstream>,
    options: Partial<GatewayOptions> = {},
  ): ModelGateway {
    const { ledger, log } = this;
    const { limits, ...rest } = options;
    const gateway = new ModelGateway({
      ...{ ledger, log, clock: fastClock, model: null, policy: "provider" },
      resolve: (family) =>
        Promise.resolve({
          ...{ provider: family, baseUrl: "", authHeaders: {}, secrets: [], isVendorOwn: true },
          ...resolve(family),
        }),
      limits: {
        ...{ tokensMax: null, costUsdMax: null, modelCallsMax: null },
        ...{ modelCallTimeoutMs: 600_000, ...limits },
      },
      stats: EMPTY_STATS,
      prices: {},
      recordExchanges: false,
      onBudgetReached: ({ message }) => this.reached.push(message),
      onRetry: ({ retry }) => this.retries.push(retry),
      ...rest,
    });
    this.#gateways.push(gateway);
    return gateway;
  }

  async close(): Promise<void> {
    await Promise.all(this.#gateways.map((gateway) => gateway.close()));
    await Promise.all(this.#scripted.map((server) => server.close()));
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
  }
}

/** A request to the door. */
export function ask(path: string, body: unknown, init: RequestInit = {}): Request {
  return new Request(`http://door${path}`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json" },
    ...init,
  });
}
