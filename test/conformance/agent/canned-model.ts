import type { ModelBinding, ModelWire } from "../../../src/core/model.ts";

/** One answer of a canned model: a status with a body, or content with the reason it ended. */
export type CannedAnswer =
  | { readonly status: number; readonly body?: unknown; readonly headers?: Record<string, string> }
  | { readonly text?: string; readonly calls?: readonly CannedCall[]; readonly stop?: string }
  | { readonly hang: true }
  | { readonly broken: true };

export interface CannedCall {
  readonly name: string;
  /** The arguments as the model writes them, valid or not. */
  readonly json: string;
}

/** A model that gives these answers one after the other, and what it was asked. */
export interface CannedModel {
  readonly binding: ModelBinding;
  /** Bodies of the requests. */
  readonly requests: readonly Record<string, unknown>[];
}

/** Makes a model of answers on the Anthropic wire, without a server. */
export function createCannedModel(answers: readonly CannedAnswer[]): CannedModel {
  const requests: Record<string, unknown>[] = [];
  const wire: ModelWire = "anthropic";
  const binding: ModelBinding = {
    wire,
    modelName: "canned",
    baseUrl: "http://canned.invalid/v1",
    fetch: async (_input, init) => {
      requests.push(JSON.parse(String(init?.body)) as Record<string, unknown>);
      const answer = answers[requests.length - 1] ?? { text: "Nothing more." };
      if ("hang" in answer) return hang(init?.signal);
      if ("broken" in answer)
        throw new TypeError("fetch failed", { cause: new Error("ECONNRESET") });
      if ("status" in answer) {
        const { status, body = {}, headers = {} } = answer;
        return new Response(JSON.stringify(body), {
          status,
          headers: { "content-type": "application/json", ...headers },
        });
      }
      return new Response(writeStream(answer), {
        headers: { "content-type": "text/event-stream" },
      });
    },
  };
  return { binding, requests };
}

function hang(signal: AbortSignal | null | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

function writeStream(answer: Extract<CannedAnswer, { text?: string }>): string {
  const { text, calls = [], stop } = answer;
  const usage = { input_tokens: 10, output_tokens: 5 };
  const blocks = [
    ...(text === undefined
      ? []
      : [{ block: { type: "text", text: "" }, delta: { type: "text_delta", text } }]),
    ...calls.map(({ name, json }, index) => ({
      block: { type: "tool_use", id: `toolu_${index}`, name, input: {} },
      delta: { type: "input_json_delta", partial_json: json },
    })),
  ];
  const message = { id: "m", type: "message", role: "assistant", model: "canned", content: [] };
  const reason = stop ?? (calls.length > 0 ? "tool_use" : "end_turn");
  return [
    event("message_start", { message: { ...message, stop_reason: null, usage } }),
    ...blocks.flatMap(({ block, delta }, index) => [
      event("content_block_start", { index, content_block: block }),
      event("content_block_delta", { index, delta }),
      event("content_block_stop", { index }),
    ]),
    event("message_delta", { delta: { stop_reason: reason, stop_sequence: null }, usage }),
    event("message_stop", {}),
  ].join("");
}

function event(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}
