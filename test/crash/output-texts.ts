import { EMPTY_FOLD, foldEvent } from "../../src/core/fold.ts";
import type { Store } from "../../src/core/store.ts";

/**
 * The output that the whole log of a session holds, by seq.
 * @throws for gaps, illegal transitions and epochs out of order.
 */
export async function readOutputTexts(store: Store, id: string): Promise<Map<number, string>> {
  const texts = new Map<number, string>();
  let fold = EMPTY_FOLD;
  for (;;) {
    const events = await store.readEvents(id, { after: fold.lastSeq, limit: 5_000 });
    if (events.length === 0) return texts;
    for (const event of events) {
      fold = foldEvent(fold, event);
      if (event.type === "terminal") texts.set(event.seq, String(event.data["output"]));
    }
  }
}
