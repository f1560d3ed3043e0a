import { PROMPT_BYTES_MAX } from "../core/session.ts";
import { StintError } from "../core/error.ts";

/**
 * An argument as it is, or standard input where it is `-`.
 * @throws {prompt_too_large} beyond the limit of a prompt.
 */
export async function readText(argument: string, stdin: NodeJS.ReadStream): Promise<string> {
  if (argument !== "-") return argument;
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stdin) {
    const buffer = Buffer.from(chunk as Buffer);
    bytes += buffer.length;
    if (bytes > PROMPT_BYTES_MAX) {
      throw new StintError("prompt_too_large", `standard input is over ${PROMPT_BYTES_MAX} bytes`);
    }
    chunks.push(buffer);
  }
  return Buffer.concat(chunks).toString("utf8").trimEnd();
}
