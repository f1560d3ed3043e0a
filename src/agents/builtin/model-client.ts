import type * as Library from "ai";
import type { LanguageModel, ModelMessage, SystemModelMessage, ToolSet } from "ai";
import type { TokenUsage } from "../../core/event.ts";
import type { JsonObject } from "../../core/json.ts";
import type { ModelBinding } from "../../core/model.ts";
import { type AnswerEnd, encodeAnswer } from "./answer.ts";
import { ModelFailure } from "./model-failure.ts";

/** A tool as the model sees it. */
export interface ToolOffer {
  readonly name: string;
  readonly description: string;
  /** JSON schema of the arguments. */
  readonly inputSchema: JsonObject;
}

/** One request to a model. */
export interface ModelRequest {
  readonly system: string;
  readonly messages: readonly ModelMessage[];
  readonly tools: readonly ToolOffer[];
}

/** One answer of a model, encoded for the store. */
export interface ModelReply {
  readonly response: JsonObject;
  readonly usage: TokenUsage;
}

/** Sends one request, once. */
export type SendRequest = (
  request: ModelRequest,
  signal: AbortSignal,
  onProgress: () => void,
) => Promise<ModelReply>;

/** Largest answer that is read, in characters; far above the output limit of any model. */
const ANSWER_CHARS_MAX = 1_048_576;

/** Caches at the provider up to this place; only the Anthropic wire has to be asked for it. */
const CACHED = { anthropic: { cacheControl: { type: "ephemeral" } } } as const;

/**
 * Loads the libraries, which costs time and memory, and binds them to a model. Answers are
 * streamed: a long one would otherwise look like a dead connection to whatever stands between.
 */
export async function loadModelClient(binding: ModelBinding): Promise<SendRequest> {
  // Warnings of the library would go to stdout, where this process may be writing JSON lines.
  (globalThis as { AI_SDK_LOG_WARNINGS?: unknown }).AI_SDK_LOG_WARNINGS ??= false;
  const [ai, model] = await Promise.all([import("ai"), createModel(binding)]);
  return async (request, signal, onProgress) => {
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const result = ai.streamText({
        model,
        system: writeSystem(request, binding),
        messages: writeMessages(request, binding),
        tools: writeTools(ai, request.tools),
        maxRetries: 0,
        abortSignal: controller.signal,
        // Errors come as parts of the stream; without this they would also be printed.
        onError: () => undefined,
      });
      return await readReply(result, onProgress);
    } finally {
      signal.removeEventListener("abort", onAbort);
      controller.abort();
    }
  };
}

async function createModel(binding: ModelBinding): Promise<LanguageModel> {
  const { baseUrl, fetch, modelName } = binding;
  // The binding's fetch puts the real key in place of this one.
  const settings = { baseURL: baseUrl, apiKey: "held-by-the-binding", fetch };
  if (binding.wire === "anthropic") {
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    return createAnthropic(settings)(modelName);
  }
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  return createOpenAICompatible({ ...settings, name: "openai", includeUsage: true })(modelName);
}

function writeSystem({ system }: ModelRequest, { wire }: ModelBinding): SystemModelMessage {
  const cached = wire === "anthropic" ? { providerOptions: CACHED } : {};
  return { role: "system", content: system, ...cached };
}

function writeMessages({ messages }: ModelRequest, { wire }: ModelBinding): ModelMessage[] {
  const last = messages.at(-1);
  if (wire !== "anthropic" || last === undefined) return [...messages];
  return [...messages.slice(0, -1), { ...last, providerOptions: CACHED }];
}

/** Without a way to run them: the library only passes on what the model asks for. */
function writeTools(ai: typeof Library, offers: readonly ToolOffer[]): ToolSet {
  return Object.fromEntries(
    offers.map(({ name, description, inputSchema }) => [
      name,
      { description, inputSchema: ai.jsonSchema(inputSchema as object) },
    ]),
  );
}

type StreamResult = ReturnType<typeof Library.streamText>;

async function readReply(result: StreamResult, onProgress: () => void): Promise<ModelReply> {
  let chars = 0;
  let end: { readonly reason: string; readonly usage: TokenUsage } | null = null;
  for await (const part of result.fullStream) {
    onProgress();
    if (part.type === "error") throw part.error;
    if (part.type === "abort") throw new Error("The request was aborted.");
    if (part.type === "text-delta" || part.type === "reasoning-delta") chars += part.text.length;
    if (part.type === "tool-input-delta") chars += part.delta.length;
    if (chars > ANSWER_CHARS_MAX) {
      throw new ModelFailure(`The answer is longer than ${ANSWER_CHARS_MAX} characters.`);
    }
    if (part.type === "finish-step") {
      end = { reason: part.finishReason, usage: readUsage(part.usage) };
    }
  }
  if (end === null || end.reason === "error") throw new Error("The answer ended too early.");
  const { content, problems } = readContent(
    (await result.response).messages,
    await result.toolCalls,
  );
  return { response: encodeAnswer(content, problems, readEnd(end.reason)), usage: end.usage };
}

function readEnd(finishReason: string): AnswerEnd {
  if (finishReason === "content-filter") return "refused";
  return finishReason === "length" ? "cut_off" : "complete";
}

type ToolCalls = Awaited<StreamResult["toolCalls"]>;

/** The assistant message, and for each of its calls why its arguments are of no use. */
function readContent(
  messages: readonly ModelMessage[],
  calls: ToolCalls,
): { content: JsonObject[]; problems: (string | null)[] } {
  const message = messages.find(({ role }) => role === "assistant");
  const given = message?.content ?? [];
  const parts = typeof given === "string" ? [{ type: "text", text: given }] : given;
  const content = parts.filter(({ type }) => ["text", "reasoning", "tool-call"].includes(type));
  let ordinal = 0;
  const problems: (string | null)[] = [];
  const checked = content.map((part) => {
    if (part.type !== "tool-call") return part;
    const { input } = calls[ordinal++] ?? {};
    const isObject = typeof input === "object" && input !== null && !Array.isArray(input);
    problems.push(isObject ? null : "The arguments are no JSON object.");
    return isObject ? part : { ...part, input: {} };
  });
  return { content: checked as unknown as JsonObject[], problems };
}

type LanguageModelUsage = Awaited<StreamResult["usage"]>;

function readUsage(usage: LanguageModelUsage): TokenUsage {
  return {
    inputTokens: readCount(usage.inputTokens),
    outputTokens: readCount(usage.outputTokens),
    cacheReadTokens: readCount(usage.inputTokenDetails.cacheReadTokens),
    cacheWriteTokens: readCount(usage.inputTokenDetails.cacheWriteTokens),
    reasoningTokens: readCount(usage.outputTokenDetails.reasoningTokens),
  };
}

function readCount(count: number | undefined): number {
  return count !== undefined && Number.isSafeInteger(count) && count > 0 ? count : 0;
}
