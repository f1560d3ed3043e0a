import { StintError } from "./error.ts";

/** The request formats in which Stint talks to a model. */
export type ModelWire = "anthropic" | "openai";

/** Where a model comes from: a vendor's API, or the script that the session carries. */
export type ModelProvider = "anthropic" | "openai" | "gemini" | "scripted";

/** A model as a user names it: `anthropic:NAME`, `openai:NAME`, `gemini:NAME` or `scripted`. */
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

/** The base URLs that agents are configured with, each as its agents want it. */
export interface ModelDoorUrls {
  /** For `ANTHROPIC_BASE_URL`: `/v1/messages` is appended. */
  readonly anthropic: string;
  /** For `OPENAI_BASE_URL` and the like: ends in `/v1`; `/responses`, `/chat/completions` follow. */
  readonly openai: string;
  /** For `GOOGLE_GEMINI_BASE_URL`: `/v1beta/models/NAME:streamGenerateContent` is appended. */
  readonly gemini: string;
}

/** What tokens of a model cost, in US dollars per million. */
export interface ModelPrice {
  readonly input: number;
  readonly output: number;
  /** @default input */
  readonly cacheRead?: number | undefined;
  /** @default input */
  readonly cacheWrite?: number | undefined;
  /** Written to be kept for an hour. @default cacheWrite */
  readonly cacheWriteLong?: number | undefined;
  /** Holds for the whole of a request with more input tokens. */
  readonly long?:
    { readonly aboveInputTokens: number; readonly price: Omit<ModelPrice, "long"> } | undefined;
}

/**
 * Which models an agent may call beside its session's own: none (`session`), those of the same
 * provider (`provider`), or those of every provider that has a key (`any`).
 */
export type ModelPolicy = "session" | "provider" | "any";

/**
 * The way to models for an agent that is a program of its own: the gateway of its attempt. What
 * the agent gets is the token and an address; the real keys stay on this side.
 */
export interface ModelDoor {
  /**
   * Unix socket on this host, fit to be bound into a sandbox without network. Inside, the program
   * at `bridgePath` listens on loopback and pipes to it: `node bridgePath SOCKET PORT COMMAND…`.
   */
  readonly socketPath: string;
  /** The bridge as a program, compiled; it starts COMMAND as its child and ends as it ends. */
  readonly bridgePath: string;
  /** Origin of the same door on loopback, where there is no sandbox. */
  readonly tcpUrl: string;
  /**
   * Stands for the key, as bearer token, `x-api-key`, `x-goog-api-key` or password of a proxy. It
   * is worth nothing outside this attempt.
   */
  readonly token: string;
  /** The base URLs at `tcpUrl`. */
  readonly urls: ModelDoorUrls;
  /** The base URLs at another origin, as that of a bridge inside a sandbox. */
  urlsAt(origin: string): ModelDoorUrls;
  /**
   * `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the door at an origin, in both cases; none where no
   * host is allowed. Their password opens the proxy, and no model.
   */
  proxyEnvironmentAt(origin: string): Readonly<Record<string, string>>;
}

/** Where a program in a sandbox without network finds the door. */
export const DOOR_ORIGIN_INSIDE = "http://127.0.0.1:4010";

/** The base URLs of a door at an origin. */
export function doorUrlsAt(origin: string): ModelDoorUrls {
  return {
    anthropic: `${origin}/anthropic`,
    openai: `${origin}/openai/v1`,
    gemini: `${origin}/gemini`,
  };
}

/** The name of the scripted model, as users give it and as it stands on the wire. */
export const SCRIPTED_MODEL = "scripted";

/** Longest name of a model, in characters. */
export const MODEL_NAME_CHARS_MAX = 200;

const VALID_FORMS =
  "Valid forms: anthropic:NAME (as in anthropic:claude-sonnet-4-5), openai:NAME (any model behind an " +
  "OpenAI-compatible API), gemini:NAME and scripted (a script stands in for the model; no key needed).";

/**
 * Reads the name of a model. NAME may itself hold colons and slashes.
 * @throws {model_unknown} with the valid forms.
 */
export function parseModelName(model: string): ModelChoice {
  if (model === SCRIPTED_MODEL) return { provider: "scripted", name: SCRIPTED_MODEL };
  const colon = model.indexOf(":");
  const provider = model.slice(0, Math.max(0, colon));
  const name = model.slice(colon + 1);
  if (isVendor(provider) && isModelName(name)) return { provider, name };
  throw new StintError(
    "model_unknown",
    `The model "${shorten(model)}" is unknown. ${VALID_FORMS}`,
    {
      fields: { model: shorten(model) },
    },
  );
}

function isVendor(provider: string): provider is Exclude<ModelProvider, "scripted"> {
  return provider === "anthropic" || provider === "openai" || provider === "gemini";
}

function isModelName(name: string): boolean {
  return /^[^\s\p{C}]+$/u.test(name) && name.length <= MODEL_NAME_CHARS_MAX;
}

/** What was given, fit to stand in a message: cut, and without what a log could not hold. */
function shorten(model: string): string {
  return model.slice(0, 60).replace(/\p{C}/gu, "?");
}
