/** One line of a comparison. */
interface Edit {
  readonly kind: " " | "-" | "+";
  readonly line: string;
}

/** A textual difference. */
export interface TextDiff {
  /** Hunks in the unified format; empty when nothing differs. */
  readonly hunks: string;
  readonly additions: number;
  readonly deletions: number;
}

const CONTEXT_LINES = 3;
/** Beyond this many differing lines the shortest edit is not looked for. */
const EDITS_MAX = 1_000;
const NO_NEWLINE = "\\ No newline at end of file";

/**
 * Compares two texts line by line (Myers' greedy algorithm between the common ends; beyond
 * 1,000 edits everything between them counts as replaced) in git's unified format.
 */
export function diffText(before: string, after: string): TextDiff {
  const edits = compareLines(splitLines(before), splitLines(after));
  return {
    hunks: formatHunks(edits),
    additions: edits.filter(({ kind }) => kind === "+").length,
    deletions: edits.filter(({ kind }) => kind === "-").length,
  };
}

/** Lines with their newline, so that a missing one at the end is a difference. */
function splitLines(text: string): string[] {
  return text === "" ? [] : text.split(/(?<=\n)/);
}

function compareLines(a: readonly string[], b: readonly string[]): Edit[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  const endMax = Math.min(a.length, b.length) - start;
  while (end < endMax && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  return [
    ...a.slice(0, start).map(keep),
    ...compareMiddle(a.slice(start, a.length - end), b.slice(start, b.length - end)),
    ...a.slice(a.length - end).map(keep),
  ];
}

function keep(line: string): Edit {
  return { kind: " ", line };
}

function compareMiddle(a: readonly string[], b: readonly string[]): Edit[] {
  const trace = a.length === 0 || b.length === 0 ? null : findPath(a, b);
  if (trace !== null) return walkBack(a, b, trace);
  return [
    ...a.map((line): Edit => ({ kind: "-", line })),
    ...b.map((line): Edit => ({ kind: "+", line })),
  ];
}

/** The furthest reach on each diagonal after each number of edits; null when there are too many. */
function findPath(a: readonly string[], b: readonly string[]): Map<number, number>[] | null {
  const reach = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  for (let edits = 0; edits <= Math.min(a.length + b.length, EDITS_MAX); edits += 1) {
    trace.push(new Map(reach));
    for (let k = -edits; k <= edits; k += 2) {
      let x = goesDown(reach, k, edits) ? (reach.get(k + 1) ?? 0) : (reach.get(k - 1) ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      reach.set(k, x);
      if (x >= a.length && x - k >= b.length) return trace;
    }
  }
  return null;
}

function goesDown(reach: ReadonlyMap<number, number>, k: number, edits: number): boolean {
  return k === -edits || (k !== edits && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
}

function walkBack(
  a: readonly string[],
  b: readonly string[],
  trace: readonly Map<number, number>[],
): Edit[] {
  const edits: Edit[] = [];
  let x = a.length;
  let y = b.length;
  for (let count = trace.length - 1; count >= 0; count -= 1) {
    const reach = trace[count] as Map<number, number>;
    const k = x - y;
    const from = goesDown(reach, k, count) ? k + 1 : k - 1;
    const fromX = reach.get(from) ?? 0;
    const fromY = fromX - from;
    while (x > Math.max(fromX, 0) && y > Math.max(fromY, 0)) {
      x -= 1;
      y -= 1;
      edits.push({ kind: " ", line: a[x] as string });
    }
    if (count === 0) break;
    if (x === fromX) {
      y -= 1;
      edits.push({ kind: "+", line: b[y] as string });
    } else {
      x -= 1;
      edits.push({ kind: "-", line: a[x] as string });
    }
  }
  return edits.reverse();
}

function formatHunks(edits: readonly Edit[]): string {
  const changes = edits.flatMap(({ kind }, at) => (kind === " " ? [] : [at]));
  const ranges: { from: number; to: number }[] = [];
  for (const at of changes) {
    const last = ranges.at(-1);
    const from = Math.max(0, at - CONTEXT_LINES);
    const to = Math.min(edits.length, at + CONTEXT_LINES + 1);
    if (last !== undefined && from <= last.to) last.to = to;
    else ranges.push({ from, to });
  }
  let [oldLine, newLine, at] = [1, 1, 0];
  let text = "";
  for (const { from, to } of ranges) {
    for (; at < from; at += 1) {
      oldLine += 1; // between hunks both sides are the same
      newLine += 1;
    }
    const hunk = edits.slice(from, to);
    const oldCount = hunk.filter(({ kind }) => kind !== "+").length;
    const newCount = hunk.filter(({ kind }) => kind !== "-").length;
    text += `@@ -${formatRange(oldLine, oldCount)} +${formatRange(newLine, newCount)} @@\n`;
    for (const { kind, line } of hunk) {
      text += line.endsWith("\n") ? kind + line : `${kind}${line}\n${NO_NEWLINE}\n`;
    }
    oldLine += oldCount;
    newLine += newCount;
    at = to;
  }
  return text;
}

function formatRange(line: number, count: number): string {
  if (count === 1) return String(line);
  return `${count === 0 ? line - 1 : line},${count}`;
}
