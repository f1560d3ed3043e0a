import { createHash } from "node:crypto";
import { TOOL_KINDS, type ToolKind } from "../../core/permission.ts";
import type { JsonObject } from "../../core/json.ts";
import { namePlaces, type RequestPlaces } from "../request-hash.ts";
import { asObject, readField, readList, readObject, readText, readWhole } from "../json-fields.ts";
import { cleanText } from "../output/clean-text.ts";

/** A tool call as an agent has told of it so far. */
export interface ToolCall {
  readonly toolCallId: string;
  readonly tool: string;
  readonly title: string;
  /** As its agent tells it, else as it looks. */
  readonly kind: ToolKind;
  /** Whether its agent tells of what kind it is. */
  readonly isKindTold: boolean;
  /** Whether it shows a change of a file. */
  readonly showsChange: boolean;
  readonly status: "pending" | "in_progress" | "completed" | "failed";
  readonly input: JsonObject;
  /** Files that it names. */
  readonly paths: readonly string[];
}

const NAME_CHARS_MAX = 200;
const TITLE_CHARS_MAX = 1_000;
const PATHS_MAX = 100;
const STATUSES = ["pending", "in_progress", "completed", "failed"] as const;
const INPUT_BYTES_MAX = 262_144;
/** Names under which agents give the file of a call. */
const PATH_FIELDS = ["file_path", "filePath", "abs_path", "path", "notebook_path"];

/** The id of the call that an update is about; null when it names none. */
export function readToolCallId(update: JsonObject): string | null {
  const id = readText(update, "toolCallId");
  return id === null || id === "" ? null : cleanText(id).slice(0, NAME_CHARS_MAX);
}

/**
 * What is known of a call after an update; of one that was never announced, too. Fields that an
 * update leaves out, or has of a wrong type, stay as they were. A decision about a call binds to its
 * input, so what differs each time is left out of it.
 */
export function updateToolCall(
  before: ToolCall | null,
  toolCallId: string,
  update: JsonObject,
  volatileInput: readonly string[] = [],
): ToolCall {
  const title = readText(update, "title");
  const input = readInput(update, volatileInput) ?? before?.input ?? {};
  const paths = readPaths(update, input);
  const showsChange = listChanged(update).length > 0 || (before?.showsChange ?? false);
  const told = readKind(update) ?? (before?.isKindTold === true ? before.kind : null);
  const kind = told ?? guessKinds({ input, paths, showsChange })[0] ?? before?.kind ?? "other";
  // Without a name of its own a tool goes by its kind.
  const former = before === null || before.tool === before.kind ? null : before.tool;
  const status = STATUSES.find((known) => known === readText(update, "status"));
  return {
    toolCallId,
    kind,
    isKindTold: told !== null,
    showsChange,
    input,
    title: title === null ? (before?.title ?? kind) : cleanText(title).slice(0, TITLE_CHARS_MAX),
    tool: readToolName(update) ?? former ?? kind,
    status: status ?? before?.status ?? "pending",
    paths: paths.length > 0 ? paths : (before?.paths ?? []),
  };
}

/** What a call may be beside what it is said to be: anything, where nothing is said or seen. */
export function listPossibleKinds(call: ToolCall): readonly ToolKind[] {
  const guessed = guessKinds(call);
  if (!call.isKindTold && guessed.length === 0) return TOOL_KINDS;
  // Told of one kind, it may name the file that it reads; a command line or a change tells more.
  return guessKinds(call.isKindTold ? { ...call, paths: [] } : call);
}

function guessKinds({
  input,
  paths,
  showsChange,
}: Pick<ToolCall, "input" | "paths" | "showsChange">): ToolKind[] {
  const isCommand = readCommandLine(input) !== null;
  return [
    ...(isCommand ? (["execute"] as const) : []),
    ...(showsChange || paths.length > 0 ? (["edit"] as const) : []),
  ];
}

/** Whether enough is known of it to be written down: some agents announce it word by word. */
export function isDescribed({ status, kind, input }: ToolCall): boolean {
  if (status !== "pending") return true;
  return kind === "execute" ? readCommandLine(input) !== null : Object.keys(input).length > 0;
}

/** The command line of a call, as its agent shows it. */
export function readCommand(call: ToolCall): string {
  return readCommandLine(call.input) ?? call.title;
}

