import { expect, test } from "vitest";
import { boundFileBytes } from "./disk-space.ts";

const GIB = 1_073_741_824;
const MIB = 1_048_576;

test.each([
  ["the setting, where there is much room", 100 * GIB, 4 * GIB],
  ["what leaves the others theirs, where there is less", 3 * GIB, 2 * GIB],
  ["a megabyte, where there is nothing left to give", GIB, MIB],
  ["a megabyte, where even that is gone", 0, MIB],
])("a file may grow to %s", (_, freeBytes, expected) => {
  const bounds = { fileBytesMax: 4 * GIB, freeBytesMin: GIB };
  expect(boundFileBytes(freeBytes, bounds)).toBe(expected);
});
