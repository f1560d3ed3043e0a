import { BlockList, isIP, isIPv6 } from "node:net";
import { StintError } from "../../core/error.ts";

/** Ports of an entry that names none. */
const PORTS_DEFAULT: readonly number[] = [80, 443];

interface Entry {
  readonly matches: (host: string) => boolean;
  readonly port: number | null;
  /** Addresses that the entry names itself, so that they may be private ones. */
  readonly addresses: BlockList | null;
}

/** Which hosts agents may reach: the setting `egressAllow`. */
export class EgressList {
  readonly #entries: readonly Entry[];

  /**
   * Entries are `HOST`, `HOST:PORT`, `*.DOMAIN`, an address or a range (`10.1.0.0/16`), IPv6 in
   * brackets. Without a port, 80 and 443 are meant. @throws {config_invalid}
   */
  constructor(entries: readonly string[]) {
    this.#entries = entries.map(readEntry);
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Whether a host, as a client names it, is on the list. */
  allowsHost(host: string, port: number): boolean {
    return this.#entries.some(
      (entry) =>
        (entry.port === null ? PORTS_DEFAULT.includes(port) : entry.port === port) &&
        (entry.matches(host) || contains(entry.addresses, host)),
    );
  }

  /** Whether some port of a host is on the list. */
  namesHost(host: string): boolean {
    return this.#entries.some((entry) => entry.matches(host) || contains(entry.addresses, host));
  }

  /** Whether an address is on the list by itself. */
  allowsAddress(address: string, port: number): boolean {
    return this.#entries.some(
      (entry) =>
        (entry.port === null ? PORTS_DEFAULT.includes(port) : entry.port === port) &&
        contains(entry.addresses, address),
    );
  }
}

function contains(list: BlockList | null, address: string): boolean {
  if (list === null || isIP(address) === 0) return false;
  return list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

function readEntry(text: string): Entry {
  const found = /^(?:\[([0-9a-f:.]+)\]|([^\s:[\]]+))(?::(\d{1,5}))?$/i.exec(text.trim());
  const host = (found?.[1] ?? found?.[2] ?? "").toLowerCase();
  const port = found?.[3] === undefined ? null : Number(found[3]);
  if (port !== null && (port < 1 || port > 65_535)) throw invalid(text);
  const [address = "", bits] = host.split("/");
  if (isIP(address) !== 0) {
    return { matches: () => false, port, addresses: readRange(address, bits, text) };
  }
  if (
    !/^(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$/.test(host)
  ) {
    throw invalid(text);
  }
  const matches = host.startsWith("*.")
    ? (name: string) => name.endsWith(host.slice(1)) && name.length > host.length - 1
    : (name: string) => name === host;
  return { matches, port, addresses: null };
}

function readRange(address: string, bits: string | undefined, text: string): BlockList {
  const list = new BlockList();
  const family = isIPv6(address) ? "ipv6" : "ipv4";
  const widest = family === "ipv6" ? 128 : 32;
  const width = bits === undefined ? widest : Number(bits);
  if (!Number.isInteger(width) || width < 0 || width > widest) throw invalid(text);
  list.addSubnet(address, width, family);
  return list;
}

function invalid(text: string): StintError {
  return new StintError(
    "config_invalid",
    `egressAllow: "${text.slice(0, 100)}" is no host, *.domain, address or range, with or without a port`,
  );
}