/** The command line that an input holds; null where it holds none. */
export function readCommandLine(input: JsonObject): string | null {
  const command = readField(input, "command") ?? readField(input, "cmd");
  if (typeof command === "string") return cleanText(command);
  if (!Array.isArray(command)) return null;
  // A shell that is given a script is what people do not want to read.
  const words = command.map(String);
  const isShell = words.length === 3 && /^-l?c$/.test(words[1] ?? "");
  return cleanText(isShell ? (words[2] ?? "") : words.join(" "));
}

/** The input of a call; what stands for it where an agent tells none. */
export function describeInput({ input, kind, title }: ToolCall): JsonObject {
  if (Object.keys(input).length > 0) return input;
  return kind === "execute" ? { command: title } : { title };
}

/**
 * What a decision about a call binds to: its input, or all that is shown of it. Two calls that would
 * do different things must never be taken for one.
 */
export function identifyInput(
  call: ToolCall,
  update: JsonObject,
  places: RequestPlaces,
): JsonObject {
  if (Object.keys(call.input).length > 0) return call.input;
  const shown = JSON.stringify(namePlaces([call.paths, readList(update, "content")], places));
  const contentSha256 = createHash("sha256").update(shown).digest("hex");
  return { ...describeInput(call), contentSha256 };
}

/** What an update tells of output. */
export interface ToldOutput {
  /** A piece of a terminal's output. */
  readonly piece: string | null;
  /** All text of its content, as it stands now. */
  readonly whole: string | null;
  /** The text that its raw output holds. */
  readonly raw: string | null;
  readonly exitCode: number | null;
  /** Files of which it shows a difference. */
  readonly changed: readonly string[];
}

/** Reads what an update tells of output, in whichever of the ways that agents have for it. */
export function readOutput(update: JsonObject): ToldOutput {
  const meta = readObject(update, "_meta");
  const rawOutput = readField(update, "rawOutput");
  const raw = asObject(rawOutput);
  const inner = readObject(raw, "metadata");
  const exit = readObject(meta, "terminal_exit");
  const content = readList(update, "content").map((item) => asObject(item));
  const texts = content
    .filter((item) => readText(item, "type") === "content")
    .map((item) => readText(readObject(item, "content"), "text"))
    .filter((text) => text !== null);
  return {
    piece: readText(readObject(meta, "terminal_output"), "data"),
    whole: texts.length > 0 ? texts.join("\n") : null,
    raw: typeof rawOutput === "string" ? rawOutput : readRawText(raw, inner),
    exitCode:
      readWhole(exit, "exit_code") ??
      readWhole(raw, "exit_code") ??
      readWhole(raw, "exitCode") ??
      readWhole(inner, "exit"),
    changed: listChanged(update),
  };
}

/** Files of which an update shows a difference. */
function listChanged(update: JsonObject): string[] {
  return readList(update, "content")
    .map((item) => asObject(item))
    .filter((item) => readText(item, "type") === "diff")
    .map((item) => readText(item, "path"))
    .filter((path) => path !== null)
    .slice(0, PATHS_MAX);
}

function readRawText(raw: JsonObject | null, inner: JsonObject | null): string | null {
  return (
    readText(raw, "aggregated_output") ??
    readText(raw, "formatted_output") ??
    readText(inner, "output") ??
    readText(raw, "output") ??
    readText(raw, "error")
  );
}

function readKind(update: JsonObject): ToolKind | null {
  const kind = readText(update, "kind");
  return TOOL_KINDS.find((known) => known === kind) ?? null;
}

function readInput(update: JsonObject, volatileInput: readonly string[]): JsonObject | null {
  const given = Object.entries(readObject(update, "rawInput") ?? {});
  const input = Object.fromEntries(given.filter(([name]) => !volatileInput.includes(name)));
  if (Object.keys(input).length === 0) return null;
  const bytes = JSON.stringify(input).length;
  return bytes <= INPUT_BYTES_MAX ? input : { isCut: true, bytes };
}

/** The name that a tool has for its agent; the protocol itself has only titles. */
function readToolName(update: JsonObject): string | null {
  const meta = readObject(update, "_meta");
  const name = readText(readObject(meta, "claudeCode"), "toolName") ?? readText(meta, "toolName");
  return name === null || name === "" ? null : cleanText(name).slice(0, NAME_CHARS_MAX);
}

function readPaths(update: JsonObject, input: JsonObject): string[] {
  const located = readList(update, "locations").map((place) => readText(asObject(place), "path"));
  const named = PATH_FIELDS.map((field) => readText(input, field));
  const paths = [...located, ...named, ...listChanged(update)].filter(
    (path) => path !== null && path !== "",
  );
  return [...new Set(paths as string[])].slice(0, PATHS_MAX);
}
