import { StintError } from "./error.ts";

/** Reads a reader's place in a log: a seq, as text. @throws {cursor_invalid} */
export function parseSeq(text: string | null | undefined): number {
  if (text === null || text === undefined || text === "") return 0;
  const seq = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(seq)) return seq;
  throw new StintError("cursor_invalid", `"${text.slice(0, 40)}" is no place in a log`);
}

/** Place in a list of sessions, newest first: opaque to readers. */
export interface ListCursor {
  /** Microseconds since 1970, as text: a Date would round them. */
  readonly createdAt: string;
  readonly id: string;
}

const LIST_CURSOR = /^(\d{1,17})\|([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/;

/** Writes a list cursor. */
export function formatListCursor(cursor: ListCursor): string {
  return Buffer.from(`${cursor.createdAt}|${cursor.id}`).toString("base64url");
}

/** Reads a list cursor. @throws {cursor_invalid} */
export function parseListCursor(text: string): ListCursor {
  const match = LIST_CURSOR.exec(Buffer.from(text, "base64url").toString());
  if (!match) throw new StintError("cursor_invalid", "the list cursor is not one of this server");
  return { createdAt: match[1] as string, id: match[2] as string };
}
