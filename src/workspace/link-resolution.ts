import { readlink } from "node:fs/promises";
import { posix } from "node:path";

const LINKS_MAX = 40;
const PATH_CHARS_MAX = 4_096;

/**
 * Where a path inside a workspace leads, links followed as the kernel does: relative to it, or
 * absolute where it leads out. `root` is where the workspace is, `seenAs` what whoever names the path
 * calls that place; links may have been made by either name.
 */
export async function resolveLinks(root: string, path: string, seenAs: string): Promise<string> {
  const folders = [seenAs, root];
  const named = path.startsWith("/") ? path : `${seenAs}/${path}`;
  let pending = splitBelow(named, folders) ?? splitBelow(posix.resolve(named), folders);
  if (pending === null || path.length > PATH_CHARS_MAX) return posix.resolve(seenAs, path);
  let reached: string[] = [];
  for (let turns = 0; pending.length > 0;) {
    const name: string = pending.shift() ?? "";
    const isOut: boolean = name === ".." && reached.length === 0;
    const target: string | null = isOut
      ? posix.resolve(seenAs, "..")
      : await readTarget(posix.join(root, ...reached, name));
    if (name === ".." && !isOut) reached.pop();
    else if (target === null || ++turns > LINKS_MAX) reached.push(name);
    else if (!target.startsWith("/")) pending = [...splitSteps(target), ...pending];
    else {
      const whole = posix.resolve(target, ...pending);
      pending = splitBelow(`${target}/${pending.join("/")}`, folders) ?? splitBelow(whole, folders);
      if (pending === null) return whole;
      reached = [];
    }
  }
  return reached.join("/") || ".";
}

/** The components below the first of these folders that holds the path; null when none does. */
function splitBelow(absolute: string, folders: readonly string[]): string[] | null {
  for (const folder of folders) {
    if (absolute === folder) return [];
    const below = folder.endsWith("/") ? folder : `${folder}/`;
    if (absolute.startsWith(below)) return splitSteps(absolute.slice(below.length));
  }
  return null;
}

function splitSteps(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

/** Null where there is no link, or nothing. */
function readTarget(path: string): Promise<string | null> {
  return readlink(path).catch(() => null); // whoever opens it gets the error
}
