import { type CustomTypesConfig, types } from "pg";

const INT8 = 20;
const INT8_ARRAY = 1016;

/** Reads a bigint as a number. Counters stay far below 2^53; one that does not is a broken row. */
function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`${text} is no safe integer`);
  return value;
}

function parseInt8Array(text: string): (number | null)[] {
  if (text === "{}") return [];
  const items = text.slice(1, -1).split(",");
  return items.map((item) => (item === "NULL" ? null : parseInt8(item)));
}

/** How column values become JavaScript values: as pg does it, but int8 as number. */
export const typeParsers: CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") => {
    if (format !== "binary" && oid === INT8) return parseInt8;
    if (format !== "binary" && oid === INT8_ARRAY) return parseInt8Array;
    return types.getTypeParser(oid, format as "text");
  }) as typeof types.getTypeParser,
};
