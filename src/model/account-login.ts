import { StintError } from "../core/error.ts";

/** Headers by their names in small letters. */
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Places that serve accounts and no keys: what is asked there is metered by nobody. */
const ACCOUNT_HOSTS =
  /^(?:(?:.+\.)?(?:chatgpt\.com|claude\.ai)|(?:.+-)?cloudcode-pa\.googleapis\.com)$/;

const CLAUDE = "a Claude account";
const CHATGPT = "a ChatGPT account";
const GOOGLE = "a Google account";

/** Whose login a credential is; null for a key, or for what nothing is known of. */
export function findAccountOfKey(key: string): string | null {
  if (key.startsWith("sk-ant-oat")) return CLAUDE;
  if (key.startsWith("ya29.")) return GOOGLE;
  return isSignedToken(key) ? CHATGPT : null;
}

/** Whose login a request carries; null where it carries none. */
export function findAccountOfRequest(headers: Headers): string | null {
  const read = (name: string): string => String(headers[name] ?? "");
  const bearer = /^bearer\s+(\S+)$/i.exec(read("authorization"))?.[1] ?? "";
  const found = [bearer, read("x-api-key"), read("x-goog-api-key")].map(findAccountOfKey);
  const [account] = found.filter((each) => each !== null);
  if (account !== undefined) return account;
  if (read("chatgpt-account-id") !== "") return CHATGPT;
  return /(?:^|,)\s*oauth-/.test(read("anthropic-beta")) ? CLAUDE : null;
}

/** Whether logins of accounts are what a host is for. `host` is in small letters. */
export function isAccountHost(host: string): boolean {
  return ACCOUNT_HOSTS.test(host);
}

/** The error of a login; `what` says where it was found. */
export function refuseLogin(what: string): StintError {
  return new StintError(
    "model_login_unsupported",
    `${what}; logins of accounts have no tokens to be metered and are not supported`,
  );
}

/** A JSON web token: no provider's key has that form. */
function isSignedToken(key: string): boolean {
  return /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/.test(key);
}
