import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { type Clock, delay } from "../../core/clock.ts";
import type { Answer } from "./answer.ts";
import type { ModelRequest } from "./request.ts";
import type { Wire } from "./wire.ts";

/** While an answer waits, something is sent this often: clients give up on a silent socket. */
export const KEEP_ALIVE_MS = 10_000;

/** Where and how one answer is written. */
export interface AnswerChannel {
  readonly wire: Wire;
  readonly response: ServerResponse;
  readonly clock: Clock;
  /** Aborts when the client goes away or the server closes. */
  readonly signal: AbortSignal;
  /** Pause after each piece of a stream. */
  readonly chunkDelayMs: number;
}

/** Streams an answer as it is made. Rejects with the signal's reason when it aborts. */
export async function streamAnswer(
  channel: AnswerChannel,
  answer: Answer,
  request: ModelRequest,
): Promise<void> {
  const { wire, response, signal } = channel;
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    [wire.requestIdHeader]: `req_${answer.id}`,
  });
  response.flushHeaders();
  for (const piece of wire.writeStream(answer, request)) {
    signal.throwIfAborted();
    if (typeof piece !== "string") {
      await waitAlive(channel, piece.delayMs, wire.keepAlive);
      continue;
    }
    if (!response.write(piece)) await once(response, "drain", { signal });
    if (channel.chunkDelayMs > 0) await delay(channel.clock, channel.chunkDelayMs, signal);
  }
  response.end();
}

/**
 * Sends an answer whole. One that is delayed sends white space meanwhile, which JSON allows.
 * Rejects with the signal's reason when it aborts.
 */
export async function sendAnswer(channel: AnswerChannel, answer: Answer): Promise<void> {
  const { wire, response } = channel;
  response.writeHead(200, {
    "content-type": "application/json",
    [wire.requestIdHeader]: `req_${answer.id}`,
  });
  for (const part of answer.parts) {
    if (part.kind !== "delay") continue;
    response.flushHeaders();
    await waitAlive(channel, part.delayMs, " ");
  }
  response.end(JSON.stringify(wire.writeJson(answer)));
}

async function waitAlive(channel: AnswerChannel, delayMs: number, sign: string): Promise<void> {
  const { clock, response, signal } = channel;
  for (let restMs = delayMs; restMs > 0; restMs -= KEEP_ALIVE_MS) {
    await delay(clock, Math.min(restMs, KEEP_ALIVE_MS), signal);
    if (restMs > KEEP_ALIVE_MS) response.write(sign);
  }
}
