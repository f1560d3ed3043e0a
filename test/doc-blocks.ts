import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Root of the repository. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** A fenced block of a document. Its info string is `language how[=value] [key=value …]`. */
export interface Block {
  readonly line: number;
  readonly language: string;
  /** What the test does with it: the first word after the language. */
  readonly how: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly text: string;
}

/** Reads a document of the repository. */
export function readDocument(path: string): string {
  return readFileSync(`${ROOT}/${path}`, "utf8");
}

/** The fenced blocks of a document, in order. Throws where a fence is never closed. */
export function listBlocks(document: string): Block[] {
  const blocks: Block[] = [];
  let open: { info: string; line: number; lines: string[] } | null = null;
  for (const [index, line] of document.split("\n").entries()) {
    if (open === null) {
      const fence = /^```(.*)$/.exec(line);
      if (fence) open = { info: fence[1] ?? "", line: index + 1, lines: [] };
    } else if (line === "```") {
      blocks.push({ ...readInfo(open.info), line: open.line, text: `${open.lines.join("\n")}\n` });
      open = null;
    } else {
      open.lines.push(line);
    }
  }
  if (open !== null) throw new Error(`the block of line ${open.line} is never closed`);
  return blocks;
}

function readInfo(info: string): Pick<Block, "language" | "how" | "attributes"> {
  const [language = "", ...words] = info.trim().split(/\s+/);
  const pairs = words.map((word): [string, string] => {
    const [key = "", ...value] = word.split("=");
    return [key, value.join("=")];
  });
  return { language, how: pairs[0]?.[0] ?? "", attributes: Object.fromEntries(pairs) };
}

/** The text of a section: from its heading to the next of the same or a higher level. */
export function readSection(document: string, title: string): string {
  const start = document.indexOf(`\n## ${title}\n`);
  if (start === -1) throw new Error(`there is no section "${title}"`);
  const end = document.indexOf("\n## ", start + 1);
  return document.slice(start, end === -1 ? undefined : end);
}

/** The rows of all tables of a text, as cells; rules between head and body are left out. */
export function listTableRows(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^\|[-|]+\|$/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim()),
    );
}

/** What stands in backticks. */
export function listCodes(text: string): string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? "");
}

/** Splits a line of shell into words; quotes hold words together, a comment ends the line. */
export function splitShellWords(line: string): string[] {
  const words: string[] = [];
  for (const match of line.matchAll(/"([^"]*)"|'([^']*)'|(#.*$)|([^\s"'#]+)/g)) {
    if (match[3] !== undefined) break;
    words.push(match[1] ?? match[2] ?? match[4] ?? "");
  }
  return words;
}
