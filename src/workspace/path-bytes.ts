import type { Dirent } from "node:fs";
import { opendir } from "node:fs/promises";

/**
 * Names of files are bytes; here paths are strings. A byte that is part of no UTF-8 text stands in
 * them as a lone surrogate, U+DC80 to U+DCFF, which no text decodes to: every name survives the way
 * there and back, and names that are text are themselves. What people or agents are shown has to be
 * made well-formed.
 */
const ESCAPE = 0xdc00;
const CONTINUED_MAX = 3;

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The path that these bytes are. */
export function decodePath(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  if (!text.includes("\uFFFD") || Buffer.from(text).equals(bytes)) return text;
  let path = "";
  for (let at = 0; at < bytes.length;) {
    const character = readCharacter(bytes, at);
    if (character === null) path += String.fromCharCode(ESCAPE + bytes.readUInt8(at));
    else path += character;
    at += character === null ? 1 : Buffer.byteLength(character);
  }
  return path;
}

/** The bytes of a path, or of several with separators between them. */
export function encodePath(path: string): Buffer {
  if (path.isWellFormed()) return Buffer.from(path);
  const parts = Array.from(path, (character) => {
    const code = character.charCodeAt(0) - ESCAPE;
    const isEscape = character.length === 1 && code >= 0x80 && code <= 0xff;
    return isEscape ? Buffer.of(code) : Buffer.from(character);
  });
  return Buffer.concat(parts);
}

/** A path as the functions of the file system take it. */
export function toSystemPath(path: string): string | Buffer {
  return path.isWellFormed() ? path : encodePath(path);
}

/** The entries of a folder, with their names as they are. Rejects with the system's error. */
export async function* readFolder(
  path: string,
): AsyncGenerator<{ readonly name: string; readonly entry: Dirent }> {
  const options = { encoding: "buffer" as BufferEncoding };
  for await (const entry of await opendir(toSystemPath(path), options)) {
    const name: unknown = entry.name;
    yield { name: decodePath(name as Buffer), entry };
  }
}

/** The one character of UTF-8 that begins there; null when none does. */
function readCharacter(bytes: Buffer, at: number): string | null {
  for (let length = 1; length <= CONTINUED_MAX + 1 && at + length <= bytes.length; length += 1) {
    try {
      return strict.decode(bytes.subarray(at, at + length));
    } catch {
      // Not yet whole, or no character at all.
    }
  }
  return null;
}
