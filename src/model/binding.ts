import { StintError } from "../core/error.ts";
import { type ModelBinding, type ModelWire, parseModelName } from "../core/model.ts";
import { createBoundFetch } from "./bound-fetch.ts";
import { scriptedBaseUrlFor } from "./scripted/address.ts";

const ANTHROPIC_BASE_URL = "https://api.anthropic.com/v1";
const OPENAI_BASE_URL = "https://api.openai.com/v1";

/** What a model is bound from. */
export interface BindModelOptions {
  /** `anthropic:NAME`, `openai:NAME` or `scripted`. */
  readonly model: string;
  readonly sessionId: string;
  /** Where keys and base URLs are looked for; nothing else of the environment is read. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Address of the scripted model server; needed for `scripted` only. */
  readonly scriptedBaseUrl?: string;
  /** The wire on which the scripted model is spoken to. @default "anthropic" */
  readonly scriptedWire?: ModelWire;
  /** Sends the requests. @default the global fetch */
  readonly fetch?: typeof globalThis.fetch;
}

/**
 * Binds a session to its model. Keys come from `ANTHROPIC_API_KEY` and `OPENAI_API_KEY`; base URLs
 * from `ANTHROPIC_BASE_URL` (with or without `/v1` at its end) and `OPENAI_BASE_URL` (complete, as
 * in `http://localhost:11434/v1`), by default the vendors' own. With `OPENAI_BASE_URL` set, the
 * key may be missing, as local servers need none. An empty variable counts as missing.
 *
 * A client library that insists on a key is given any text: the binding's `fetch` replaces it.
 *
 * @throws {model_unknown} for a name of no known form, or `scripted` where no server of it runs.
 * @throws {model_key_missing} naming the variable.
 * @throws {config_invalid} for a variable that cannot be used.
 */
export function bindModel(options: BindModelOptions): ModelBinding {
  const { env, sessionId } = options;
  const { provider, name } = parseModelName(options.model);
  const fetch = options.fetch ?? globalThis.fetch;
  if (provider === "scripted") {
    if (options.scriptedBaseUrl === undefined) {
      throw new StintError("model_unknown", "No scripted model runs here.", {
        remedy: "Use anthropic:NAME or openai:NAME, or start a worker with the scripted model.",
      });
    }
    const wire = options.scriptedWire ?? "anthropic";
    const baseUrl = scriptedBaseUrlFor(options.scriptedBaseUrl, sessionId, wire);
    return bind(wire, name, baseUrl, {}, fetch);
  }
  if (provider === "anthropic") {
    const key = readKey(env, "ANTHROPIC_API_KEY");
    if (key === null) throw missingKey("ANTHROPIC_API_KEY", options.model);
    const given = readBaseUrl(env, "ANTHROPIC_BASE_URL");
    const baseUrl = given === null ? ANTHROPIC_BASE_URL : given.replace(/(\/v1)?$/, "/v1");
    return bind("anthropic", name, baseUrl, { "x-api-key": key }, fetch);
  }
  const key = readKey(env, "OPENAI_API_KEY");
  const given = readBaseUrl(env, "OPENAI_BASE_URL");
  if (key === null && given === null) throw missingKey("OPENAI_API_KEY", options.model);
  const headers = key === null ? {} : { authorization: `Bearer ${key}` };
  return bind("openai", name, given ?? OPENAI_BASE_URL, headers, fetch);
}

function bind(
  wire: ModelWire,
  modelName: string,
  baseUrl: string,
  authHeaders: Readonly<Record<string, string>>,
  fetch: typeof globalThis.fetch,
): ModelBinding {
  return { wire, modelName, baseUrl, fetch: createBoundFetch({ baseUrl, authHeaders, fetch }) };
}

function missingKey(variable: string, model: string): StintError {
  return new StintError("model_key_missing", `${variable} is not set; ${model} needs it.`, {
    fields: { variable, model },
  });
}

/** A key as a header can carry it: fetch would print a broken one in its error. */
function readKey(env: BindModelOptions["env"], variable: string): string | null {
  const key = env[variable]?.trim();
  if (key === undefined || key === "") return null;
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw new StintError("config_invalid", `${variable} holds characters that no key has.`, {
    fields: { variable },
  });
}

/** The base URL without a slash at its end. */
function readBaseUrl(env: BindModelOptions["env"], variable: string): string | null {
  const given = env[variable]?.trim();
  if (given === undefined || given === "") return null;
  const url = URL.canParse(given) ? new URL(given) : null;
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  if (!url || !isHttp || url.username || url.password || url.search || url.hash) {
    throw new StintError(
      "config_invalid",
      `${variable} must be an http or https URL without user, query and fragment.`,
      { fields: { variable } },
    );
  }
  return url.href.replace(/\/+$/, "");
}
