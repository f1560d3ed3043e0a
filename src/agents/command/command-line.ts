import { StintError } from "../../core/error.ts";

const WORDS_MAX = 1_000;

/**
 * Reads a command line as its words. Quotes and backslashes are as in a shell; there is no shell,
 * so variables, patterns, pipes and redirections are letters like any other.
 * @throws {invalid_request} for a line without words, or with a quote that is not closed.
 */
export function parseCommandLine(line: string): readonly string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote: "'" | '"' | null = null;
  for (let at = 0; at < line.length; at += 1) {
    const char = line.charAt(at);
    if (quote === null && /\s/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
    } else if (quote === null && (char === "'" || char === '"')) {
      quote = char;
      word ??= "";
    } else if (char === quote) {
      quote = null;
    } else if (char === "\\" && quote !== "'" && at + 1 < line.length) {
      const next = line.charAt(++at);
      // Between double quotes a backslash is one, except before what it has a meaning for.
      const isLiteral = quote === '"' && !["\\", '"', "$", "`"].includes(next);
      word = `${word ?? ""}${isLiteral ? "\\" : ""}${next}`;
    } else word = `${word ?? ""}${char}`;
  }
  if (word !== null) words.push(word);
  if (quote !== null) throw refuse(`a quote (${quote}) is not closed`);
  if (words.length === 0 || words[0] === "") throw refuse("it names no program");
  if (words.length > WORDS_MAX) throw refuse(`it has more than ${WORDS_MAX} words`);
  return words;
}

const OPERATOR = /^(?:\|\|?|&&?|;|<<?|[12&]?>>?(?:&[12]|[\w./~-]+)?)$/;

/**
 * A word of a command line that stands alone and unquoted, and would mean something to a shell
 * only; null when there is none, or when the line has no words.
 */
export function findShellOperator(line: string): string | null {
  const bare = line.split(/\s+/).filter((word) => OPERATOR.test(word));
  if (bare.length === 0) return null;
  try {
    return parseCommandLine(line).find((word) => bare.includes(word)) ?? null;
  } catch {
    return null; // it is refused as it is, with the reason
  }
}

/** Writes words as a line that reads back as exactly them. */
export function formatCommandLine(words: readonly string[]): string {
  return words.map(quoteWord).join(" ");
}

function quoteWord(word: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function refuse(why: string): StintError {
  return new StintError("invalid_request", `The command line cannot be used: ${why}.`, {
    remedy: "Give a program and its arguments, as in: stint run --agent command -- npm test",
  });
}
