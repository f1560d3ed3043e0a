import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { findShellOperator, formatCommandLine } from "../../agents/command/command-line.ts";
import { COMMAND_AGENT } from "../../agents/command/definition.ts";
import type { Session, SessionEvent, SessionRequest, StintClient } from "../../client.ts";
import { StintError } from "../../core/error.ts";
import { describeSandbox } from "../../core/sandbox.ts";
import { SCRIPT_BYTES_MAX } from "../../core/script.ts";
import { addExamples, type CommandContext, type CommandModule } from "../command.ts";
import { formatDuration } from "../duration.ts";
import { followSession, tellDetached } from "../follow-session.ts";
import { addLimitOptions, readLimits, type LimitOptions } from "../limit-options.ts";
import { describePermission } from "../permission-text.ts";
import { readText } from "../read-text.ts";
import {
  describeRemedy,
  describeState,
  describeUse,
  exitCodeOfSession,
  needsPerson,
  nextCommand,
} from "../session-text.ts";
import { systemClock } from "../system-clock.ts";
import { toSafeLine, toSafeText } from "../terminal-safe.ts";
import { chooseWorkspace, type WorkspaceOptions } from "../workspace-choice.ts";

type RunOptions = LimitOptions &
  WorkspaceOptions & {
    readonly agent?: string;
    readonly model?: string;
    readonly script?: string;
    readonly keepOpen?: boolean;
    readonly wait?: boolean;
    readonly follow?: boolean;
    readonly idempotencyKey?: string;
    readonly permission?: readonly string[];
  };

export const command: CommandModule<RunOptions> = {
  configure(command) {
    command.argument(
      "<prompt...>",
      "what to do; - reads it from standard input; with --agent command: a program and its arguments",
    );
    command.option("--agent <name>", "which agent works");
    command.option("--model <model>", "anthropic:NAME, openai:NAME, gemini:NAME or scripted");
    command.option("--script <file>", "JSON script of the scripted model, which it implies");
    command.option(
      "--workspace <path|url>",
      "where to work, in a copy; none: an empty directory (default: the repository you are in)",
    );
    command.option("--ref <ref>", "branch, tag or commit of the workspace");
    command.option("--in-place", "work in the directory itself, not in a copy");
    command.option("--keep-open", "wait for further prompts at the end of a turn");
    command.option("--wait", "wait for the end; the exit code tells how it ended");
    command.option("-f, --follow", "as --wait, and print the log as it comes");
    command.option(
      "--idempotency-key <key>",
      "repeating the call with this key starts nothing new",
    );
    command.option(
      "--permission <rule>",
      'what the agent must ask leave for, as in "ask execute"; repeat it for more',
      (rule: string, rules: readonly string[] = []) => [...rules, rule],
    );
    addLimitOptions(command);
    addExamples(command, [
      'stint run "fix the failing test"',
      'stint run "add a changelog" --workspace https://github.com/o/r --ref main --follow',
      'stint run "say hello" --model scripted --script hello.json --wait',
      "stint run --agent command -- npm test",
    ]);
  },
  async run(context, words, options) {
    const { signal } = context;
    const client = await context.connect();
    const place = { cwd: context.cwd, serverUrl: client.url };
    const workspace = await chooseWorkspace(options, place);
    const request: SessionRequest = {
      prompt: await readPrompt(context, words, options),
      ...(await readRequestOptions(options, context.cwd)),
      ...(workspace.request === undefined ? {} : { workspace: workspace.request }),
    };
    const { idempotencyKey } = options;
    const session = await client.sessions.create(request, { idempotencyKey, signal });
    const waits = options.wait === true || options.follow === true;
    announce(context, session, workspace.description, waits);
    return waits ? waitForEnd(context, client, session, options.follow === true) : 0;
  },
};

/** One text; a command may also come as its words, each as the shell has read it. */
async function readPrompt(
  { stdin, output }: CommandContext,
  words: readonly string[],
  { agent }: RunOptions,
): Promise<string> {
  const [prompt = "", ...rest] = words;
  if (rest.length === 0) {
    const text = await readText(prompt, stdin);
    if (agent === COMMAND_AGENT.name) hintAtShell(output, text);
    return text;
  }
  if (agent === COMMAND_AGENT.name) return formatCommandLine(words);
  throw new StintError("usage_invalid", "too many arguments: the prompt is one", {
    remedy: "Put the prompt in quotes.",
  });
}

/** A command runs without a shell: what only a shell understands is an argument like any other. */
function hintAtShell(output: CommandContext["output"], line: string): void {
  const operator = findShellOperator(line);
  if (operator === null) return;
  const withShell = formatCommandLine(["sh", "-c", line]);
  output.notice(
    `${operator} is given to the program as it is: there is no shell.\n` +
      output.hint(`For one: stint run --agent command -- ${withShell}`),
  );
}

