import { type ModelWire } from "../../core/model.ts";

/** A request's place on the scripted model server. */
export interface ScriptedAddress {
  readonly sessionId: string;
  readonly wire: ModelWire;
  /** The path below the base URL, as in `/messages`. */
  readonly path: string;
}

/** The base URL of one session's scripted model, given the address of the server. */
export function scriptedBaseUrlFor(serverUrl: string, sessionId: string, wire: ModelWire): string {
  return `${serverUrl.replace(/\/+$/, "")}/sessions/${encodeURIComponent(sessionId)}/${wire}/v1`;
}

/** Reads a path as `scriptedBaseUrlFor` makes them; null for any other. */
export function readScriptedAddress(requestTarget: string): ScriptedAddress | null {
  const match = /^\/sessions\/([^/?#]{1,600})\/(anthropic|openai)\/v1(\/[^?#]*)/.exec(
    requestTarget,
  );
  if (!match) return null;
  const [, encodedId = "", wire, path = ""] = match;
  const sessionId = decode(encodedId);
  return sessionId === null ? null : { sessionId, wire: wire as ModelWire, path };
}

function decode(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded);
  } catch {
    // Broken percent encoding: no session has such an id.
    return null;
  }
}
