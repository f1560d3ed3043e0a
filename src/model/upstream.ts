import { StintError } from "../core/error.ts";
import type { ModelProvider } from "../core/model.ts";
import { findAccountOfKey, refuseLogin } from "./account-login.ts";

const VENDOR_BASE_URLS = {
  anthropic: "https://api.anthropic.com/v1",
  openai: "https://api.openai.com/v1",
  gemini: "https://generativelanguage.googleapis.com",
} as const;

/** A provider's API as it is reached from here, with the key. */
export interface Upstream {
  readonly provider: ModelProvider;
  /** Without a slash at its end. With the version for `anthropic` and `openai`, without for `gemini`. */
  readonly baseUrl: string;
  /** What carries the key; set on each request in place of whatever the client sent. */
  readonly authHeaders: Readonly<Record<string, string>>;
  /** The key, to be kept out of everything that is shown; empty where there is none. */
  readonly secrets: readonly string[];
  /** Whether it is the vendor's own address, for which its prices hold. */
  readonly isVendorOwn: boolean;
}

/** Where keys and base URLs are looked for. */
export type ModelEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * Finds a vendor's API. Keys come from `ANTHROPIC_API_KEY`, `OPENAI_API_KEY` and `GEMINI_API_KEY`
 * or `GOOGLE_API_KEY`; base URLs from `ANTHROPIC_BASE_URL` (with or without `/v1` at its end),
 * `OPENAI_BASE_URL` (complete, as in `http://localhost:11434/v1`) and `GEMINI_BASE_URL` or
 * `GOOGLE_GEMINI_BASE_URL` (without a version). With `OPENAI_BASE_URL` set, the key may be
 * missing, as local servers need none. An empty variable counts as missing.
 *
 * @throws {model_key_missing} {model_login_unsupported} naming the variable.
 * @throws {config_invalid} for a variable that cannot be used.
 */
export function resolveUpstream(
  provider: Exclude<ModelProvider, "scripted">,
  env: ModelEnvironment,
  /** What needs it, for the message. */
  wantedFor: string = `a model of ${provider}`,
): Upstream {
  const keys = {
    anthropic: ["ANTHROPIC_API_KEY"],
    openai: ["OPENAI_API_KEY"],
    gemini: ["GEMINI_API_KEY", "GOOGLE_API_KEY"],
  } as const;
  const key = readFirst(keys[provider], (variable) => readKey(env, variable));
  const given = readGivenUrl(provider, env);
  if (key === null && !(provider === "openai" && given !== null)) {
    throw missingKey(keys[provider].join(" or "), wantedFor);
  }
  const isVendorOwn = given === null || given === VENDOR_BASE_URLS[provider];
  const account = key === null ? null : findAccountOfKey(key);
  // A gateway of one's own may take signed tokens of its own.
  if (account !== null && (isVendorOwn || provider !== "openai")) {
    throw refuseLogin(`${keys[provider].join(" or ")} holds the login of ${account}`);
  }
  return {
    provider,
    baseUrl: given ?? VENDOR_BASE_URLS[provider],
    authHeaders: key === null ? {} : writeAuth(provider, key),
    secrets: key === null ? [] : [key],
    isVendorOwn,
  };
}

function readGivenUrl(provider: Upstream["provider"], env: ModelEnvironment): string | null {
  if (provider === "anthropic") {
    return readBaseUrl(env, "ANTHROPIC_BASE_URL")?.replace(/(\/v1)?$/, "/v1") ?? null;
  }
  if (provider === "openai") return readBaseUrl(env, "OPENAI_BASE_URL");
  const variables = ["GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"] as const;
  return readFirst(variables, (variable) => readBaseUrl(env, variable));
}

function writeAuth(provider: Upstream["provider"], key: string): Record<string, string> {
  if (provider === "anthropic") return { "x-api-key": key };
  return provider === "gemini" ? { "x-goog-api-key": key } : { authorization: `Bearer ${key}` };
}

function missingKey(variable: string, wantedFor: string): StintError {
  return new StintError("model_key_missing", `${variable} is not set; ${wantedFor} needs it.`, {
    fields: { variable, model: wantedFor },
  });
}

function readFirst<T>(names: readonly string[], read: (name: string) => T | null): T | null {
  for (const name of names) {
    const found = read(name);
    if (found !== null) return found;
  }
  return null;
}

/** A key as a header can carry it: fetch would print a broken one in its error. */
function readKey(env: ModelEnvironment, variable: string): string | null {
  const key = env[variable]?.trim();
  if (key === undefined || key === "") return null;
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw new StintError("config_invalid", `${variable} holds characters that no key has.`, {
    fields: { variable },
  });
}

/** The base URL without a slash at its end. */
function readBaseUrl(env: ModelEnvironment, variable: string): string | null {
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
