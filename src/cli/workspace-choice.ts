import { stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { SessionRequest } from "../client.ts";
import { StintError } from "../core/error.ts";

/** A workspace as the command line chose it, and how that is said. */
export interface WorkspaceChoice {
  /** Undefined: an empty directory. */
  readonly request: SessionRequest["workspace"];
  readonly description: string;
}

/** What the person gave. */
export interface WorkspaceOptions {
  readonly workspace?: string;
  readonly ref?: string;
  readonly inPlace?: boolean;
}

const URL_LIKE = /^[a-z][a-z0-9+.-]*:\/\/|^[\w.-]+@[\w.-]+:/i;

/**
 * Chooses the workspace: the path or URL that was given; `none` is an empty directory. Without any,
 * the repository around the current folder if the server runs on this machine, else an empty one.
 * @throws {usage_invalid} for options that need a path.
 */
export async function chooseWorkspace(
  options: WorkspaceOptions,
  place: { readonly cwd: string; readonly serverUrl: string },
): Promise<WorkspaceChoice> {
  const isLocal = isLocalServer(place.serverUrl);
  const given = options.workspace;
  const source =
    given === undefined
      ? isLocal
        ? await findRepository(place.cwd)
        : null
      : given === "none"
        ? null
        : URL_LIKE.test(given)
          ? given
          : resolve(place.cwd, given);
  if (source === null) return describeEmpty(options);
  const ref = options.ref === undefined ? {} : { ref: options.ref };
  const mode = options.inPlace === true ? "in-place" : "copy";
  const what = mode === "in-place" ? `${source} itself, in place` : `a copy of ${source}`;
  const at = options.ref === undefined ? "" : ` at ${options.ref}`;
  const why = given === undefined ? " (the repository you are in)" : "";
  return { request: { mode, source, ...ref }, description: `${what}${at}${why}` };
}

function describeEmpty(options: WorkspaceOptions): WorkspaceChoice {
  const needing = options.inPlace ? "--in-place" : options.ref === undefined ? null : "--ref";
  if (needing !== null) {
    throw new StintError("usage_invalid", `${needing} needs a workspace, and there is none`, {
      remedy: "Add --workspace PATH, or call it inside a git repository.",
    });
  }
  const why = options.workspace === "none" ? "" : " (you are in no git repository)";
  return { request: undefined, description: `an empty directory${why}` };
}

/** The folder at or above `path` that holds `.git`, or null. */
async function findRepository(path: string): Promise<string | null> {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    const isRoot = await stat(join(folder, ".git")).then(
      () => true,
      () => false, // none here
    );
    if (isRoot) return folder;
    if (dirname(folder) === folder) return null;
  }
}

/** Whether paths of this machine mean something to the server. */
function isLocalServer(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}
