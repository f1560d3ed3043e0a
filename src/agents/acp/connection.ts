import type { ClientConnection } from "@agentclientprotocol/sdk";
import type { AttemptContext, CustodyExit, CustodyProcess } from "../../core/attempt.ts";
import { delay, waitWithin } from "../../core/clock.ts";
import { StintError, toStintError } from "../../core/error.ts";
import type { JsonObject } from "../../core/json.ts";
import { asObject, readField, readText } from "../json-fields.ts";
import { cleanText } from "../output/clean-text.ts";
import { StderrTail } from "../output/stderr-tail.ts";
import { MessageStream } from "./message-stream.ts";

/** What answers an agent. */
export interface AgentHandlers {
  readonly onUpdate: (params: JsonObject) => Promise<void>;
  /** Told what it prints to stderr, as text without controls of a terminal. */
  readonly onStderr: (text: string) => void;
  /** Requests of the agent by method; any other is answered with an error. */
  readonly requests: Readonly<Record<string, (params: JsonObject) => Promise<JsonObject>>>;
}

/** An agent answered a request with an error. */
export class AgentRefusal extends Error {
  readonly code: number;

  constructor(method: string, code: number, message: string) {
    super(`${method}: ${message}`);
    this.name = "AgentRefusal";
    this.code = code;
  }
}

const DETAIL_CHARS_MAX = 2_000;
const STDOUT_GRACE_MS = 1_000;

/**
 * A conversation with an agent's process. Notifications are handled in order, before the answers
 * that follow them. When the agent ends, or breaks the protocol, whatever waits for it rejects.
 */
export class AgentConnection {
  readonly #context: AttemptContext;
  readonly #process: CustodyProcess;
  readonly #wire: MessageStream;
  readonly #stderr: StderrTail;
  readonly #client: ClientConnection;
  /** Rejects when there is nobody to talk to any more. */
  readonly #gone: Promise<never>;
  /** Why there is nobody to talk to any more. */
  #end: unknown = null;

