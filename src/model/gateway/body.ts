import { GatewayRefusal } from "./refusal.ts";

/** The body of a request as text. @throws GatewayRefusal 413 over the bound, 400 when it breaks off. */
export async function readBodyText(request: Request, bytesMax: number): Promise<string> {
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLarge(bytesMax);
  try {
    return Buffer.concat(await readBytes(request.body, bytesMax)).toString("utf8");
  } catch (error) {
    if (error instanceof GatewayRefusal) throw error;
    throw new GatewayRefusal(400, "The request ended too early.", { cause: error });
  }
}

async function readBytes(
  body: ReadableStream<Uint8Array> | null,
  bytesMax: number,
): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    chunks.push(chunk);
  }
  return chunks;
}

/** The beginning of a body, as text, and whether there was more; the rest is dropped. Never rejects. */
export async function readBeginning(
  body: ReadableStream<Uint8Array> | null,
  bytesMax: number,
): Promise<{ readonly text: string; readonly isCut: boolean }> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let hasEnded = false;
  try {
    for await (const chunk of body ?? []) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > bytesMax) break;
    }
    hasEnded = bytes <= bytesMax;
  } catch {
    // What came before it broke off is what there is to be said.
  }
  const text = Buffer.concat(chunks).subarray(0, bytesMax).toString("utf8");
  return { text, isCut: !hasEnded };
}

function tooLarge(bytesMax: number): GatewayRefusal {
  return new GatewayRefusal(413, `A request has at most ${bytesMax} bytes.`);
}
