import * as fc from "fast-check";
import { expect, it } from "vitest";
import { type Json, toStorable } from "../../core/json.ts";
import { cleanText, decodeAnswer, encodeAnswer } from "./answer.ts";

it("an answer comes back from a database exactly as it was, whatever it holds", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("a\u0000", "\ud83d", "😀"));
  fc.assert(
    fc.property(text, text, (said, argument) => {
      const content = [
        { type: "text", text: said },
        { type: "tool-call", toolCallId: "1", toolName: "bash", input: { command: argument } },
      ];
      const stored = JSON.parse(
        JSON.stringify(toStorable(encodeAnswer(content, [null], "complete"))),
      ) as Json;
      const answer = decodeAnswer(stored);
      expect(answer.content).toEqual(content);
      expect(answer.text).toBe(said);
      expect(answer.calls).toEqual([
        { id: "1", name: "bash", input: { command: argument }, problem: null },
      ]);
    }),
  );
});

it("an answer of an unknown form is refused", () => {
  expect(() => decodeAnswer({ format: 99 })).toThrow("another version");
});

it("clean text is what a database can hold", () => {
  expect(cleanText("a\u0000\ud83db😀")).toBe("a\u2400\ufffdb😀");
});
