import { access, constants, stat } from "node:fs/promises";
import { delimiter, resolve } from "node:path";
import { StintError } from "../core/error.ts";

/**
 * The absolute path of a program, found as a shell would: by PATH, or from `cwd` where the name
 * holds a slash. Looked up before anything is started, so that a wrong name is a clear answer and
 * not the exit code of a wrapper.
 * @throws {command_not_found} when there is none, or it may not be run.
 */
export async function resolveCommand(command: string, cwd: string, path: string): Promise<string> {
  if (command === "" || command.includes("\0")) {
    throw new StintError("command_not_found", "the name of the command is empty or broken");
  }
  if (command.includes("/")) {
    const candidate = resolve(cwd, command);
    if (await isProgram(candidate)) return candidate;
    throw new StintError("command_not_found", `${command} is no program that can be run`, {
      fields: { command },
    });
  }
  for (const folder of path.split(delimiter)) {
    const candidate = resolve(cwd, folder, command);
    if (await isProgram(candidate)) return candidate;
  }
  throw new StintError("command_not_found", `${command} is not in PATH (${path})`, {
    fields: { command },
  });
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
 * The absolute directory in which a command starts.
 * @throws {workspace_missing} when there is none.
 */
export async function resolveCwd(workspace: string, cwd: string | undefined): Promise<string> {
  const path = resolve(workspace, cwd ?? ".");
  const found = path.includes("\0") ? null : await stat(path).catch(() => null); // missing
  if (found?.isDirectory() === true) return path;
  throw new StintError("workspace_missing", `there is no directory ${path} to run a command in`, {
    fields: { path },
  });
}
