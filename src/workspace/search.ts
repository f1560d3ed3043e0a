import { Worker } from "node:worker_threads";
import { StintError } from "../core/error.ts";
import type { FileMatch } from "../core/workspace.ts";
import { readNode } from "./file-access.ts";
import { visitTree } from "./visit.ts";

/** Bounds of a search. */
export interface SearchOptions {
  /** Directory to search in. @default the whole workspace */
  readonly path?: string;
  /** @default 200 */
  readonly matchesMax?: number;
  /** @default false: the pattern is literal text */
  readonly isRegex?: boolean;
  /** Larger files are left out. @default 2_097_152 (2 MiB) */
  readonly fileBytesMax?: number;
  /** Time for the whole search. @default 10_000 (10 s) */
  readonly timeoutMs?: number;
}

const MATCHES_MAX = 200;
const FILE_BYTES_MAX = 2_097_152;
const FILES_MAX = 50_000;
const DEPTH_MAX = 64;
const TIMEOUT_MS = 10_000;
const LINE_CHARS_MAX = 500;
const PATTERN_CHARS_MAX = 1_000;
const BINARY_PROBE_BYTES = 8_192;
const SKIPPED: ReadonlySet<string> = new Set([".git", "node_modules"]);

/** Tests the lines of one text: their numbers, from 1. */
type Matcher = {
  match(text: string, countMax: number): Promise<readonly number[]>;
  close(): Promise<void>;
};

/**
 * Searches the files of a workspace line by line, in the order of their paths level by level;
 * `.git`, `node_modules`, binary and large files are left out. A regular expression runs on a
 * thread that is ended at the time limit, so that no pattern can stop the worker. `truncated` when
 * a bound cut the search short.
 * @throws {invalid_request} for a pattern that is empty, too long, or no regular expression.
 */
export async function searchFiles(
  root: string,
  pattern: string,
  options: SearchOptions,
): Promise<{ matches: readonly FileMatch[]; truncated: boolean }> {
  const { path = ".", matchesMax = MATCHES_MAX, fileBytesMax = FILE_BYTES_MAX } = options;
  const deadline = performance.now() + (options.timeoutMs ?? TIMEOUT_MS);
  const matcher = createMatcher(pattern, options.isRegex ?? false, deadline);
  const matches: FileMatch[] = [];
  let filesSeen = 0;
  try {
    const { truncated } = await visitTree(
      root,
      path,
      { depthMax: DEPTH_MAX },
      async (entry, node) => {
        if (entry.kind === "directory") return SKIPPED.has(baseName(entry.path)) ? "skip" : "go";
        if (entry.kind !== "file" || entry.sizeBytes > fileBytesMax) return "skip";
        filesSeen += 1;
        if (filesSeen > FILES_MAX || performance.now() > deadline) return "stop";
        const file = await readNode(entry.path, node, { bytesMax: fileBytesMax }).catch(() => null); // unreadable
        if (file === null || isBinary(file.bytes)) return "skip";
        const text = Buffer.from(file.bytes).toString("utf8");
        const wanted = matchesMax - matches.length + 1;
        const lines = await matcher.match(text, wanted);
        const all = lines.length === 0 ? [] : text.split("\n");
        for (const line of lines) {
          if (matches.length >= matchesMax) return "stop";
          const found = (all[line - 1] ?? "").replace(/\r$/, "").slice(0, LINE_CHARS_MAX);
          matches.push({ path: entry.path.toWellFormed(), line, text: found });
        }
        return "go";
      },
    );
    return { matches, truncated };
  } catch (error) {
    if (error instanceof SearchTimeout) return { matches, truncated: true };
    throw error;
  } finally {
    await matcher.close();
  }
}

class SearchTimeout extends Error {}

function createMatcher(pattern: string, isRegex: boolean, deadline: number): Matcher {
  if (pattern === "" || pattern.length > PATTERN_CHARS_MAX) {
    throw new StintError("invalid_request", `a pattern has 1 to ${PATTERN_CHARS_MAX} characters`);
  }
  if (!isRegex) {
    return {
      match: (text, countMax) => Promise.resolve(findLiteral(text, pattern, countMax)),
      close: () => Promise.resolve(),
    };
  }
  try {
    RegExp(pattern, "u");
  } catch (cause) {
    throw new StintError("invalid_request", `no regular expression: ${(cause as Error).message}`, {
      cause,
    });
  }
  return createRegexMatcher(pattern, deadline);
}

function findLiteral(text: string, pattern: string, countMax: number): number[] {
  const lines: number[] = [];
  let line = 1;
  let counted = 0;
  for (let at = text.indexOf(pattern); at !== -1 && lines.length < countMax;) {
    for (let end = text.indexOf("\n", counted); end !== -1 && end < at;) {
      line += 1;
      counted = end + 1;
      end = text.indexOf("\n", counted);
    }
    lines.push(line);
    const next = text.indexOf("\n", at);
    at = next === -1 ? -1 : text.indexOf(pattern, next + 1);
  }
  return lines;
}

/** Runs on the search thread; it knows nothing but the pattern and the texts it is sent. */
const THREAD = `
const { parentPort, workerData } = require("node:worker_threads");
const regex = new RegExp(workerData, "u");
parentPort.on("message", ({ text, countMax }) => {
  const lines = [];
  const all = text.split("\\n");
  for (let at = 0; at < all.length && lines.length < countMax; at += 1) {
    if (regex.test(all[at])) lines.push(at + 1);
  }
  parentPort.postMessage(lines);
});
`;

function createRegexMatcher(pattern: string, deadline: number): Matcher {
  const thread = new Worker(THREAD, { eval: true, workerData: pattern, env: {} });
  return {
    match(text, countMax) {
      return new Promise((resolve, reject) => {
        const settle = (): void => {
          clearTimeout(timer);
          thread.off("message", onMessage);
          thread.off("error", onError);
        };
        const onMessage = (lines: number[]): void => {
          settle();
          resolve(lines);
        };
        const onError = (error: Error): void => {
          settle();
          reject(error);
        };
        const timer = setTimeout(
          () => {
            onError(new SearchTimeout());
          },
          Math.max(0, deadline - performance.now()),
        );
        thread.on("message", onMessage);
        thread.on("error", onError);
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
        thread.postMessage({ text, countMax });
      });
    },
    async close() {
      await thread.terminate();
    },
  };
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function isBinary(bytes: Uint8Array): boolean {
  return bytes.subarray(0, BINARY_PROBE_BYTES).includes(0);
}
