import { lookup } from "node:dns/promises";
import { type IncomingMessage, request as sendRequest, type ServerResponse } from "node:http";
import { connect, isIP } from "node:net";
import type { Duplex } from "node:stream";
import type { StintError } from "../../core/error.ts";
import type { Logger } from "../../core/log.ts";
import { findAccountOfRequest, isAccountHost, refuseLogin } from "../account-login.ts";
import { isPrivateAddress } from "./address-range.ts";
import type { EgressList } from "./egress-list.ts";

/** Tunnels and plain requests of one attempt at a time. */
export const TUNNELS_MAX = 64;

const CONNECT_TIMEOUT_MS = 15_000;
/** A tunnel in which nothing moves for so long is closed. */
const IDLE_TIMEOUT_MS = 600_000;

/** What egress works with. */
export interface EgressOptions {
  /** What may be reached. */
  readonly list: EgressList;
  readonly log: Logger;
  /** Told that an agent goes where only logins of accounts are served, though that is listed. */
  readonly onLogin?: (error: StintError) => void;
  /** Resolves a name. @default the resolver of this host */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
}

/** The agent's end of a tunnel or of a plain request. */
type Client = Duplex | ServerResponse;

/** Where a request may go: an address that was checked, so that no later answer of DNS counts. */
interface Target {
  readonly host: string;
  readonly port: number;
  readonly address: string;
}

type Verdict = { readonly target: Target } | { readonly refusal: string };

/**
 * The way from an agent to other hosts than models: a proxy that lets through what is listed. Names
 * are resolved here, and a listed name that points into a private network is refused, unless the
 * address is listed too.
 */
export class Egress {
  readonly #options: EgressOptions;
  readonly #open = new Set<Client>();

  constructor(options: EgressOptions) {
    this.#options = options;
  }

  /** Whether there is any host to reach. */
  get isOpen(): boolean {
    return !this.#options.list.isEmpty;
  }

