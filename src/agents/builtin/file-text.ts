import type { AttemptContext } from "../../core/attempt.ts";
import type { NewEvent } from "../../core/event.ts";
import { diffLines } from "../../core/line-diff.ts";
import { tellFailure, ToolFailure } from "./tool.ts";

/** Largest file that is edited or compared, in bytes. */
export const FILE_BYTES_MAX = 4_194_304;
/** Largest diff of one event, in bytes. */
const DIFF_BYTES_MAX = 65_536;

/** What is known of a file before it is written. */
export type FormerText =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "absent" | "binary" | "too_large" };

/** The whole text of a file that must be one. @throws {ToolFailure} */
export async function readWholeText(context: AttemptContext, path: string): Promise<string> {
  const former = await readFormerText(context, path);
  if (former.kind === "text") return former.text;
  if (former.kind === "absent") throw new ToolFailure(`${path} does not exist.`);
  if (former.kind === "binary") throw new ToolFailure(`${path} is no UTF-8 text; use a command.`);
  throw new ToolFailure(`${path} is larger than ${FILE_BYTES_MAX} bytes; use a command.`);
}

/** Reads a file for a comparison; being absent, binary or large is an answer, not an error. */
export async function readFormerText(context: AttemptContext, path: string): Promise<FormerText> {
  try {
    const { bytes, truncated } = await context.files.read(path, { bytesMax: FILE_BYTES_MAX });
    if (truncated) return { kind: "too_large" };
    const text = decodeText(bytes);
    return text === null ? { kind: "binary" } : { kind: "text", text };
  } catch (error) {
    const code = (error as { code?: unknown } | null)?.code;
    if (code === "ENOENT" || code === "not_found") return { kind: "absent" };
    return tellFailure(path, Promise.reject(error as Error));
  }
}

/** The text of UTF-8 bytes; null when they are none, or hold a NUL. */
export function decodeText(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Not an error: the caller asked whether it is text.
    return null;
  }
}

/** The event of a write; none when nothing changed. */
export function showChange(change: {
  readonly path: string;
  readonly action: "created" | "modified";
  readonly former: FormerText;
  readonly text: string;
  readonly callId: string;
}): NewEvent[] {
  const { path, action, former, text, callId } = change;
  const isWhole = former.kind === "text" || former.kind === "absent";
  if (!isWhole || text.includes("\u0000")) {
    const why = former.kind === "too_large" ? { diffTruncated: true } : { binary: true };
    return [{ type: "file_change", data: { path, action, callId, ...why } }];
  }
  const before = former.kind === "text" ? former.text : null;
  if (before === text) return [];
  const { patch, truncated } = diffLines(before, text, { path, bytesMax: DIFF_BYTES_MAX });
  const data = { path, action, callId, diff: patch, ...(truncated ? { diffTruncated: true } : {}) };
  return [{ type: "file_change", data }];
}
