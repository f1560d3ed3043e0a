import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { createAcpAgent } from "../agents/acp/agent.ts";
import type { AcpAgentDefinition } from "../agents/acp/definition.ts";
import { AttemptStopped, type AgentAdapter, type TurnResult } from "../core/attempt.ts";
import { delay } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import type { Script } from "../core/script.ts";
import { type ScriptedModelServer, startScriptedModelServer } from "../model/scripted/server.ts";
import type { AgentCapabilities, AgentReport } from "./agent-reports.ts";
import { type KnownAgent } from "./agent-set.ts";
import { ProbeSession } from "./probe-session.ts";
import { systemClock } from "./system-clock.ts";

/** What a measurement needs. */
export interface AgentProbeOptions {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

const EXIT_CODE = 3;
const WORK: Script = [
  { bash: `echo first; sleep 1; echo second; exit ${EXIT_CODE}` },
  { write: { path: "probe.txt", content: "written\n" } },
  { text: "Measured." },
];
const LONG: Script = [{ bash: "echo begun; sleep 30" }, { text: "Went on." }];
const PROMPT = "Do what you are told, step by step.";
/** After it an agent is taken to be in the middle of its command, whatever it tells. */
const SETTLE_MS = 2_000;
const CALL_LIMIT_MS = 120_000;
const CANCEL_LIMIT_MS = 900;

/**
 * Measures an agent against the scripted model, on this host, without any network but loopback: it
 * is believed nothing that it says of itself.
 * @throws {agent_missing} when it is not there. @throws {usage_invalid} when it brings its own model.
 */
export async function probeAgent(
  { name, adapter, definition, places }: KnownAgent,
  options: AgentProbeOptions,
): Promise<AgentReport> {
  if (definition === null || places === null || definition.wire === null) {
    throw new StintError(
      "usage_invalid",
      `${name} cannot be measured: it takes no model of Stint's`,
      { remedy: "docs/agents.md says what agents of its kind do." },
    );
  }
  const { available, detail } = await adapter.probe();
  if (!available) {
    const isKnown = definition.package !== undefined;
    throw new StintError("agent_missing", detail.replace(/ Install it with: .*/, ""), {
      remedy: isKnown ? `stint agents install ${name}` : `Put it into PATH, or set agents.${name}.`,
    });
  }
  const measurement = new Measurement(definition, places, options);
  try {
    return await measurement.take();
  } finally {
    await measurement.close();
  }
}

class Measurement {
  readonly #adapter: AgentAdapter;
  readonly #options: AgentProbeOptions;
  readonly #notes: string[] = [];
  #folder: string | null = null;
  #server: ScriptedModelServer | null = null;
  #version: string | null = null;
  #origin: "new" | "resume" | "load" = "new";

