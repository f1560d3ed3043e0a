const WIDE = new RegExp(
  [
    "\\p{Emoji_Presentation}",
    "[\\u1100-\\u115F\\u2E80-\\u303E\\u3041-\\uA4CF\\uAC00-\\uD7A3\\uF900-\\uFAFF]",
    "[\\uFE30-\\uFE6F\\uFF00-\\uFF60\\uFFE0-\\uFFE6\\u{20000}-\\u{3FFFD}]",
  ].join("|"),
  "u",
);
const NO_WIDTH = /^(?:\p{Mark}|\u200C|\u200D|\uFE0F)$/u;

let segmenter: Intl.Segmenter | null = null;

/** How many columns a line takes in a terminal. Expects safe text without colour. */
export function textWidth(text: string): number {
  if (/^[\x20-\x7E]*$/.test(text)) return text.length;
  let width = 0;
  for (const cluster of splitClusters(text)) width += clusterWidth(cluster);
  return width;
}

/** Cuts a line to a width; what is cut ends with an ellipsis. */
export function truncateLine(text: string, widthMax: number): string {
  if (textWidth(text) <= widthMax) return text;
  let kept = "";
  let width = 0;
  for (const cluster of splitClusters(text)) {
    width += clusterWidth(cluster);
    if (width > widthMax - 1) break;
    kept += cluster;
  }
  return `${kept.trimEnd()}…`;
}

function splitClusters(text: string): string[] {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

function clusterWidth(cluster: string): number {
  const first = String.fromCodePoint(cluster.codePointAt(0) ?? 0);
  if (NO_WIDTH.test(first)) return 0;
  return WIDE.test(cluster) ? 2 : 1;
}
