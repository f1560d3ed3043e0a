import type { Queryable } from "./connection-pool.ts";
import { BinaryArray, ELEMENT } from "./binary-array.ts";
import { onlyRow } from "./rows.ts";
import type { PreparedEvent, Slot } from "./slot.ts";

/** How the database answered for one slot. */
export interface SlotAnswer {
  readonly status: "ok" | "fenced" | "gone" | "stale" | "rejected";
  readonly epoch: number;
  readonly lastSeq: number;
  /** SQLSTATE of a rejection. */
  readonly code: string;
  readonly message: string;
}

const APPEND_EVENTS = {
  name: "append_events",
  text: `select heads, details from stint.append_events($1::uuid[], $2::bigint[], $3::bigint[],
    $4::integer[], $5::uuid[], $6::jsonb[], $7::uuid[], $8::integer[], $9::integer[], $10::text[],
    $11::jsonb[])`,
};

/** Writes slots in one call, durably. The answers are in the order of the slots. */
export async function callAppendEvents(
  client: Queryable,
  slots: readonly Slot[],
): Promise<SlotAnswer[]> {
  const { rows } = await client.query<{
    heads: (number | null)[];
    details: (Partial<SlotAnswer> & { ix: number })[] | null;
  }>({ ...APPEND_EVENTS, values: [...encodeSlots(slots), ...encodeEvents(slots)] });
  const { heads, details } = onlyRow(rows);
  const told = new Map(details?.map((detail) => [detail.ix, detail]));
  return slots.map((slot, place) => toAnswer(slot, heads[place] ?? null, told.get(place + 1)));
}

/**
 * Whether the database can store these payloads; nothing is written.
 * @throws what the database answers when it cannot.
 */
export async function probeEvents(
  client: Queryable,
  events: readonly PreparedEvent[],
): Promise<void> {
  await client.query({
    name: "probe_events",
    text: "select count(*) from unnest($1::text[], $2::jsonb[])",
    values: [encodeTypes(events), encodePayloads(events)],
  });
}

function toAnswer(
  slot: Slot,
  head: number | null,
  detail: Partial<SlotAnswer> | undefined,
): SlotAnswer {
  const lastSeq = slot.base + slot.events.length + (slot.hasTransition ? 1 : 0);
  const epoch = slot.epoch + (slot.hasTransition ? 1 : 0);
  const ok = { status: "ok", epoch, lastSeq, code: "", message: "" } as const;
  // Of a slot that an earlier call committed the database tells the state of now: not our answer.
  if (head !== null || detail?.status === "ok") return ok;
  return { ...ok, status: "gone", ...detail };
}

function encodeSlots(slots: readonly Slot[]): Buffer[] {
  const count = slots.length;
  const partBytes = slots.reduce((sum, { partBytes }) => sum + partBytes + 5, 0);
  const ids = new BinaryArray(ELEMENT.uuid, count * 20);
  const epochs = new BinaryArray(ELEMENT.int8, count * 12);
  const bases = new BinaryArray(ELEMENT.int8, count * 12);
  const counts = new BinaryArray(ELEMENT.int4, count * 8);
  const lastIds = new BinaryArray(ELEMENT.uuid, count * 20);
  const parts = new BinaryArray(ELEMENT.jsonb, partBytes);
  for (const slot of slots) {
    ids.addUuid(slot.sessionId);
    epochs.addInt8(slot.epoch);
    bases.addInt8(slot.base);
    counts.addInt4(slot.events.length);
    lastIds.addUuid(slot.lastId);
    if (slot.part === null) parts.addNull();
    else parts.addJsonb(slot.part, slot.partBytes);
  }
  return [ids, epochs, bases, counts, lastIds, parts].map((array) => array.finish());
}

function encodeEvents(slots: readonly Slot[]): Buffer[] {
  const events = slots.flatMap((slot) => slot.events);
  const ids = new BinaryArray(ELEMENT.uuid, events.length * 20);
  const slotPlaces = new BinaryArray(ELEMENT.int4, events.length * 8);
  const places = new BinaryArray(ELEMENT.int4, events.length * 8);
  for (const [slotPlace, slot] of slots.entries()) {
    for (const [place, event] of slot.events.entries()) {
      ids.addUuid(event.id);
      slotPlaces.addInt4(slotPlace + 1);
      places.addInt4(place + 1);
    }
  }
  const arrays = [ids, slotPlaces, places].map((array) => array.finish());
  return [...arrays, encodeTypes(events), encodePayloads(events)];
}

function encodeTypes(events: readonly PreparedEvent[]): Buffer {
  const types = new BinaryArray(
    ELEMENT.text,
    events.reduce((sum, { type }) => sum + type.length + 4, 0),
  );
  for (const { type } of events) types.addText(type, type.length);
  return types.finish();
}

function encodePayloads(events: readonly PreparedEvent[]): Buffer {
  const payloads = new BinaryArray(
    ELEMENT.jsonb,
    events.reduce((sum, { bytes }) => sum + bytes + 5, 0),
  );
  for (const { json, bytes } of events) payloads.addJsonb(json, bytes);
  return payloads.finish();
}
