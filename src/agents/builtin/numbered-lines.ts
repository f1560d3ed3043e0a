import type { WorkspaceFiles } from "../../core/workspace.ts";
import { tellFailure, ToolFailure } from "./tool.ts";

const LINES_MAX = 2_000;
const LINE_CHARS_MAX = 2_000;
const RESULT_BYTES_MAX = 49_152;
const READ_BYTES = 262_144;
/** Bytes that are read to reach a line far down. */
const SCAN_BYTES_MAX = 67_108_864;

/**
 * Lines of a file with their numbers, from `offset` (1 is the first); bounded in lines, in length
 * of a line and in bytes, each with a note of what is missing.
 * @throws {ToolFailure} for a file that cannot be read, or holds no text.
 */
export async function readNumberedLines(
  files: WorkspaceFiles,
  path: string,
  offset: number,
  limit: number = LINES_MAX,
): Promise<string> {
  const lines: string[] = [];
  let bytes = 0;
  let number = 0;
  for await (const line of iterateLines(files, path)) {
    number++;
    if (number < offset) continue;
    const shown = `${String(number).padStart(6)}\t${shorten(line)}`;
    bytes += Buffer.byteLength(shown) + 1;
    if (lines.length >= Math.min(limit, LINES_MAX) || bytes > RESULT_BYTES_MAX) {
      lines.push(`[cut: the file goes on; next is line ${number}]`);
      return lines.join("\n");
    }
    lines.push(shown);
  }
  if (lines.length > 0) return lines.join("\n");
  if (number === 0) return "(empty file)";
  throw new ToolFailure(`${path} has only ${number} lines.`);
}

function shorten(line: string): string {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (text.length <= LINE_CHARS_MAX) return text;
  return `${text.slice(0, LINE_CHARS_MAX).toWellFormed()}… [line cut]`;
}

/** The lines of a file, read piece by piece; a line beyond the bound of one read comes cut. */
async function* iterateLines(files: WorkspaceFiles, path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let rest = "";
  for (let place = 0; ;) {
    const options = { offset: place, bytesMax: READ_BYTES };
    const { bytes, truncated } = await tellFailure(path, files.read(path, options));
    if (place === 0 && bytes.subarray(0, 8_192).includes(0)) {
      throw new ToolFailure(`${path} is a binary file; use a command.`);
    }
    place += bytes.length;
    const pieces = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = pieces.pop() ?? "";
    yield* pieces;
    rest = rest.slice(0, READ_BYTES);
    if (!truncated || bytes.length === 0) break;
    if (place >= SCAN_BYTES_MAX) {
      throw new ToolFailure(`${path} is too large to be read so far down; use a command.`);
    }
  }
  if (rest !== "") yield rest;
}
