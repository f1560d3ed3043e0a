import { array, assert, property, string, tuple } from "fast-check";
import { describe, expect, it } from "vitest";
import { findShellOperator, formatCommandLine, parseCommandLine } from "./command-line.ts";

describe("a command line", () => {
  it.each([
    ["npm test", ["npm", "test"]],
    ["  a\t'b c'  \"d e\" ", ["a", "b c", "d e"]],
    ["sh -c 'echo $HOME | wc'", ["sh", "-c", "echo $HOME | wc"]],
    ["a\"b\"'c'd", ["abcd"]],
    ["a ''", ["a", ""]],
    ["a\\ b", ["a b"]],
    ['"a\\"b\\n"', ['a"b\\n']],
    ["'a\\b'", ["a\\b"]],
    ["echo $HOME *.ts > x | y", ["echo", "$HOME", "*.ts", ">", "x", "|", "y"]],
  ])("%j has the words %j", (line, words) => {
    expect(parseCommandLine(line)).toEqual(words);
  });

  it.each(["", "   ", "''", "a 'b", 'a "b'])("refuses %j", (line) => {
    expect(() => parseCommandLine(line)).toThrow("The command line cannot be used");
  });

  it.each([
    ["echo hi | wc -c", "|"],
    ["make && make test", "&&"],
    ["ls > out.txt", ">"],
    ["ls >out.txt", ">out.txt"],
    ["make 2>&1", "2>&1"],
    ["sleep 9 &", "&"],
    ["sh -c 'echo hi | wc -c'", null],
    ["grep '|' table.txt", null],
    ['grep "a > b" x', null],
    ["npm test", null],
    ["a 'b |", null],
  ])("%j has %j of a shell", (line, operator) => {
    expect(findShellOperator(line)).toBe(operator);
  });

  it("reads back any words that it writes", () => {
    const words = tuple(string({ minLength: 1 }), array(string())).map(([a, b]) => [a, ...b]);
    assert(
      property(words, (given) => {
        expect(parseCommandLine(formatCommandLine(given))).toEqual(given);
      }),
    );
  });
});
