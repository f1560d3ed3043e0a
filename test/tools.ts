import { spawnSync } from "node:child_process";

const found = new Map<string, boolean>();

/** True when the program can be started. Asked once per program and process. */
export function hasTool(tool: string): boolean {
  const known = found.get(tool);
  if (known !== undefined) return known;
  const { error } = spawnSync(tool, ["--version"], { stdio: "ignore", timeout: 10_000 });
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  const answer = code !== "ENOENT" && code !== "EACCES";
  found.set(tool, answer);
  return answer;
}

/**
 * Skips the test, visibly, when the program is missing; under CI=true that is a failure.
 * Call it first in a test, or in `beforeEach` for a whole file:
 *
 * @example
 * it("a sandboxed process cannot read the home directory", async (context) => {
 *   requireTool(context, "bwrap");
 * });
 */
export function requireTool(context: { skip(note?: string): void }, tool: string): void {
  if (!hasTool(tool)) context.skip(`[needs ${tool}] it is not installed`);
}
