import { ToolFailure } from "./tool.ts";

/** A replacement of text in a file. */
export interface ExactEdit {
  readonly find: string;
  readonly replace: string;
  /** Replaces every place instead of the only one. @default false */
  readonly all?: boolean;
}

/** Places that a refusal names. */
const PLACES_NAMED_MAX = 5;

/**
 * Replaces text that must stand there exactly once, or any number of times with `all`. Nothing in
 * `replace` has a special meaning.
 * @throws {ToolFailure} saying why there is no such place, or which places there are.
 */
export function applyEdit(
  text: string,
  { find, replace, all = false }: ExactEdit,
): { readonly text: string; readonly count: number } {
  if (find === replace) throw new ToolFailure("find and replace are the same: nothing to do.");
  const places = findPlaces(text, find);
  if (places.length === 0) throw new ToolFailure(explainAbsence(text, find));
  if (places.length > 1 && !all) {
    const named = places.slice(0, PLACES_NAMED_MAX).map((place) => countLines(text, place));
    const more = places.length > PLACES_NAMED_MAX ? ", …" : "";
    throw new ToolFailure(
      `find stands at ${places.length} places (lines ${named.join(", ")}${more}). Add lines around ` +
        "it until it is unique, or set all.",
    );
  }
  return { text: text.split(find).join(replace), count: places.length };
}

function findPlaces(text: string, find: string): number[] {
  const places: number[] = [];
  for (let at = text.indexOf(find); at !== -1; at = text.indexOf(find, at + find.length)) {
    places.push(at);
  }
  return places;
}

function countLines(text: string, end: number): number {
  let lines = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < end; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

function squeeze(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

function explainAbsence(text: string, find: string): string {
  if (text.includes("\r\n") && text.replaceAll("\r\n", "\n").includes(find)) {
    return "find is not in the file as it stands: its lines end in CRLF (\\r\\n).";
  }
  if (/^\s*\d+\t/m.test(find)) {
    return "find is not in the file. Leave out the line numbers that read_file shows.";
  }
  if (squeeze(find) !== "" && squeeze(text).includes(squeeze(find))) {
    return "find is not in the file: spaces, tabs or line breaks differ. Read the file again.";
  }
  return "find is not in the file. Read the file again; it may have changed.";
}
