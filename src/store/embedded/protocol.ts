import type { Socket } from "node:net";
import { type ErrorFields, isErrorCode, StintError } from "../../core/error.ts";

/** Version of the conversation between holders and supervisor; both sides must agree. */
export const PROTOCOL_VERSION = 1;

const LINE_CHARS_MAX = 65_536;

/** What a supervisor tells its holders, one JSON object per line. */
export type SupervisorMessage =
  { readonly kind: "progress"; readonly step: string } | ReadyMessage | FailedMessage;

/** Postgres accepts connections. */
export interface ReadyMessage {
  readonly kind: "ready";
  readonly protocol: number;
  readonly supervisorPid: number;
  readonly port: number;
  readonly systemIdentifier: string;
  /** This supervisor made the cluster. */
  readonly firstStart: boolean;
}

/** Postgres could not be started; the supervisor ends. */
export interface FailedMessage {
  readonly kind: "failed";
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
  readonly fields: ErrorFields;
}

/** What a holder says first. */
export interface HelloMessage {
  readonly kind: "hello";
  /** How long Postgres stays up without a holder; the latest hello counts. */
  readonly stopDelayMs: number;
}

/** Puts an error into the form that crosses the socket. */
export function encodeFailure(error: StintError): FailedMessage {
  const { code, message, remedy, fields } = error;
  return { kind: "failed", code, message, remedy, fields };
}

/** Makes the error again that the supervisor met. */
export function decodeFailure(failure: FailedMessage): StintError {
  const code = isErrorCode(failure.code) ? failure.code : "database_unavailable";
  const { message, remedy, fields } = failure;
  return new StintError(code, message, { remedy, fields });
}

/** Sends one message. A peer that is gone is noticed by its `close` event, not here. */
export function sendMessage(socket: Socket, message: SupervisorMessage | HelloMessage): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

/** Calls `onMessage` for every line that is a JSON object; other lines end the conversation. */
export function readMessages(
  socket: Socket,
  onMessage: (message: { kind?: unknown }) => void,
): void {
  let pending = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    const lines = (pending + chunk).split("\n");
    pending = lines.pop() ?? "";
    for (const line of lines) {
      const message = parseObject(line);
      if (message === undefined) return void socket.destroy();
      onMessage(message);
    }
    if (pending.length > LINE_CHARS_MAX) socket.destroy();
  });
}

function parseObject(line: string): { kind?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined; // Not JSON: the caller ends the conversation.
  }
}
