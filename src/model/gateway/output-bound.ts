import { asRecord, readCount } from "./json-value.ts";

/** Tokens that are set aside for an answer whose request names no bound. */
const OUTPUT_TOKENS_ASSUMED = 32_768;

/** The most tokens that the answer to a request may have, as far as the request says it. */
export function readOutputTokensMax(fields: Readonly<Record<string, unknown>>): number {
  const config = asRecord(fields["generationConfig"] ?? fields["generation_config"]);
  const named = [
    fields["max_tokens"],
    fields["max_completion_tokens"],
    fields["max_output_tokens"],
    config["maxOutputTokens"],
    config["max_output_tokens"],
  ];
  const counts = named.map(readCount).filter((count) => count !== null);
  const each = counts.length === 0 ? OUTPUT_TOKENS_ASSUMED : Math.max(...counts);
  const answers = readCount(fields["n"]) ?? readCount(config["candidateCount"]) ?? 1;
  return each * Math.max(1, answers);
}
