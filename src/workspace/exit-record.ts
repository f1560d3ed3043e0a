import { mkdir, open, readFile, readdir, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { CallId, CustodyExit } from "../core/attempt.ts";
import { StintError } from "../core/error.ts";
import { readBootId } from "./process-mark.ts";
import { syncFolder } from "./storage.ts";

/** What is recorded of the command of a call. */
export type CommandEnd =
  /** Nothing is kept here of that attempt: it ran elsewhere, or its records are gone. */
  | { readonly kind: "unrecorded" }
  /** The attempt ran here and never started the command. */
  | { readonly kind: "not_begun" }
  /** It was started; no end is recorded. */
  | { readonly kind: "cut_off" }
  | {
      readonly kind: "ended";
      /** Null when the custody killed it. */
      readonly exitCode: number | null;
      /** True when it was told to stop, or ended by a signal that may have been ours. */
      readonly isCutShort: boolean;
      /** False when the host was started since: what the command wrote may not have survived. */
      readonly isSameBoot: boolean;
    };

/** The record of one command that is being started. */
export interface ExitRecord {
  /** Where the wrapper writes `{"exit-code": N}`; ours until `release`. */
  readonly fd: number;
  /** Closes our descriptor, once the wrapper has its own. */
  release(): Promise<void>;
  /** Writes the end durably: from then on a recovery finds it. */
  settle(exit: CustodyExit): Promise<void>;
}

/** The records of one attempt. */
export interface ExitRecords {
  /** @throws {invalid_request} when the call has a command already. */
  begin(callId: CallId): Promise<ExitRecord>;
  /** Removes a record once the call's outcome is in the ledger. */
  forget(callId: CallId): Promise<void>;
}

/** Names the records of all attempts inside the folder of a session. */
const RECORDS = "attempts";
const RECORD_BYTES_MAX = 4_096;
/** As SIGTERM and SIGKILL show; both are sent by the custody, or by what acts in its stead. */
const SIGNAL_CODES = new Set([143, 137]);

/**
 * Makes the folder for the records of an attempt, beside the workspace and the agent's home.
 *
 * A record is a file of JSON lines: that the command begins, then how it ended. The end is written
 * twice. First by the process that waits for the command inside its namespace, into a descriptor
 * that the command does not have: so it is there although the worker was frozen, or died together
 * with the command's end. Then by the worker, before it commits the outcome: it alone knows whether
 * it had stopped the command, it makes the record durable, and it is the only one that writes where
 * there is no namespace. What dies with the worker leaves no end.
 */
export async function openExitRecords(store: string, epoch: number): Promise<ExitRecords> {
  const folder = locateRecords(store, epoch);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await syncFolder(join(store, RECORDS));
  const bootId = await readBootId();
  return {
    async begin(callId) {
      const file = join(folder, checkName(callId));
      const handle = await openNew(file, callId);
      await handle.appendFile(`${JSON.stringify({ callId, bootId })}\n`);
      return {
        fd: handle.fd,
        release: () => handle.close(),
        async settle({ code, stopped, timedOut }) {
          const end = { callId, bootId, exitCode: code, stopped, timedOut, endedAt: new Date() };
          await replaceFile(folder, file, `${JSON.stringify(end)}\n`);
        },
      };
    },
    forget: (callId) => rm(join(folder, checkName(callId)), { force: true }),
  };
}

async function openNew(file: string, callId: CallId): Promise<FileHandle> {
  try {
    return await open(file, "ax", 0o600);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
    throw new StintError("invalid_request", `call ${callId} has a command already`, { cause });
  }
}

async function replaceFile(folder: string, file: string, text: string): Promise<void> {
  const handle = await open(`${file}.new`, "w", 0o600);
  try {
    await handle.writeFile(text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
  await syncFolder(folder);
}

/** Reads how the command of a call ended that an earlier attempt, of this epoch, had opened. */
export async function readCommandEnd(
  store: string,
  call: { readonly callId: CallId; readonly epoch: number },
): Promise<CommandEnd> {
  const folder = locateRecords(store, call.epoch);
  const names = await readdir(folder).catch(ignoreMissing);
  if (names === null) return { kind: "unrecorded" };
  const name = checkName(call.callId);
  const text = names.includes(name)
    ? await readFile(join(folder, name)).catch(ignoreMissing)
    : null;
  if (text === null) return { kind: "not_begun" };
  return readLines(text.subarray(0, RECORD_BYTES_MAX).toString("utf8"), await readBootId());
}

function readLines(text: string, bootId: string): CommandEnd {
  const fields = Object.assign({}, ...text.split("\n").map(readLine)) as Record<string, unknown>;
  const isSameBoot = bootId !== "" && fields["bootId"] === bootId;
  const { exitCode, stopped, timedOut } = fields;
  if (exitCode !== undefined) {
    const code = typeof exitCode === "number" ? exitCode : null;
    // Its own time limit is an end like another: the model is told, and goes on.
    const isCutShort = stopped === true || (code === null && timedOut !== true);
    return { kind: "ended", exitCode: code, isCutShort, isSameBoot };
  }
  const told = fields["exit-code"];
  if (typeof told !== "number") return { kind: "cut_off" };
  return { kind: "ended", exitCode: told, isCutShort: SIGNAL_CODES.has(told), isSameBoot };
}

/** A line that was cut off, or is none of ours, says nothing. */
function readLine(line: string): object {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {}; // the end of the file, or a write that was cut off
  }
}

/** Removes the records of all attempts but these. */
export async function discardExitRecords(store: string, keep: ReadonlySet<number>): Promise<void> {
  const names = (await readdir(join(store, RECORDS)).catch(ignoreMissing)) ?? [];
  for (const name of names) {
    if (!keep.has(Number(name)))
      await rm(join(store, RECORDS, name), { recursive: true, force: true });
  }
}

function locateRecords(store: string, epoch: number): string {
  return join(store, RECORDS, String(epoch));
}

function checkName(callId: CallId): string {
  if (/^[\w-]{1,100}$/.test(callId)) return callId;
  throw new StintError("invalid_request", `${JSON.stringify(callId)} is no id of a call`);
}

function ignoreMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
  throw error;
}
