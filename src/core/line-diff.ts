/**
 * A unified diff of two texts, bounded in time and size: where the texts differ in too many places,
 * the part between their common ends is shown as replaced whole, which is correct, only longer.
 */

/** A diff of one file. */
export interface LineDiff {
  /** Unified diff with three lines of context; empty when nothing differs. */
  readonly patch: string;
  readonly additions: number;
  readonly deletions: number;
  /** True when the size cap left out the end of the patch. */
  readonly truncated: boolean;
}

/** Options of `diffLines`. */
export interface LineDiffOptions {
  /** Path for the header. */
  readonly path: string;
  /** Largest patch, in bytes of UTF-8; it ends at a line. @default 65_536 */
  readonly bytesMax?: number;
}

interface Line {
  readonly kind: " " | "-" | "+";
  readonly text: string;
}

/** Most differing lines for which the shortest script is looked for. */
const EDITS_MAX = 800;
const CONTEXT_LINES = 3;
const NO_NEWLINE = "\\ No newline at end of file\n";

/** Compares two texts line by line; `before` is null for a file that did not exist. */
export function diffLines(
  before: string | null,
  after: string,
  options: LineDiffOptions,
): LineDiff {
  const script = findScript(splitLines(before ?? ""), splitLines(after));
  const additions = script.filter((line) => line.kind === "+").length;
  const deletions = script.filter((line) => line.kind === "-").length;
  if (additions + deletions === 0) return { patch: "", additions, deletions, truncated: false };
  const former = before === null ? "/dev/null" : quotePath(`a/${options.path}`);
  const header = `--- ${former}\n+++ ${quotePath(`b/${options.path}`)}\n`;
  return { additions, deletions, ...writeHunks(header, script, options.bytesMax ?? 65_536) };
}

function splitLines(text: string): string[] {
  if (text === "") return [];
  return text.split(/(?<=\n)/);
}

function quotePath(path: string): string {
  return /["\\\p{Cc}]/u.test(path) ? JSON.stringify(path) : path;
}

function findScript(before: readonly string[], after: readonly string[]): Line[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let beforeEnd = before.length;
  let afterEnd = after.length;
  while (beforeEnd > start && afterEnd > start && before[beforeEnd - 1] === after[afterEnd - 1]) {
    beforeEnd--;
    afterEnd--;
  }
  const mark = (kind: Line["kind"], lines: readonly string[]): Line[] =>
    lines.map((text) => ({ kind, text }));
  return [
    ...mark(" ", before.slice(0, start)),
    ...findEdits(before.slice(start, beforeEnd), after.slice(start, afterEnd)),
    ...mark(" ", before.slice(beforeEnd)),
  ];
}

/** The shortest edit script after Myers; a plain replacement beyond `EDITS_MAX`. */
function findEdits(before: readonly string[], after: readonly string[]): Line[] {
  const replacement = (): Line[] => [
    ...before.map((text): Line => ({ kind: "-", text })),
    ...after.map((text): Line => ({ kind: "+", text })),
  ];
  if (before.length === 0 || after.length === 0) return replacement();
  const editsMax = Math.min(EDITS_MAX, before.length + after.length);
  const middle = editsMax + 1;
  const reach = new Int32Array(2 * middle + 1);
  const rounds: Int32Array[] = [];
  for (let edits = 0; edits <= editsMax; edits++) {
    rounds.push(reach.slice(middle - edits - 1, middle + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      const down = (reach[middle + k - 1] ?? 0) < (reach[middle + k + 1] ?? 0);
      let x =
        k === -edits || (k !== edits && down)
          ? (reach[middle + k + 1] ?? 0)
          : (reach[middle + k - 1] ?? 0) + 1;
      while (x < before.length && x - k < after.length && before[x] === after[x - k]) x++;
      reach[middle + k] = x;
      if (x >= before.length && x - k >= after.length)
        return walkBack(before, after, rounds, edits);
    }
  }
  return replacement();
}

function walkBack(
  before: readonly string[],
  after: readonly string[],
  rounds: readonly Int32Array[],
  lastEdits: number,
): Line[] {
  const lines: Line[] = [];
  let x = before.length;
  let y = after.length;
  for (let edits = lastEdits; edits >= 0; edits--) {
    const reach = rounds[edits] ?? new Int32Array();
    const at = (k: number): number => reach[k + edits + 1] ?? 0;
    const k = x - y;
    const previousK = k === -edits || (k !== edits && at(k - 1) < at(k + 1)) ? k + 1 : k - 1;
    const previousX = edits === 0 ? 0 : at(previousK);
    const previousY = edits === 0 ? 0 : previousX - previousK;
    while (x > previousX && y > previousY) {
      lines.push({ kind: " ", text: before[--x] ?? "" });
      y--;
    }
    if (edits === 0) break;
    if (x === previousX) lines.push({ kind: "+", text: after[--y] ?? "" });
    else lines.push({ kind: "-", text: before[--x] ?? "" });
  }
  return lines.reverse();
}

function writeHunks(
  header: string,
  script: readonly Line[],
  bytesMax: number,
): { patch: string; truncated: boolean } {
  let patch = header;
  let bytes = Buffer.byteLength(header);
  for (const hunk of listHunks(script)) {
    for (const line of hunk) {
      bytes += Buffer.byteLength(line);
      if (bytes > bytesMax) return { patch, truncated: true };
      patch += line;
    }
  }
  return { patch, truncated: false };
}

/** Each hunk as its header and its lines. */
function* listHunks(script: readonly Line[]): Generator<string[]> {
  let beforeLine = 1;
  let afterLine = 1;
  let index = 0;
  while (index < script.length) {
    let change = index;
    while (script[change]?.kind === " ") change++;
    if (change === script.length) return;
    const start = Math.max(index, change - CONTEXT_LINES);
    beforeLine += start - index;
    afterLine += start - index;
    const end = findHunkEnd(script, change);
    const lines = script.slice(start, end);
    const inBefore = lines.filter((line) => line.kind !== "+").length;
    const inAfter = lines.filter((line) => line.kind !== "-").length;
    yield [
      `@@ -${writeRange(beforeLine, inBefore)} +${writeRange(afterLine, inAfter)} @@\n`,
      ...lines.map(writeLine),
    ];
    beforeLine += inBefore;
    afterLine += inAfter;
    index = end;
  }
}

/** The first place after a change at which more than twice the context is unchanged. */
function findHunkEnd(script: readonly Line[], change: number): number {
  let lastChange = change;
  for (let at = change; at < script.length && at - lastChange <= 2 * CONTEXT_LINES; at++) {
    if (script[at]?.kind !== " ") lastChange = at;
  }
  return Math.min(script.length, lastChange + CONTEXT_LINES + 1);
}

function writeRange(line: number, count: number): string {
  if (count === 0) return `${line - 1},0`;
  return count === 1 ? `${line}` : `${line},${count}`;
}

function writeLine({ kind, text }: Line): string {
  return text.endsWith("\n") ? `${kind}${text}` : `${kind}${text}\n${NO_NEWLINE}`;
}
