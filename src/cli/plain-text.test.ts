import { describe, expect, it } from "vitest";
import { formatAge, formatDuration, parseDurationMs } from "./duration.ts";
import { formatCount } from "./session-table.ts";
import { shortenIds } from "./session-text.ts";
import { formatTable } from "./table.ts";
import { textWidth, truncateLine } from "./text-width.ts";

describe("durations", () => {
  it.each([
    ["250", 250],
    ["90s", 90_000],
    ["1.5h", 5_400_000],
    ["2 d", 172_800_000],
  ])("reads %s", (text, ms) => expect(parseDurationMs(text)).toBe(ms));

  it.each(["", "s", "-1s", "1w", "1e9", "1s1s"])("refuses %j", (text) =>
    expect(() => parseDurationMs(text)).toThrow("is no duration"),
  );

  it.each([
    [0, "0ms"],
    [59_999, "59s"],
    [200_000, "3m 20s"],
    [7_200_000, "2h"],
    [187_200_000, "2d 4h"],
  ])("writes %i as %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

  it("writes ages", () => {
    const now = Date.parse("2026-01-02T00:00:00Z");
    expect(formatAge("2026-01-01T20:59:00Z", now)).toBe("3h");
    expect(formatAge("2026-01-02T00:00:05Z", now)).toBe("now");
    expect(formatAge(null, now)).toBe("–");
  });
});

const red = (text: string) => `<${text}>`;

describe("tables", () => {
  it("align by what a terminal shows, colours aside", () => {
    const columns = [{ title: "A" }, { title: "N", align: "right" as const }, { title: "C" }];
    const rows = [
      [{ text: "日本", style: red }, { text: "1" }, { text: "x" }],
      [{ text: "abc" }, { text: "100" }, { text: "" }],
    ];
    expect(formatTable(columns, rows, (text) => text)).toEqual([
      "A       N  C",
      "<日本>    1  x",
      "abc   100",
    ]);
  });

  it("measure wide, combined and joined characters", () => {
    expect(["abc", "日本", "e\u0301", "👩‍👧", "✓", ""].map(textWidth)).toEqual([3, 4, 1, 2, 1, 0]);
    expect(truncateLine("日本語です", 7)).toBe("日本語…");
    expect(truncateLine("abc", 3)).toBe("abc");
  });

  it("shorten ids only as far as they stay apart", () => {
    const short = shortenIds(["0123456789-a", "0123456789-b", "ffffffffffff"]);
    expect([...short.values()]).toEqual(["0123456789-a", "0123456789-b", "ffffffff"]);
  });

  it.each([
    [999, "999"],
    [1_234, "1.2k"],
    [99_960, "100k"],
    [999_600, "1.0M"],
    [25_000_000, "25M"],
  ])("write the count %i as %s", (count, text) => expect(formatCount(count)).toBe(text));
});
