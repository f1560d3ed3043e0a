import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A TCP proxy that cuts each connection after a number of bytes of the answer. */
export interface CuttingProxy {
  readonly url: string;
  /** Connections cut so far. */
  readonly cuts: () => number;
  close(): Promise<void>;
}

/** Starts a proxy to a port of this host; `chooseBytes` says after how many bytes to cut. */
export async function startCuttingProxy(
  targetPort: () => number,
  chooseBytes: () => number,
): Promise<CuttingProxy> {
  let cuts = 0;
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(targetPort(), "127.0.0.1");
    let left = chooseBytes();
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
      socket.on("error", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.on("data", (chunk: Buffer) => {
      client.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (left > 0) return;
      cuts++;
      upstream.destroy();
      client.destroy();
    });
    upstream.on("end", () => client.end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    cuts: () => cuts,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
