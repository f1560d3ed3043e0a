import { StintError } from "./error.ts";

/** The request formats in which Stint talks to a model. */
export type ModelWire = "anthropic" | "openai";

/** Where a model comes from: a vendor's API, or the script that the session carries. */
export type ModelProvider = "anthropic" | "openai" | "scripted";

/** A model as a user names it: `anthropic:NAME`, `openai:NAME` or `scripted`. */
export interface ModelChoice {
  readonly provider: ModelProvider;
  /** The name by which the provider knows it; `scripted` for the scripted model. */
  readonly name: string;
}

/**
 * Access to one model for one session. It holds no key that could be read from it: `fetch` adds
 * the key to each request, and sends none to any address outside `baseUrl`.
 */
export interface ModelBinding {
  readonly wire: ModelWire;
  /** The model's name on the wire. */
  readonly modelName: string;
  /**
   * Address without a slash at the end, to which the wire's paths are appended: `/messages` for
   * `anthropic`, `/chat/completions` for `openai`. Ends in `/v1` at both vendors.
   */
  readonly baseUrl: string;
  /**
   * Sends a request with the key. Follows no redirect.
   * @throws {model_error} for an address outside `baseUrl`, and for an answer that redirects.
   */
  readonly fetch: typeof globalThis.fetch;
}

/** The name of the scripted model, as users give it and as it stands on the wire. */
export const SCRIPTED_MODEL = "scripted";

/** Longest name of a model, in characters. */
export const MODEL_NAME_CHARS_MAX = 200;

const VALID_FORMS =
  "Valid forms: anthropic:NAME (as in anthropic:claude-sonnet-4-5), openai:NAME (any model behind an " +
  "OpenAI-compatible API) and scripted (a script stands in for the model; no key needed).";

/**
 * Reads the name of a model. NAME may itself hold colons and slashes.
 * @throws {model_unknown} with the valid forms.
 */
export function parseModelName(model: string): ModelChoice {
  if (model === SCRIPTED_MODEL) return { provider: "scripted", name: SCRIPTED_MODEL };
  const colon = model.indexOf(":");
  const provider = model.slice(0, Math.max(0, colon));
  const name = model.slice(colon + 1);
  if ((provider === "anthropic" || provider === "openai") && isModelName(name)) {
    return { provider, name };
  }
  throw new StintError(
    "model_unknown",
    `The model "${shorten(model)}" is unknown. ${VALID_FORMS}`,
    {
      fields: { model: shorten(model) },
    },
  );
}

function isModelName(name: string): boolean {
  return /^[^\s\p{C}]+$/u.test(name) && name.length <= MODEL_NAME_CHARS_MAX;
}

/** What was given, fit to stand in a message: cut, and without what a log could not hold. */
function shorten(model: string): string {
  return model.slice(0, 60).replace(/\p{C}/gu, "?");
}