async function readRequestOptions(options: RunOptions, cwd: string) {
  const limits = readLimits(options);
  return {
    ...(options.agent === undefined ? {} : { agent: options.agent }),
    ...(options.model === undefined ? {} : { model: options.model }),
    ...(options.script === undefined ? {} : { script: await readScript(options.script, cwd) }),
    ...(options.keepOpen === true ? { keepOpen: true } : {}),
    ...(options.permission === undefined ? {} : { permissions: options.permission }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
  };
}

/** Reads a script; what its steps say, the server checks. @throws {script_invalid} */
async function readScript(
  file: string,
  cwd: string,
): Promise<NonNullable<SessionRequest["script"]>> {
  const path = resolve(cwd, file);
  try {
    const text = await readFile(path, "utf8");
    if (text.length > SCRIPT_BYTES_MAX) throw new Error(`it is over ${SCRIPT_BYTES_MAX} bytes`);
    return JSON.parse(text) as NonNullable<SessionRequest["script"]>;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new StintError("script_invalid", `cannot read the script ${path}: ${why}`, {
      cause,
      remedy: "Give a file with one JSON array of steps.",
    });
  }
}

function announce(
  { output }: CommandContext,
  session: Session,
  workspace: string,
  waits: boolean,
): void {
  if (!waits) output.document(session);
  output.result(output.isQuiet ? session.id : `session    ${session.id}`);
  output.line(`workspace  ${toSafeLine(workspace)}`);
  const agent = [session.agent, session.model].filter((part) => part !== null).join(" · ");
  output.line(`agent      ${toSafeLine(agent)}`);
  if (!waits) output.line(output.hint(`\nWatch it:  stint attach ${session.id}`));
}

/**
 * Waits until the session ends or waits for a person. With --json the last thing printed is one
 * document of the session, or with --follow one line per event.
 */
async function waitForEnd(
  context: CommandContext,
  client: StintClient,
  { id }: Session,
  follows: boolean,
): Promise<number> {
  let message = "";
  let isSandboxTold = false;
  const end = await followSession(context, client, id, {
    onEvent: async (event) => {
      // The first work of an agent: how it is bounded is known by then.
      if (!isSandboxTold && !OF_NO_WORK.includes(event.type)) {
        isSandboxTold = true;
        // A server that is away ends no waiting for this: it is a remark.
        const known = await client.sessions.get(id).catch(() => null);
        if (known !== null) tellSandbox(context, known);
      }
      if (follows) context.output.sessionEvent(event);
      if (event.data["status"] === "requested") await tellAsked(context, client, id, event);
      if (event.type === "completion") message = String(event.data["message"] ?? "");
      return isPause(event) && needsPerson(await client.sessions.get(id));
    },
  });
  if (end === "detached") return tellDetached(context, id);
  const session = await client.sessions.get(id);
  if (!follows) context.output.document(session);
  tellEnd(context, session, follows ? "" : message);
  return exitCodeOfSession(session);
}

/** Whoever waits for the session would wait in vain: it waits for a person. */
async function tellAsked(
  { output }: CommandContext,
  client: StintClient,
  id: string,
  event: SessionEvent,
): Promise<void> {
  if (event.type !== "permission") return;
  const asked = await client.sessions.permissions(id);
  const waiting = asked.find((one) => one.id === event.data["permissionId"]);
  if (waiting?.status !== "pending") return;
  const lines = describePermission(waiting, systemClock.now());
  output.notice(["asks leave", ...lines].join("\n  "));
  const names = `${id} ${waiting.id.slice(0, 8)}`;
  output.notice(output.hint(`next: stint approve ${names}   or: stint deny ${names}`));
}

const OF_NO_WORK: readonly SessionEvent["type"][] = ["state_changed", "user_message"];

function tellSandbox({ output }: CommandContext, { sandbox }: Session): void {
  if (sandbox !== null) output.line(`sandbox    ${toSafeLine(describeSandbox(sandbox))}`);
}

function isPause(event: SessionEvent): boolean {
  return event.type === "state_changed" && event.data["to"] === "paused";
}

function tellEnd({ output }: CommandContext, session: Session, message: string): void {
  const { text, style } = describeState(session);
  const took = formatDuration(session.activeMs);
  const used = [...describeUse(session), `${took} active`].join(" · ");
  const reason = toSafeLine(session.reason).replaceAll("_", " ");
  output.line();
  if (message !== "") output.result(toSafeText(message).trimEnd());
  output.result(`${output.style(style, text)}  ${reason}  ${output.style("dim", used)}`);
  if (session.error !== null) {
    output.result(toSafeText(`${session.error.code}: ${session.error.message}`));
    const remedy = describeRemedy(session);
    if (remedy !== null) output.line(output.hint(`next: ${toSafeLine(remedy)}`));
    const logs = `stint logs ${session.id}`;
    if (remedy?.includes(logs) !== true) output.line(output.hint(`next: ${logs}`));
  }
  const next = nextCommand(session);
  if (next !== null) output.line(output.hint(`next: ${next}`));
}
