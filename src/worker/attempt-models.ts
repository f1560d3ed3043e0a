import type { Clock } from "../core/clock.ts";
import { StintError, toStintError } from "../core/error.ts";
import type { NewEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { ModelBinding, ModelChoice, ModelDoor } from "../core/model.ts";
import {
  type ModelCallIntent,
  type ModelCallOutcome,
  type ModelLedger,
  NO_USAGE,
  type OpenModelCall,
} from "../core/model-call.ts";
import { bindThroughGateway } from "../model/gateway/bind.ts";
import { openDoor, type OpenDoor } from "../model/gateway/door.ts";
import { Egress } from "../model/gateway/egress.ts";
import type { EgressList } from "../model/gateway/egress-list.ts";
import { ModelGateway } from "../model/gateway/gateway.ts";
import type { ApiFamily } from "../model/gateway/route.ts";
import { computeCost, findPrice } from "../model/prices.ts";
import type { Upstream } from "../model/upstream.ts";
import { locateBridge } from "../workspace/bridge.ts";
import type { ModelSettings } from "./model-access.ts";
import type { SessionHold } from "./session-hold.ts";
import type { SessionLifecycleManager } from "./session-lifecycle-manager.ts";

/** The models of one attempt. */
export interface AttemptModels {
  /** Whether the door leads to other hosts than models, so that every command is shown it. */
  readonly reachesHosts: boolean;
  /** Binds an agent of this process. @throws {model_unknown} {model_key_missing} {config_invalid} */
  bind(): Promise<ModelBinding>;
  /** Opens the door for agents that are programs; the same one each time. */
  openDoor(): Promise<ModelDoor>;
  /** Counts what an earlier attempt asked and did not live to see answered, by its estimate. */
  closeLost(calls: readonly OpenModelCall[]): Promise<void>;
  /** Breaks off what is under way, records it, and closes the door. Idempotent. Never rejects. */
  close(): Promise<void>;
}

/** What the models of an attempt are made of. */
export interface AttemptModelsOptions {
  readonly hold: SessionHold;
  readonly settings: ModelSettings;
  /** Hosts that agents reach through the door. */
  readonly egress: EgressList;
  readonly lifecycle: SessionLifecycleManager;
  readonly readChoice: () => ModelChoice | null;
  readonly resolve: (family: ApiFamily) => Promise<Upstream>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Opens the models of an attempt: nothing is started before it is needed. */
export function openAttemptModels(options: AttemptModelsOptions): AttemptModels {
  const { hold, settings, lifecycle, clock, resolve } = options;
  const { sessionId } = hold;
  const log = withSession(options.logger, sessionId);
  const ledger = createLedger(lifecycle, hold);
  let gateway: ModelGateway | null = null;
  let door: Promise<OpenDoor> | null = null;
  const getGateway = (): ModelGateway =>
    (gateway ??= new ModelGateway({
      ...{ resolve, ledger, clock, log },
      model: options.readChoice(),
      policy: settings.modelPolicy,
      limits: hold.session.limits,
      stats: hold.stats,
      prices: settings.prices,
      recordExchanges: settings.recordExchanges,
      onBudgetReached: (reached) => hold.stop({ kind: "budget", ...reached }),
      onActivity: () => lifecycle.recordActivity(sessionId),
    }));
  const onLogin = ({ message }: StintError): void => hold.stop({ kind: "login", message });
  const open = (): Promise<OpenDoor> => {
    const toGateway = getGateway();
    const egress = new Egress({ list: options.egress, log, onLogin });
    const handle = (request: Request): Promise<Response> => toGateway.handle(request);
    return openDoor({ handle, egress, bridgePath: locateBridge(), log, onLogin });
  };
  return {
    reachesHosts: !options.egress.isEmpty,
    async bind() {
      const choice = requireChoice(options.readChoice(), sessionId);
      // What is missing is said now, and not with the first call.
      await resolve(choice.provider === "scripted" ? "anthropic" : choice.provider);
      return bindThroughGateway(getGateway(), choice);
    },
    async openDoor() {
      return (await (door ??= open())).door;
    },
    async closeLost(calls) {
      for (const call of calls) {
        if (call.epoch < hold.epoch) await closeLostCall(call, ledger, options);
      }
    },
    async close() {
      try {
        await Promise.all([gateway?.close(), door?.then((opened) => opened.close())]);
      } catch (thrown) {
        log.warn({ error: toStintError(thrown).message }, "The door to models could not be closed");
      }
    },
  };
}

/** @throws {model_unknown} where the session names no model. */
function requireChoice(choice: ModelChoice | null, sessionId: string): ModelChoice {
  if (choice !== null) return choice;
  throw new StintError("model_unknown", `session ${sessionId} names no model`);
}

/** Each record is one durable write of the session's owner, in the order of the calls. */
function createLedger(lifecycle: SessionLifecycleManager, hold: SessionHold): ModelLedger {
  return {
    async openCall(intent) {
      // Nothing goes out any more once the agent was told to stop.
      if (hold.signal.aborted) throw new StintError("cancelled", "The attempt has to stop.");
      await lifecycle.commitOfAgent(hold, { openModelCall: intent });
    },
    async closeCall(intent, { exchange, ...outcome }) {
      await lifecycle.commitOfAgent(hold, {
        closeModelCall: outcome,
        events: [describeCall(intent, outcome)],
        ...(exchange !== undefined && { rawMessages: [exchange] }),
      });
    },
  };
}

function describeCall(
  { callId, provider, wire, model }: Omit<ModelCallIntent, "isStreamed" | "timeoutMs">,
  outcome: ModelCallOutcome,
): NewEvent {
  const { status, httpStatus, usage, costUsd, isEstimated, retries } = outcome;
  return {
    type: "model_call",
    data: {
      ...{ callId, provider, wire, model, status, httpStatus, usage, costUsd, retries },
      estimated: isEstimated,
    },
  };
}

/** The provider may have done all of it: the input is charged, of the output nothing is known. */
async function closeLostCall(
  call: OpenModelCall,
  ledger: ModelLedger,
  { settings, resolve }: AttemptModelsOptions,
): Promise<void> {
  const { provider, model, callId } = call;
  const usage = { ...NO_USAGE, inputTokens: call.inputTokensEstimate };
  const isVendorOwn = await isOwnAddress(provider, resolve);
  const price = findPrice({ provider, model, isVendorOwn, overrides: settings.prices });
  const costUsd = price === null ? null : computeCost(price, usage);
  const known = { callId, status: "lost", httpStatus: null, usage, costUsd } as const;
  const intent = { ...call, isStreamed: false, timeoutMs: 0 };
  await ledger.closeCall(intent, { ...known, isEstimated: true, retries: 0 });
}

async function isOwnAddress(
  provider: string,
  resolve: AttemptModelsOptions["resolve"],
): Promise<boolean> {
  try {
    return (await resolve(provider as ApiFamily)).isVendorOwn;
  } catch {
    // Without a key here the address is not known either, and so the price is not.
    return false;
  }
}

/** A logger that names the session in each line. */
function withSession(logger: Logger, sessionId: string): Logger {
  return {
    debug: (fields, message) => logger.debug({ sessionId, ...fields }, message),
    info: (fields, message) => logger.info({ sessionId, ...fields }, message),
    warn: (fields, message) => logger.warn({ sessionId, ...fields }, message),
    error: (fields, message) => logger.error({ sessionId, ...fields }, message),
  };
}
