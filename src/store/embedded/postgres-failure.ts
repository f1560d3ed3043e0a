import { type ErrorCode, StintError } from "../../core/error.ts";

const LINES_SHOWN_MAX = 12;

interface Cause {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  readonly summary: string;
  readonly remedy?: string;
}

/** What Postgres writes, and the error it means. The first match decides. */
const CAUSES: readonly Cause[] = [
  {
    pattern: /No space left on device|Disk quota exceeded/i,
    code: "disk_full",
    summary: "no space left on the disk",
  },
  {
    pattern: /database files are incompatible with server/i,
    code: "database_newer",
    summary: "another version of Postgres made the data",
  },
  {
    pattern: /could not look up effective user ID/i,
    code: "database_unavailable",
    summary: "this user id has no account name, which Postgres needs",
    remedy: "Run as a user of /etc/passwd, or set DATABASE_URL.",
  },
  {
    pattern: /Permission denied|wrong ownership|Read-only file system|Operation not permitted/i,
    code: "data_dir_unusable",
    summary: "the data folder cannot be used",
  },
];

/** Turns what a Postgres program wrote before it failed into an error with its last lines. */
export function explainFailure(what: string, output: string): StintError {
  const lines = output.trim().split("\n").slice(-LINES_SHOWN_MAX).join("\n");
  const cause = CAUSES.find(({ pattern }) => pattern.test(output));
  const summary = cause === undefined ? what : `${what}: ${cause.summary}`;
  const remedy =
    cause === undefined
      ? "See the last lines of its log in the message, or set DATABASE_URL."
      : cause.remedy;
  return new StintError(
    cause?.code ?? "database_unavailable",
    lines === "" ? summary : `${summary}\n${lines}`,
    remedy === undefined ? {} : { remedy },
  );
}
