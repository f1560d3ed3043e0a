/**
 * How the person calls this program, for hints that work when they are typed: `npx stint` where npm
 * or npx started it, so that it is on no search path.
 */
export function nameProgram(env: Readonly<Record<string, string | undefined>>): string {
  return env["npm_command"] === undefined ? "stint" : "npx stint";
}

/** The command that starts everything here again. */
export function nameStart(env: Readonly<Record<string, string | undefined>>): string {
  return env["npm_lifecycle_event"] === "start" ? "npm start" : `${nameProgram(env)} dev`;
}