  private constructor(
    context: AttemptContext,
    process: CustodyProcess,
    wire: MessageStream,
    client: ClientConnection,
    onStderr: (text: string) => void,
  ) {
    this.#context = context;
    this.#process = process;
    this.#wire = wire;
    this.#client = client;
    this.#stderr = new StderrTail(process.stderr, (text) => {
      context.log.debug({ sessionId: context.sessionId, stderr: text }, "An agent said on stderr");
      onStderr(text);
    });
    this.#gone = this.#watch();
    this.#gone.catch(() => undefined); // each request races it; there may be none yet
  }

  /** Connects to a fresh process. */
  static async open(
    context: AttemptContext,
    process: CustodyProcess,
    handlers: AgentHandlers,
  ): Promise<AgentConnection> {
    const { stdin, stdout } = process;
    if (stdin === null) throw new TypeError("an agent is talked to through its stdin");
    const wire = new MessageStream({
      ...{ stdin, stdout, clock: context.clock },
      onNotification: async (method, params) => {
        if (method === "session/update") await handlers.onUpdate(params);
      },
      onGarbage: (line) => context.log.debug({ line }, "An agent printed what is no message"),
    });
    const { client, RequestError } = await import("@agentclientprotocol/sdk");
    const app = client({ name: "stint" });
    for (const [method, handle] of Object.entries(handlers.requests)) {
      app.onRequest(
        method,
        (params: unknown) => asObject(params) ?? {},
        async ({ params }) => {
          try {
            return await handle(params);
          } catch (thrown) {
            const { code, message } = toStintError(thrown);
            const [number, said] = code === "internal" ? [-32_603, "failed"] : [-32_602, message];
            throw new RequestError(number, said);
          }
        },
      );
    }
    const connected = app.connect(wire.stream);
    return new AgentConnection(context, process, wire, connected, handlers.onStderr);
  }

  /** A sentence with the last words of the agent; empty when it said nothing. */
  get #lastWords(): string {
    const { garbage } = this.#wire;
    const printed = garbage === "" ? "" : ` It printed: ${cleanText(garbage)}`;
    return `${printed}${this.#stderr.sentence}`;
  }

  /**
   * Asks the agent. @throws {AgentRefusal} for an answer that is an error.
   * @throws {agent_error} {agent_protocol_error} when the agent ends or breaks the protocol, and
   * when it does not answer in time.
   */
  async request(method: string, params: JsonObject, timeoutMs?: number): Promise<JsonObject> {
    const over = new AbortController();
    try {
      const answer = this.#client.agent.request<unknown, JsonObject>(method, params);
      const races: Promise<unknown>[] = [answer, this.#gone];
      if (timeoutMs !== undefined) races.push(this.#limit(method, timeoutMs, over.signal));
      return asObject(await Promise.race(races)) ?? {};
    } catch (thrown) {
      throw this.#explain(method, thrown);
    } finally {
      over.abort();
    }
  }

  /** Tells the agent; it may have ended. */
  notify(method: string, params: JsonObject): void {
    this.#client.agent.notify(method, params).catch(() => undefined); // the agent has ended: `#gone` tells so
  }

  /** Ends the agent: closes its stdin, then SIGTERM, then SIGKILL. Resolves when nothing of it lives. */
  async stop(patienceMs: number, graceMs: number): Promise<CustodyExit> {
    const { clock } = this.#context;
    if (patienceMs > 0) {
      this.#process.stdin?.end();
      await waitWithin(clock, patienceMs, this.#process.exited);
    }
    const exit = await this.#process.stop(graceMs);
    this.#close();
    return exit;
  }

  async #limit(method: string, timeoutMs: number, signal: AbortSignal): Promise<never> {
    await delay(this.#context.clock, timeoutMs, signal);
    throw new StintError(
      "agent_error",
      `The agent did not answer ${method} within ${timeoutMs} ms.${this.#lastWords}`,
    );
  }

  async #watch(): Promise<never> {
    let broken: unknown = null;
    const reading = this.#wire.read().catch((thrown: unknown) => {
      broken = thrown;
      void this.#process.stop(0);
    });
    const exit = await this.#process.exited;
    // What it said last may still be in the pipe, or be held open by what it has left behind.
    const lastWords = Promise.all([reading, this.#stderr.ended]);
    await waitWithin(this.#context.clock, STDOUT_GRACE_MS, lastWords);
    this.#process.stdout.destroy();
    this.#process.stderr.destroy();
    this.#end = broken === null ? this.#describeExit(exit) : this.#describeBreak(broken);
    this.#close();
    throw this.#end;
  }

  #describeExit(exit: CustodyExit): StintError {
    const how =
      exit.code === null ? `by ${exit.signal ?? "a signal"}` : `with exit code ${exit.code}`;
    const message = `The agent ended ${how} while its answer was waited for.${this.#lastWords}`;
    return new StintError("agent_crashed", message, { fields: { exitCode: exit.code } });
  }

  /** A breach of the protocol is told with the last words; any other failure is not the agent's. */
  #describeBreak(broken: unknown): unknown {
    if (!(broken instanceof StintError) || broken.code !== "agent_protocol_error") return broken;
    const message = `${broken.message}${this.#lastWords}`;
    return new StintError("agent_protocol_error", message, { cause: broken });
  }

  #close(): void {
    this.#wire.close();
    this.#client.close();
  }

  #explain(method: string, thrown: unknown): unknown {
    if (thrown instanceof StintError) return thrown;
    const code = (thrown as { code?: unknown } | null)?.code;
    if (typeof code !== "number") {
      // The SDK says only that the connection is closed.
      return this.#end ?? new StintError("agent_error", `The agent was stopped during ${method}.`);
    }
    const { message, data } = thrown as { message?: unknown; data?: unknown };
    return new AgentRefusal(method, code, describeRefusal(String(message), data));
  }
}

/** The message of a JSON-RPC error with what its data adds; agents put the cause there. */
function describeRefusal(message: string, data: unknown): string {
  const fields = asObject(data);
  const detail =
    typeof data === "string"
      ? data
      : (readText(fields, "details") ?? readText(fields, "message") ?? readNested(fields));
  const whole = detail === null || message.includes(detail) ? message : `${message}: ${detail}`;
  return cleanText(whole).slice(0, DETAIL_CHARS_MAX);
}

function readNested(fields: JsonObject | null): string | null {
  const error = readField(fields, "error");
  if (typeof error === "string") return error;
  return readText(asObject(error), "message");
}
