import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What a proxy does to what passes through it. */
export type Interference = "pass" | "drop-request" | "drop-answer" | "swallow-answer";

/**
 * A TCP proxy before Postgres that loses requests or answers on demand: the connection is cut
 * before the server got the request, or after the server acted on it.
 */
export class AnswerProxy {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #choose: (bytes: number) => Interference = () => "pass";
  /** Connections cut so far. */
  cuts = 0;

  private constructor(server: Server, targetUrl: string) {
    this.#server = server;
    const url = new URL(targetUrl);
    url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.url = url.href;
  }

  static async start(targetUrl: string): Promise<AnswerProxy> {
    const target = new URL(targetUrl);
    const server = createServer((client) => {
      const upstream = connect(Number(target.port), target.hostname);
      proxy.#join(client, upstream);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const proxy: AnswerProxy = new AnswerProxy(server, targetUrl);
    return proxy;
  }

  /** Asked for each request that calls append_events, with its size. */
  interfere(choose: (bytes: number) => Interference): void {
    this.#choose = choose;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket, upstream: Socket): void {
    let pending: Interference = "pass";
    const cut = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        cut();
      });
      socket.on("error", cut);
    }
    client.on("data", (chunk: Buffer) => {
      // A Bind of the named statement starts every call.
      if (chunk.includes("\0append_events\0")) pending = this.#choose(chunk.length);
      if (pending === "drop-request") {
        this.cuts++;
        cut();
        return;
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk: Buffer) => {
      if (pending === "pass") {
        client.write(chunk);
        return;
      }
      if (pending === "swallow-answer") return;
      this.cuts++;
      cut();
    });
  }
}
