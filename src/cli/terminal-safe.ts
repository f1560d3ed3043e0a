/**
 * What agents print is hostile: it may move the cursor over what you read, set the title, write to
 * the clipboard or turn the direction of text. Only text, line ends, tabs and plain colour pass.
 */

/**
 * One match of anything that is not plain text. Sequences that a terminal would carry out are taken
 * whole, so that what is left of them does not litter the text; those without an end are not.
 */
const SUSPECT = new RegExp(
  [
    "\\u001B\\[[0-9;:]{0,128}m", // colour and style
    "\\u001B\\[[0-?]{0,64}[ -/]{0,8}[@-~]", // cursor, erase, modes
    "\\u001B[\\]PX^_][^\\u0007\\u001B\\u009C]{0,4096}(?:\\u0007|\\u001B\\\\|\\u009C)", // title, links
    "\\u001B[ -/]{1,4}[0-~]", // character sets
    "\\r\\n|\\r",
    // C0 but tab and LF, DEL, C1
    "[\\u0000-\\u0008\\u000B\\u000C\\u000E-\\u001F\\u007F-\\u009F]",
    // direction, invisible text, line ends that are none to a terminal, marks of annotations
    "[\\u061C\\u200B\\u200E\\u200F\\u2028-\\u202E\\u2060-\\u206F\\uFEFF\\uFFF9-\\uFFFB]",
    "[\\u{E0000}-\\u{E007F}]",
    "\\p{Surrogate}",
  ].join("|"),
  "gu",
);

/** How to make text safe. */
export interface SafeTextOptions {
  /** Lets colour and style pass. @default false */
  readonly color?: boolean;
}

/**
 * Makes text safe to print. Control characters become visible ones, complete escape sequences are
 * dropped, a lone CR becomes an end of line. With colour, the text ends with a reset if it set any.
 */
export function toSafeText(text: string, options: SafeTextOptions = {}): string {
  let isStyled = false;
  const safe = text.replace(SUSPECT, (match) => {
    if (match.startsWith("\r")) return "\n";
    if (match.length === 1 || !match.startsWith("\u001B")) return showCharacter(match);
    if (!options.color || !match.endsWith("m") || match[1] !== "[") return "";
    const style = keepStyles(match);
    if (style !== "") isStyled = true;
    return style;
  });
  return isStyled ? `${safe}\u001B[0m` : safe;
}

/** Makes text safe for one line: line ends and tabs become spaces, and no colour passes. */
export function toSafeLine(text: string): string {
  return toSafeText(text).replace(/\s+/gu, " ").trim();
}

function showCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  if (code >= 0xd800 && code <= 0xdfff) return "\uFFFD";
  return `<${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

/** Drops what hides text: blinking, concealing and other fonts. A colour sequence that is odd goes. */
function keepStyles(sequence: string): string {
  const codes = sequence.slice(2, -1).replaceAll(":", ";").split(";").map(Number);
  const kept: number[] = [];
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index] ?? 0;
    if (code === 38 || code === 48) {
      const length = codes[index + 1] === 5 ? 3 : codes[index + 1] === 2 ? 5 : 0;
      const color = codes.slice(index, index + length);
      if (length === 0 || color.length < length || color.some((part) => part > 255)) return "";
      kept.push(...color);
      index += length - 1;
    } else if (isPlainStyle(code)) kept.push(code);
  }
  return kept.length === 0 ? "" : `\u001B[${kept.join(";")}m`;
}

function isPlainStyle(code: number): boolean {
  return (
    (code >= 0 && code <= 4) ||
    code === 7 ||
    code === 9 ||
    (code >= 21 && code <= 24) ||
    code === 27 ||
    code === 29 ||
    (code >= 30 && code <= 49) ||
    (code >= 90 && code <= 107)
  );
}