  constructor(
    definition: AcpAgentDefinition,
    places: NonNullable<KnownAgent["places"]>,
    options: AgentProbeOptions,
  ) {
    this.#options = options;
    this.#adapter = createAcpAgent({
      definition,
      places,
      onStart: ({ version, origin }) => {
        this.#version = version;
        this.#origin = origin;
      },
    });
  }

  async take(): Promise<AgentReport> {
    const { onProgress } = this.#options;
    // Not below TMPDIR: an agent may treat what lies there as its own.
    const place = join(this.#options.dataDir, "agents");
    await mkdir(place, { recursive: true, mode: 0o700 });
    this.#folder = await realpath(await mkdtemp(join(place, ".probe-")));
    const scripts: Readonly<Record<string, Script>> = { work: WORK, lost: LONG, cancel: LONG };
    this.#server = await startScriptedModelServer({
      clock: systemClock,
      lookUpScript: (id) => Promise.resolve(scripts[id] ?? null),
    });
    onProgress("a command, a file, a word");
    const work = await this.#measureWork();
    onProgress("kill -9 in the middle of a command");
    const resume = work.completes ? await this.#measureResume() : "none";
    onProgress("cancel in the middle of a command");
    const cancel = work.completes ? await this.#measureCancel() : false;
    return {
      version: this.#version,
      measuredAt: new Date(systemClock.now()).toISOString(),
      capabilities: { ...work, resume, cancel },
      notes: this.#notes,
    };
  }

  async close(): Promise<void> {
    await this.#server?.close();
    if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true });
  }

  async #measureWork(): Promise<Omit<AgentCapabilities, "resume" | "cancel">> {
    const session = await this.#open("work");
    const attempt = await session.open();
    const result = await this.#run(attempt.run(this.#adapter));
    await attempt.close();
    const { events, steps } = session;
    const completes =
      result?.outcome === "end_turn" && (await session.readFile("probe.txt")) === "written\n";
    if (!completes) this.#notes.push(`It did not work through the script: ${describe(result)}`);
    for (const { tool, isError, result: said } of session.calls) {
      if (isError) this.#notes.push(`${tool} failed: ${String(said).slice(0, 500)}`);
    }
    const terminals = events.filter(({ type }) => type === "terminal").map(({ data }) => data);
    const final = terminals.find((data) => data["final"] === true);
    const first = terminals[0]?.["callId"];
    const pieces = terminals.filter((data) => data["callId"] === first && data["final"] !== true);
    const isLive = pieces.length > 1;
    const isTold = pieces.length > 0 || Boolean(final?.["output"]);
    return {
      completes,
      permission: session.asked > 0,
      output: isLive ? "live" : isTold ? "at the end" : "none",
      exitCode: (final?.["exitCode"] ?? final?.["agentExitCode"]) === EXIT_CODE,
      usage: steps.some(({ usage }) => (usage?.inputTokens ?? 0) > 0),
    };
  }

  async #measureResume(): Promise<AgentCapabilities["resume"]> {
    const session = await this.#open("lost");
    const lost = await session.open();
    const running = this.#run(lost.run(this.#adapter));
    await this.#untilBusy(session, running);
    await lost.close();
    session.epoch += 1;
    const attempt = await session.open();
    // A script that went on has the answers of before in its transcript.
    const result = await this.#run(attempt.run(this.#adapter), () => attempt.stop());
    await attempt.close();
    const requests = this.#server?.journal("lost") ?? [];
    if (result?.outcome !== "end_turn") {
      this.#notes.push(`It did not go on after kill -9: ${describe(result)}`);
      return "none";
    }
    if (this.#origin === "new") return "new session";
    // The first prompt and the one with the facts, in one transcript; both are cut in the journal.
    const isRemembered = requests.some(
      ({ prompts }) =>
        prompts.some((text) => text.includes(PROMPT.slice(0, 30)) && !text.startsWith("[Stint]")) &&
        prompts.some((text) => text.startsWith("[Stint]")),
    );
    if (!isRemembered)
      this.#notes.push("It took its session up, but its model saw only the facts.");
    return this.#origin;
  }

  async #measureCancel(): Promise<boolean> {
    const session = await this.#open("cancel");
    const attempt = await session.open();
    const running = this.#run(attempt.run(this.#adapter));
    await this.#untilBusy(session, running);
    const stoppedAt = systemClock.monotonic();
    attempt.stop();
    await running;
    const took = systemClock.monotonic() - stoppedAt;
    await attempt.close();
    if (took >= CANCEL_LIMIT_MS)
      this.#notes.push(`It took ${Math.round(took)} ms to end its turn.`);
    return took < CANCEL_LIMIT_MS;
  }

  async #open(id: string): Promise<ProbeSession> {
    const folder = join(this.#folder ?? "", id);
    const [workspace, home] = [join(folder, "tree"), join(folder, "home")];
    await mkdir(workspace, { recursive: true });
    await mkdir(home, { recursive: true });
    const base = (family: "anthropic" | "openai" | "gemini"): string =>
      this.#server?.baseUrlFor(id, family) ?? "";
    const urls = {
      anthropic: base("anthropic").replace(/\/v1$/, ""),
      openai: base("openai"),
      gemini: base("gemini"),
    };
    const { env } = this.#options;
    return new ProbeSession({ id, workspace, home, prompt: PROMPT, urls, env });
  }

  /** Waits until a command runs; an agent that tells nothing is given time. */
  async #untilBusy(session: ProbeSession, running: Promise<unknown>): Promise<void> {
    let isOver = false;
    void running.then(() => (isOver = true));
    const until = systemClock.monotonic() + CALL_LIMIT_MS;
    while (!isOver && session.calls.length === 0 && systemClock.monotonic() < until) {
      await delay(systemClock, 50, this.#options.signal);
    }
    await delay(systemClock, SETTLE_MS, this.#options.signal);
  }

  /** How a run ended; null when it rejected, which is noted. Bounded in time. */
  async #run(
    run: Promise<TurnResult>,
    onLimit: () => void = () => undefined,
  ): Promise<TurnResult | null> {
    const timer = systemClock.setTimer(onLimit, CALL_LIMIT_MS);
    const { signal } = this.#options;
    signal.addEventListener("abort", onLimit, { once: true });
    try {
      return await run;
    } catch (thrown) {
      const isStop = thrown instanceof AttemptStopped;
      if (!isStop) this.#notes.push((thrown as Error).message.slice(0, 2_000));
      return null;
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onLimit);
      signal.throwIfAborted();
    }
  }
}

function describe(result: TurnResult | null): string {
  return result === null ? "it was stopped, or failed" : `${result.outcome}: ${result.message}`;
}
