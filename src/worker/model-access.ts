import type { Clock } from "../core/clock.ts";
import { StintError } from "../core/error.ts";
import { SCRIPTED_MODEL, type ModelBinding } from "../core/model.ts";
import type { Script } from "../core/script.ts";
import type { SessionSnapshot } from "../core/session.ts";
import { bindModel } from "../model/binding.ts";
import { startScriptedModelServer, type ScriptedModelServer } from "../model/scripted/server.ts";

/** What access to models needs. */
export interface ModelAccessOptions {
  /** Where keys and base URLs are looked for. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly lookUpScript: (sessionId: string) => Promise<Script | null>;
  readonly clock: Clock;
}

/** Binds sessions to their models; the scripted model's server starts with its first session. */
export class ModelAccess {
  readonly #options: ModelAccessOptions;
  #scripted: Promise<ScriptedModelServer> | null = null;

  constructor(options: ModelAccessOptions) {
    this.#options = options;
  }

  /** @throws {model_unknown} {model_key_missing} {config_invalid} */
  async bind(session: SessionSnapshot): Promise<ModelBinding> {
    const { env } = this.#options;
    const { id: sessionId, model } = session;
    if (model === null)
      throw new StintError("model_unknown", `session ${sessionId} names no model`);
    if (model !== SCRIPTED_MODEL) return bindModel({ model, sessionId, env });
    const { url } = await this.#startScripted();
    return bindModel({ model, sessionId, env, scriptedBaseUrl: url });
  }

  /** Stops the scripted model's server, where one runs. */
  async close(): Promise<void> {
    const server = this.#scripted;
    this.#scripted = null;
    // One that did not start told whoever asked for it.
    await server?.then(
      (started) => started.close(),
      () => undefined,
    );
  }

  /** A start that failed is tried again by the next session. */
  #startScripted(): Promise<ScriptedModelServer> {
    if (this.#scripted) return this.#scripted;
    const { lookUpScript, clock } = this.#options;
    const starting = startScriptedModelServer({ lookUpScript, clock });
    this.#scripted = starting;
    starting.catch(() => {
      if (this.#scripted === starting) this.#scripted = null;
    });
    return starting;
  }
}
