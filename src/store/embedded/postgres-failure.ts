import { type ErrorCode, StintError } from "../../core/error.ts";

const LINES_SHOWN_MAX = 12;

/** What Postgres writes, and the error it means. The first match decides. */
const CAUSES: readonly (readonly [RegExp, ErrorCode, string])[] = [
  [/No space left on device|Disk quota exceeded/i, "disk_full", "no space left on the disk"],
  [
    /database files are incompatible with server/i,
    "database_newer",
    "another version of Postgres made the data",
  ],
  [
    /Permission denied|wrong ownership|Read-only file system|Operation not permitted/i,
    "data_dir_unusable",
    "the data folder cannot be used",
  ],
  [
    /could not look up effective user ID/i,
    "data_dir_unusable",
    "this user id has no account name, which Postgres needs",
  ],
];

/** Turns what a Postgres program wrote before it failed into an error with its last lines. */
export function explainFailure(what: string, output: string): StintError {
  const lines = output.trim().split("\n").slice(-LINES_SHOWN_MAX).join("\n");
  const [, code = "database_unavailable", cause] =
    CAUSES.find(([pattern]) => pattern.test(output)) ?? [];
  const summary = cause === undefined ? what : `${what}: ${cause}`;
  return new StintError(code, lines === "" ? summary : `${summary}\n${lines}`, {
    ...(code === "database_unavailable"
      ? { remedy: "The last lines of the log are above; set DATABASE_URL to use another Postgres." }
      : {}),
  });
}
