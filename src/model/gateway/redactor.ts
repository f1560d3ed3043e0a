/** What stands where a key stood. */
export const REMOVED = "[removed]";

/**
 * Takes known secrets out of texts: as they are, as JSON, URLs and base64 write them. Short values
 * are no keys and are left alone.
 */
export class Redactor {
  readonly #forms: readonly string[];

  constructor(secrets: readonly string[]) {
    const known = secrets.filter((secret) => secret.length >= 8);
    const forms = known.flatMap((secret) => [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret),
      ...listBase64(secret),
    ]);
    this.#forms = [...new Set(forms)].sort((a, b) => b.length - a.length);
  }

  /** The text without any of the secrets. */
  redact(text: string): string {
    return this.#forms.reduce((rest, form) => rest.replaceAll(form, REMOVED), text);
  }

  /** As `redact`, of a text that was cut: without an end that may be the beginning of a secret. */
  redactCut(text: string): string {
    const redacted = this.redact(text);
    return redacted.slice(0, Math.max(0, redacted.length - (this.#forms[0]?.length ?? 0)));
  }
}

/** The part of a base64 text that does not depend on what stands around, at each alignment. */
function listBase64(secret: string): readonly string[] {
  return [0, 1, 2].map((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(secret)]);
    const whole = bytes.subarray(0, bytes.length - (bytes.length % 3));
    return whole.toString("base64").slice(before === 0 ? 0 : 4);
  });
}
