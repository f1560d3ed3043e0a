/** As much of a browser's EventSource as a page needs: reads, comes back with its place, obeys 204. */
export class FetchEventSource {
  onmessage: ((message: { data: string; lastEventId: string }) => void) | null = null;
  #lastEventId = "";
  static readonly #endings: Promise<void>[] = [];

  constructor(url: URL | string) {
    FetchEventSource.#endings.push(this.#read(String(url)));
  }

  /** Resolves when every source was told that nothing will come any more. */
  static async allClosed(): Promise<void> {
    await Promise.all(FetchEventSource.#endings);
  }

  async #read(url: string): Promise<void> {
    // The caller sets its handler after construction.
    await Promise.resolve();
    for (;;) {
      const headers = this.#lastEventId === "" ? {} : { "last-event-id": this.#lastEventId };
      const response = await fetch(url, { headers });
      if (response.status === 204) return;
      if (!response.ok) throw new Error(await response.text());
      for (const message of parseStream(await response.text())) {
        if (message.data === null) continue;
        this.#lastEventId = message.id;
        this.onmessage?.({ data: message.data, lastEventId: message.id });
      }
    }
  }
}

/** The messages of an event stream; `data` is null for one that carries none. */
export function parseStream(text: string): { id: string; data: string | null }[] {
  return text
    .split("\n\n")
    .filter((part) => part.trim() !== "")
    .map((part) => {
      const field = (name: string) =>
        part
          .split("\n")
          .find((line) => line.startsWith(`${name}: `))
          ?.slice(name.length + 2);
      return { id: field("id") ?? "", data: field("data") ?? null };
    });
}
