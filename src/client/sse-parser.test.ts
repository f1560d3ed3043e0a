import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SseParser } from "./sse-parser.ts";

function parse(...pieces: string[]) {
  const parser = new SseParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

describe("SseParser", () => {
  it("reads fields, comments, several data lines and the id of earlier messages", () => {
    expect(parse(": hi\n\nid: 7\ndata: a\ndata:b\n\nevent: x\ndata:  c\n\n")).toEqual([
      { event: "message", data: "a\nb", id: "7" },
      { event: "x", data: " c", id: "7" },
    ]);
  });

  it("drops what the stream cuts off and messages without data", () => {
    expect(parse("event: x\n\ndata: a\n")).toEqual([]);
  });

  it("reads the same messages however the text is cut and whatever ends its lines", () => {
    const line = fc.constantFrom("data: a", "data", "id: 3", ": c", "event: e", "", "", "x:y");
    const ends = fc.constantFrom("\n", "\r\n", "\r");
    fc.assert(
      fc.property(fc.array(line), ends, fc.array(fc.nat(12)), (lines, end, cuts) => {
        const text = lines.map((item) => item + end).join("");
        const pieces: string[] = [];
        let rest = text;
        for (const cut of cuts) {
          pieces.push(rest.slice(0, cut));
          rest = rest.slice(cut);
        }
        const plain = lines.map((item) => `${item}\n`).join("");
        expect(parse(...pieces, rest)).toEqual(parse(plain));
      }),
    );
  });

  it("refuses a message without an end", () => {
    const parser = new SseParser();
    const piece = `data: ${"x".repeat(1_048_576)}\n`;
    expect(() => {
      for (let index = 0; index < 17; index++) parser.push(piece);
    }).toThrow(RangeError);
  });
});
