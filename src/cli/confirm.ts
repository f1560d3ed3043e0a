import { createInterface } from "node:readline";

/** Reads one line of a person's: true for `y` or `yes`, false for all else and at the end of input. */
export async function readYes(stdin: NodeJS.ReadStream, signal: AbortSignal): Promise<boolean> {
  signal.throwIfAborted();
  const lines = createInterface({ input: stdin, terminal: false });
  const stop = (): void => lines.close();
  signal.addEventListener("abort", stop, { once: true });
  try {
    for await (const line of lines) return /^y(es)?$/i.test(line.trim());
    signal.throwIfAborted();
    return false;
  } finally {
    signal.removeEventListener("abort", stop);
    lines.close();
  }
}
