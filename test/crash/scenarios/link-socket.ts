import { Duplex } from "node:stream";

/**
 * The client's end of a connection through a link: to the client a socket, but nothing of the
 * network lies behind it, so that what it sends costs no more than a call.
 */
export class LinkSocket extends Duplex {
  readonly #onConnect: (socket: LinkSocket) => void;
  #receive: (chunk: Buffer) => void = () => undefined;

  constructor(onConnect: (socket: LinkSocket) => void) {
    super();
    this.#onConnect = onConnect;
  }

  connect(): this {
    setImmediate(() => {
      if (this.destroyed) return;
      this.#onConnect(this);
      this.emit("connect");
    });
    return this;
  }

  /** Takes what the client sends: what it writes at once comes as one. */
  onSent(receive: (chunk: Buffer) => void): void {
    this.#receive = receive;
  }

  /** Brings bytes to the client. */
  deliver(chunk: Buffer): void {
    if (!this.destroyed) this.push(chunk);
  }

  override _read(): void {
    // Bytes are delivered as they come.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#receive(chunk);
    done();
  }

  override _writev(writes: readonly { readonly chunk: Buffer }[], done: () => void): void {
    this.#receive(Buffer.concat(writes.map(({ chunk }) => chunk)));
    done();
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}
