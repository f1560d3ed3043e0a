import { StintError } from "./error.ts";
import { type PermissionRequest, TOOL_KINDS, type ToolKind } from "./permission.ts";

/** What a rule says about the calls that it covers. */
export type PolicyDecision = "allow" | "deny" | "ask";

const STRICTEST_FIRST = ["deny", "ask", "allow"] as const satisfies readonly PolicyDecision[];
/** Rules that a session may carry. */
export const PERMISSION_RULES_MAX = 100;
const RULE_CHARS_MAX = 300;
const RULE_FORMS =
  '"allow", "deny" or "ask", then a kind of tool, tool:NAME or *, then, if you like, a path pattern';

interface PermissionRule {
  readonly decision: PolicyDecision;
  readonly covers: (request: PermissionRequest) => boolean;
}

/** Decides what is asked of it by the first rule that covers the call. */
export type PermissionPolicy = (request: PermissionRequest) => PolicyDecision;

/**
 * Reads rules such as `ask execute`, `deny edit secrets/**`, `allow tool:bash`, `ask *`. The first one
 * that covers a call decides; a call that none covers is allowed, as the sandbox is what bounds it.
 * A rule with a path pattern covers a call of which any path fits; one that allows, a call of which
 * all fit. Where a call may be of several kinds the strictest of their decisions counts. In a pattern,
 * `*` stands for any characters but a slash, `**` for any at all, `?` for one.
 * A path counts as it is once `.`, `..` and `//` are resolved: seen from the directory of the call,
 * one outside of it as a whole; a pattern may name both as a whole.
 * @throws {config_invalid} naming the rule.
 */
export function parsePermissionPolicy(rules: readonly string[]): PermissionPolicy {
  if (rules.length > PERMISSION_RULES_MAX) {
    throw new StintError("config_invalid", `there are more than ${PERMISSION_RULES_MAX} rules`);
  }
  const parsed = rules.map(parseRule);
  const decide = (request: PermissionRequest): PolicyDecision =>
    parsed.find((rule) => rule.covers(request))?.decision ?? "allow";
  return (request) => {
    const kinds = [request.kind, ...(request.mayBe ?? [])];
    const decisions = kinds.map((kind) => decide({ ...request, kind }));
    return STRICTEST_FIRST.find((decision) => decisions.includes(decision)) ?? "allow";
  };
}

function parseRule(text: string): PermissionRule {
  const [decision = "", what = "", pattern, ...rest] = text.trim().split(/\s+/);
  const isDecision = decision === "allow" || decision === "deny" || decision === "ask";
  if (!isDecision || what === "" || rest.length > 0 || text.length > RULE_CHARS_MAX) {
    throw refuseRule(text, `a rule is ${RULE_FORMS}`);
  }
  const fitsTool = readTools(text, what);
  if (pattern === undefined) return { decision, covers: fitsTool };
  const fitsPattern = compilePattern(normalizePattern(pattern));
  const covers = (request: PermissionRequest): boolean => {
    const { cwd, paths } = request;
    const fits = (path: string): boolean =>
      fitsPattern(relativePath(cwd, path)) || fitsPattern(resolvePath(cwd, path));
    const fitsPaths =
      decision === "allow" ? paths.length > 0 && paths.every(fits) : paths.some(fits);
    return fitsPaths && fitsTool(request);
  };
  return { decision, covers };
}

function readTools(rule: string, what: string): PermissionRule["covers"] {
  if (what === "*") return () => true;
  if (what.startsWith("tool:")) {
    const name = what.slice("tool:".length).toLowerCase();
    return ({ tool }) => tool.toLowerCase() === name;
  }
  if ((TOOL_KINDS as readonly string[]).includes(what)) {
    return ({ kind }) => kind === (what as ToolKind);
  }
  throw refuseRule(rule, `"${what}" is no kind of tool; there are ${TOOL_KINDS.join(", ")}`);
}

function refuseRule(rule: string, why: string): StintError {
  const shown = rule.slice(0, 60).replace(/\p{C}/gu, "?");
  return new StintError("config_invalid", `permission rule "${shown}": ${why}`);
}

/**
 * Follows all ways through the pattern at once, so that no path that an agent names can be slow: at
 * most the length of the pattern times that of the path.
 */
function compilePattern(pattern: string): (path: string) => boolean {
  const parts = pattern.match(/\*\*\/|\*+|[^*]/gsu) ?? [];
  return (path) => {
    let places = skipOptional(parts, new Set(["0"]));
    for (const letter of path) {
      places = skipOptional(parts, step(parts, places, letter));
      if (places.size === 0) return false;
    }
    return places.has(String(parts.length));
  };
}

/** Where one letter leads. `1/` is amid the folders that part 1 of the pattern stands for. */
function step(parts: readonly string[], places: ReadonlySet<string>, letter: string): Set<string> {
  const next = new Set<string>();
  for (const place of places) {
    const at = Number.parseInt(place, 10);
    const part = parts[at];
    if (part === "**/") {
      next.add(`${at}/`);
      if (letter === "/") next.add(String(at + 1));
    } else if (part?.startsWith("*")) {
      if (part.length > 1 || letter !== "/") next.add(place);
    } else if (part === letter || (part === "?" && letter !== "/")) {
      next.add(String(at + 1));
    }
  }
  return next;
}

/** Adds the places behind what may stand for nothing. */
function skipOptional(parts: readonly string[], places: Set<string>): Set<string> {
  for (const place of places) {
    const at = Number.parseInt(place, 10);
    if (parts[at]?.startsWith("*") && !place.endsWith("/")) places.add(String(at + 1));
  }
  return places;
}

/** As paths are written that are compared with it. */
function normalizePattern(pattern: string): string {
  return pattern.replace(/\/{2,}/g, "/").replace(/^(?:\.\/)+/, "");
}

/** The place that a path names, seen from a folder: absolute, and without `.`, `..` and `//`. */
function resolvePath(folder: string, path: string): string {
  const parts: string[] = [];
  for (const part of (path.startsWith("/") ? path : `${folder}/${path}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

function relativePath(cwd: string, path: string): string {
  const absolute = resolvePath(cwd, path);
  const folder = cwd.endsWith("/") ? cwd : `${cwd}/`;
  return absolute.startsWith(folder) ? absolute.slice(folder.length) : absolute;
}
