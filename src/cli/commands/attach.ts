import { createInterface, type Interface } from "node:readline";
import type { StintClient } from "../../client.ts";
import { addExamples, readCount, type CommandContext, type CommandModule } from "../command.ts";
import { followSession, tellDetached } from "../follow-session.ts";
import { exitCodeOfSession } from "../session-text.ts";
import { StopSignal } from "../stop-signal.ts";

interface AttachOptions {
  readonly after: number;
}

export const command: CommandModule<AttachOptions> = {
  configure(command) {
    command.argument("<session>", "id, or the start of one");
    command.option("--after <seq>", "only events after this one", readCount(0, 1e15), 0);
    addExamples(command, ["stint attach 7f3a1c"]);
    command.addHelpText(
      "after",
      "\nEach line that you type goes to the agent. Ctrl-C detaches; the session goes on.",
    );
  },
  async run(context, [id = ""], options) {
    const client = await context.connect();
    const session = await client.sessions.get(id, { signal: context.signal });
    const steering = new Steering(context, client, session.id);
    try {
      const end = await followSession(context, client, session.id, {
        after: options.after,
        signal: steering.detached,
        onEvent: (event) => steering.aside(() => context.output.sessionEvent(event)),
      });
      if (end === "detached") return tellDetached(context, session.id);
    } finally {
      await steering.close();
    }
    return exitCodeOfSession(await client.sessions.get(session.id));
  },
};

/** Sends typed lines to the agent, in order, and keeps the line being typed below the events. */
class Steering {
  readonly detached: AbortSignal;
  readonly #context: CommandContext;
  readonly #client: StintClient;
  readonly #sessionId: string;
  readonly #lines: Interface;
  readonly #isTerminal: boolean;
  #sending: Promise<void> = Promise.resolve();

  constructor(context: CommandContext, client: StintClient, sessionId: string) {
    const detach = new AbortController();
    const leave = (): void => detach.abort(new StopSignal("SIGINT"));
    this.detached = detach.signal;
    this.#context = context;
    this.#client = client;
    this.#sessionId = sessionId;
    this.#isTerminal = context.output.isTerminal && context.stdin.isTTY;
    this.#lines = createInterface({
      input: context.stdin,
      ...(this.#isTerminal ? { output: process.stdout, terminal: true } : {}),
      prompt: "› ",
    });
    this.#lines.on("line", (line) => this.#steer(line));
    // On a terminal readline takes Ctrl-C for itself, and the end of input is Ctrl-D.
    this.#lines.on("SIGINT", leave);
    if (this.#isTerminal) this.#lines.on("close", leave);
    if (this.#isTerminal) this.#lines.prompt();
  }

  /** Prints above the line being typed. */
  aside(print: () => void): void {
    if (this.#isTerminal) this.#context.output.raw("\r\u001B[K");
    print();
    if (this.#isTerminal) this.#lines.prompt(true);
  }

  /** Waits until everything typed is sent. */
  async close(): Promise<void> {
    await this.#sending;
    this.#lines.close();
    if (this.#isTerminal) this.#context.output.raw("\r\u001B[K");
  }

  #steer(line: string): void {
    const text = line.trim();
    if (text !== "") {
      this.#sending = this.#sending.then(() => this.#send(text));
    }
    if (this.#isTerminal) this.#lines.prompt();
  }

  async #send(text: string): Promise<void> {
    try {
      await this.#client.sessions.sendMessage(this.#sessionId, text);
    } catch (error) {
      this.aside(() => this.#context.output.error(error));
    }
  }
}