  /** The hosts among these of which nothing is listed: they are reached without the proxy. */
  listDirect(hosts: readonly string[]): readonly string[] {
    return hosts.filter((host) => !this.#options.list.namesHost(host));
  }

  /** Answers CONNECT: bytes are piped, TLS stays between agent and host. */
  async tunnel(request: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    client.on("error", () => client.destroy());
    const place = readAuthority(request.url ?? "");
    const verdict = await this.#judge(place, client);
    if ("refusal" in verdict) {
      this.#report(verdict.refusal);
      client.end(writeRefusal(verdict.refusal));
      return;
    }
    const { address, port } = verdict.target;
    const upstream = connect({ host: address, port, timeout: CONNECT_TIMEOUT_MS });
    const close = (): void => {
      client.destroy();
      upstream.destroy();
    };
    upstream.once("connect", () => {
      upstream.setTimeout(IDLE_TIMEOUT_MS);
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      if (head.length > 0) upstream.write(head);
      upstream.pipe(client);
      client.pipe(upstream);
    });
    upstream.once("error", () => {
      if (upstream.bytesRead === 0 && client.writable) client.end(writeGatewayFailure());
      close();
    });
    for (const event of ["timeout", "close"] as const) upstream.once(event, close);
    client.once("close", close);
  }

  /** Answers a request in absolute form, as plain HTTP goes through a proxy. */
  async forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = URL.canParse(request.url ?? "") ? new URL(request.url ?? "") : null;
    const isHttp = url?.protocol === "http:" && url.username === "" && url.password === "";
    const place = isHttp ? { host: readHost(url.hostname), port: Number(url.port || 80) } : null;
    const account = findAccountOfRequest(request.headers);
    const verdict =
      account === null
        ? await this.#judge(place, response)
        : this.#refuseLogin(`the agent presents the login of ${account}`);
    if ("refusal" in verdict || url === null) {
      const refusal = "refusal" in verdict ? verdict.refusal : "no address";
      this.#report(refusal);
      response.writeHead(403, { "content-type": "text/plain" }).end(`${refusal}\n`);
      return;
    }
    const { address, port } = verdict.target;
    const upstream = sendRequest({
      host: address,
      port,
      method: request.method ?? "GET",
      path: `${url.pathname}${url.search}`,
      headers: { ...dropHopHeaders(request.headers), host: url.host },
      setHost: false,
      timeout: IDLE_TIMEOUT_MS,
    });
    upstream.on("response", (answer) => {
      response.writeHead(answer.statusCode ?? 502, dropHopHeaders(answer.headers));
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    upstream.on("timeout", () => upstream.destroy());
    upstream.on("error", () => {
      if (response.headersSent) response.destroy();
      else response.writeHead(502, { "content-type": "text/plain" }).end("not reached\n");
    });
    response.on("close", () => upstream.destroy());
    request.pipe(upstream);
  }

  /** Ends all that is open. */
  close(): void {
    for (const client of this.#open) client.destroy();
  }

  /** One that is let in counts until it is closed, also while its name is looked up. */
  async #judge(
    place: { readonly host: string; readonly port: number } | null,
    client: Client,
  ): Promise<Verdict> {
    if (place === null) return { refusal: "egress: the request names no host and port" };
    const { host, port } = place;
    const shown = `${host.slice(0, 253)}:${port}`;
    if (this.#open.size >= TUNNELS_MAX)
      return { refusal: "egress: too many connections at a time" };
    this.#open.add(client);
    client.once("close", () => this.#open.delete(client));
    if (!this.#options.list.allowsHost(host, port)) {
      return { refusal: `egress: ${shown} is not on the list (setting egressAllow)` };
    }
    if (isAccountHost(host)) return this.#refuseLogin(`the agent connects to ${shown}`);
    const addresses = await this.#resolve(host);
    const usable = addresses.filter(
      (address) => !isPrivateAddress(address) || this.#options.list.allowsAddress(address, port),
    );
    const [address] = usable;
    if (address !== undefined) return { target: { host, port, address } };
    if (addresses.length === 0) return { refusal: `egress: ${shown} has no address` };
    return { refusal: `egress: ${shown} leads into a private network, which is not listed itself` };
  }

  #refuseLogin(what: string): { readonly refusal: string } {
    const error = refuseLogin(what);
    this.#options.onLogin?.(error);
    return { refusal: `egress: ${error.code}: ${error.message}` };
  }

  async #resolve(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    try {
      if (this.#options.resolve) return await this.#options.resolve(host);
      return (await lookup(host, { all: true })).map(({ address }) => address);
    } catch {
      // A name that does not resolve has no address; the refusal says so.
      return [];
    }
  }

  #report(refusal: string): void {
    this.#options.log.warn({ refusal }, "An agent's connection was refused");
  }
}

function readAuthority(authority: string): { readonly host: string; readonly port: number } | null {
  const found = /^(\[[0-9a-fA-F:.]+\]|[^\s:/?#@[\]\\]{1,253}):(\d{1,5})$/.exec(authority);
  const port = Number(found?.[2]);
  return found?.[1] === undefined || port < 1 || port > 65_535
    ? null
    : { host: readHost(found[1]), port };
}

/** Decimal, octal and hexadecimal forms of an address become the one form that is judged. */
function readHost(written: string): string {
  const url = `http://${written}/`;
  const host = URL.canParse(url) ? new URL(url).hostname : "";
  return host
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
}

const HOP_HEADERS = new Set([
  "connection",
  "proxy-connection",
  "proxy-authorization",
  "proxy-authenticate",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

function dropHopHeaders(headers: IncomingMessage["headers"]): IncomingMessage["headers"] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_HEADERS.has(name)));
}

function writeRefusal(reason: string): string {
  const body = `${reason}\n`;
  const head = [
    "HTTP/1.1 403 Forbidden",
    "content-type: text/plain",
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

function writeGatewayFailure(): string {
  return "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
}
