/**
 * `stint/testing`: what tests of one's own agents and programs need instead of a model, of time and
 * of a log. Safe to import anywhere; nothing starts by itself.
 */
export { createFakeAgent, FAKE_USAGE } from "./agents/fake.ts";
export type { FakeAct, FakeBehaviour } from "./agents/fake.ts";
export { startScriptedModelServer } from "./model/scripted/server.ts";
export type { ScriptedModelServer, ScriptedModelServerOptions } from "./model/scripted/server.ts";
export { parseScript } from "./core/script.ts";
export type { Script, ScriptStep } from "./core/script.ts";
export { ManualClock } from "./core/manual-clock.ts";
export type { ManualClockOptions } from "./core/manual-clock.ts";
export { silentLogger } from "./core/log.ts";
export { silentMetrics } from "./core/metrics.ts";
