/**
 * What models cost, in US dollars per million tokens, as their vendors listed them on `PRICES_AT`.
 * A model that is not here, or that is reached at another address than its vendor's own, has no
 * price: its cost is not known, and no guess is made. The setting `prices` adds and overrides.
 */
import type { TokenUsage } from "../core/event.ts";
import type { ModelPrice } from "../core/model.ts";

/** When the table was last compared with what the vendors publish. */
export const PRICES_AT = "2026-11-28";

const claude = (input: number, output: number, cacheRead = input / 10): ModelPrice => ({
  input,
  output,
  cacheRead,
  cacheWrite: input * 1.25,
  cacheWriteLong: input * 2,
});

const gpt = (input: number, cacheRead: number, output: number): ModelPrice => ({
  input,
  output,
  cacheRead,
  cacheWrite: input,
});

const gemini = (input: number, cacheRead: number, output: number): ModelPrice =>
  gpt(input, cacheRead, output);

/** Longer requests of some models cost more as a whole. */
const above = (tokens: number, base: ModelPrice, long: ModelPrice): ModelPrice => ({
  ...base,
  long: { aboveInputTokens: tokens, price: long },
});

const PRICES: Readonly<Record<string, ModelPrice>> = {
  "anthropic:claude-fable-5-1": claude(10, 50, 0.25),
  "anthropic:claude-fable-5": claude(10, 50),
  "anthropic:claude-opus-5-5": claude(4, 20, 0.2),
  "anthropic:claude-opus-5": claude(5, 25),
  "anthropic:claude-opus-4-8": claude(5, 25),
  "anthropic:claude-opus-4-7": claude(5, 25),
  "anthropic:claude-opus-4-6": claude(5, 25),
  "anthropic:claude-opus-4-5": claude(5, 25),
  "anthropic:claude-opus-4-1": claude(15, 75),
  "anthropic:claude-opus-4": claude(15, 75),
  "anthropic:claude-sonnet-5-5": claude(2, 10, 0.1),
  "anthropic:claude-sonnet-5": claude(2, 10),
  "anthropic:claude-sonnet-4-6": claude(3, 15),
  "anthropic:claude-sonnet-4-5": claude(3, 15),
  "anthropic:claude-sonnet-4": claude(3, 15),
  "anthropic:claude-haiku-5-5": above(100_000, claude(0.1, 0.5), claude(0.5, 2.5)),
  "anthropic:claude-haiku-4-5": claude(1, 5),
  "anthropic:claude-3-5-haiku": claude(0.8, 4),
  "openai:gpt-5.5": gpt(5, 0.5, 30),
  "openai:gpt-5.4": gpt(2.5, 0.25, 15),
  "openai:gpt-5.4-mini": gpt(0.75, 0.075, 4.5),
  "openai:gpt-5.4-nano": gpt(0.2, 0.02, 1.25),
  "openai:gpt-5.3-codex": gpt(1.75, 0.175, 14),
  "openai:gpt-5.2": gpt(1.75, 0.175, 14),
  "openai:gpt-5.2-codex": gpt(1.75, 0.175, 14),
  "openai:gpt-5.1": gpt(1.25, 0.125, 10),
  "openai:gpt-5.1-codex": gpt(1.25, 0.125, 10),
  "openai:gpt-5.1-codex-max": gpt(1.25, 0.125, 10),
  "openai:gpt-5": gpt(1.25, 0.125, 10),
  "openai:gpt-5-codex": gpt(1.25, 0.125, 10),
  "openai:gpt-5-mini": gpt(0.25, 0.025, 2),
  "openai:gpt-5-nano": gpt(0.05, 0.005, 0.4),
  "openai:gpt-4.1": gpt(2, 0.5, 8),
  "openai:gpt-4.1-mini": gpt(0.4, 0.1, 1.6),
  "openai:o3": gpt(2, 0.5, 8),
  "openai:o4-mini": gpt(1.1, 0.275, 4.4),
  "gemini:gemini-3.1-pro-preview": above(200_000, gemini(2, 0.2, 12), gemini(4, 0.4, 18)),
  "gemini:gemini-2.5-pro": above(200_000, gemini(1.25, 0.125, 10), gemini(2.5, 0.25, 15)),
  "gemini:gemini-2.5-flash": gemini(0.3, 0.03, 2.5),
  "gemini:gemini-2.5-flash-lite": gemini(0.1, 0.01, 0.4),
  // A script stands in for the model.
  "scripted:scripted": gpt(0, 0, 0),
};

/** Which price holds for a model. */
export interface PriceQuestion {
  readonly provider: string;
  readonly model: string;
  /** False where the provider is reached at another address than its own. */
  readonly isVendorOwn: boolean;
  /** The setting `prices`. */
  readonly overrides: Readonly<Record<string, ModelPrice>>;
}

/** The price of a model, or null where none is known. */
export function findPrice(question: PriceQuestion): ModelPrice | null {
  const { provider, model, isVendorOwn, overrides } = question;
  if (provider === "scripted") {
    return overrides["scripted"] ?? PRICES["scripted:scripted"] ?? null;
  }
  const names = [model, model.replace(/(-latest|-\d{8}|-\d{4}-\d{2}-\d{2})$/, "")];
  for (const name of names) {
    const key = `${provider}:${name}`;
    if (Object.hasOwn(overrides, key)) return overrides[key] ?? null;
    if (isVendorOwn && Object.hasOwn(PRICES, key)) return PRICES[key] ?? null;
  }
  return null;
}

/** The cost of a call in US dollars. What is cached costs as fresh where no price is given for it. */
export function computeCost(
  price: ModelPrice,
  usage: TokenUsage,
  cacheWriteLongTokens = 0,
): number {
  const { long } = price;
  if (long && usage.inputTokens > long.aboveInputTokens) {
    return computeCost(long.price, usage, cacheWriteLongTokens);
  }
  const { inputTokens, outputTokens, cacheReadTokens } = usage;
  const longTokens = Math.min(cacheWriteLongTokens, usage.cacheWriteTokens);
  const shortTokens = usage.cacheWriteTokens - longTokens;
  const fresh = Math.max(0, inputTokens - cacheReadTokens - usage.cacheWriteTokens);
  const cacheWrite = price.cacheWrite ?? price.input;
  const perMillion =
    fresh * price.input +
    cacheReadTokens * (price.cacheRead ?? price.input) +
    shortTokens * cacheWrite +
    longTokens * (price.cacheWriteLong ?? cacheWrite) +
    outputTokens * price.output;
  return perMillion / 1_000_000;
}
