/** A number that stands for a text: the same for the same text, in every run. */
export function hashText(text: string): number {
  let hash = 2_166_136_261;
  for (let place = 0; place < text.length; place++) {
    hash = Math.imul(hash ^ text.charCodeAt(place), 16_777_619);
  }
  return hash >>> 0;
}

/**
 * What goes wrong in a scenario, and what users ask for, each by a name that says where: a scenario
 * is drawn whole, and any part of it can be run again. Names tell places by what is done there, so
 * that what is left out elsewhere moves none of them.
 */
export class Choices {
  /** What happened, in order. */
  readonly taken: string[] = [];
  readonly #kept: ReadonlySet<string> | null;

  /** Null: all that is drawn happens. */
  constructor(kept: readonly string[] | null) {
    this.#kept = kept && new Set(kept);
  }

  /** Whether what was drawn happens. */
  happens(name: string): boolean {
    const isChosen = this.#kept?.has(name) ?? true;
    if (isChosen) this.taken.push(name);
    return isChosen;
  }

  /** Which of several faults happens in a place. */
  pick<T extends string>(place: string, all: readonly T[], draw: () => T | null): T | null {
    const kept = this.#kept;
    const chosen = kept ? (all.find((one) => kept.has(`${place} ${one}`)) ?? null) : draw();
    if (chosen !== null) this.taken.push(`${place} ${chosen}`);
    return chosen;
  }
}
