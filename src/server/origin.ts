/**
 * A server on a loopback address is reachable by every web page that the user opens: by a name that
 * points to 127.0.0.1 (DNS rebinding) or across origins. Both are refused by their headers.
 */
import type { Context } from "hono";
import { StintError } from "../core/error.ts";

/** Whether an address can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").toLowerCase();
  return (
    name === "localhost" ||
    name.endsWith(".localhost") ||
    name === "::1" ||
    /^127(\.\d{1,3}){3}$/.test(name)
  );
}

/**
 * Refuses a request to a loopback server that names another host or comes from another origin.
 * @throws {forbidden_origin}
 */
export function assertLocalRequest(c: Context): void {
  const host = c.req.header("host") ?? new URL(c.req.url).host;
  if (!isLoopback(nameOf(host))) {
    throw new StintError("forbidden_origin", "the Host header names another host");
  }
  const origin = c.req.header("origin");
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) {
    throw new StintError("forbidden_origin", "the request comes from another origin");
  }
}

function nameOf(host: string): string {
  return host.replace(/:\d*$/, "");
}
