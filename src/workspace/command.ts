import { existsSync } from "node:fs";
import { access, constants, stat } from "node:fs/promises";
import { delimiter, isAbsolute, resolve } from "node:path";
import { StintError } from "../core/error.ts";
import type { Sandbox } from "./sandbox.ts";

type View = Pick<Sandbox, "toHost" | "toInside" | "workspace">;

/**
 * The absolute path of a program as a sandbox shows it, found as a shell inside would: by PATH, or
 * from `cwd` where the name holds a slash. Looked up before anything is started, so that a wrong
 * name is a clear answer and not the exit code of a wrapper. `shownPath` is what is told of PATH.
 * @throws {command_not_found} when there is none, it may not be run, or the sandbox does not show it.
 */
export async function resolveCommand(
  sandbox: View,
  command: string,
  cwd: string,
  path: string,
  shownPath = path,
): Promise<string> {
  if (command === "" || command.includes("\0")) {
    throw new StintError("command_not_found", "the name of the command is empty or broken");
  }
  const isNamed = command.includes("/");
  const folders = isNamed ? ["."] : path.split(delimiter);
  let hidden: string | null = null;
  for (const folder of folders) {
    const host = sandbox.toHost(resolve(cwd, folder, command));
    if (!(await isProgram(host))) continue;
    const inside = sandbox.toInside(host);
    if (inside !== null) return inside;
    hidden ??= host;
  }
  const fields = { command };
  if (hidden !== null) {
    const message = `${hidden} is outside of what the sandbox shows`;
    const remedy = "Name its folder in STINT_SANDBOX_READ_PATHS.";
    throw new StintError("command_not_found", message, { fields, remedy });
  }
  const where = isNamed ? "is no program that can be run" : `is not in PATH (${shownPath})`;
  throw new StintError("command_not_found", `${command} ${where}`, { fields });
}

/**
 * PATH as commands of a sandbox need it: each folder once, and only those that exist and that it
 * shows, be it by `exposes`. Where all of the host is seen, only what is named twice is left out.
 */
export function narrowPath(
  sandbox: Pick<Sandbox, "level" | "toHost" | "toInside">,
  path: string,
  exposes: readonly string[] = [],
): string {
  const folders = [...new Set(path.split(delimiter))];
  if (sandbox.level !== "strict") return folders.join(delimiter);
  const isShown = (folder: string): boolean => {
    // What is exposed stands at its own place, in front of everything else.
    const isExposed = exposes.some((root) => folder === root || folder.startsWith(`${root}/`));
    const host = isExposed ? folder : sandbox.toHost(folder);
    return existsSync(host) && (isExposed || sandbox.toInside(host) === folder);
  };
  return folders.filter((folder) => isAbsolute(folder) && isShown(folder)).join(delimiter);
}

/** A sandbox with what is exposed to one command: that stands at its own place, before all else. */
export function showExposed(sandbox: View, exposes: readonly string[] = []): View {
  const isExposed = (path: string): boolean =>
    exposes.some((root) => path === root || path.startsWith(`${root}/`));
  return {
    workspace: sandbox.workspace,
    toHost: (path) => (isExposed(path) ? path : sandbox.toHost(path)),
    toInside: (path) => (isExposed(path) ? path : sandbox.toInside(path)),
  };
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false; // missing or not ours to run: the same to the caller
  }
}

/**
 * The absolute directory in which a command starts: on the host, and as it sees it.
 * @throws {workspace_missing} when there is none.
 */
export async function resolveCwd(
  sandbox: View,
  cwd: string | undefined,
): Promise<{ readonly host: string; readonly inside: string }> {
  const inside = resolve(sandbox.workspace, cwd ?? ".");
  const host = sandbox.toHost(inside);
  const found = host.includes("\0") ? null : await stat(host).catch(() => null); // missing
  if (found?.isDirectory() === true && sandbox.toInside(host) !== null) return { host, inside };
  throw new StintError("workspace_missing", `there is no directory ${inside} to run a command in`, {
    fields: { path: inside },
  });
}
