import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { boundLog, measureLog, readLogSince } from "./bounded-log.ts";

let parent: string;
let path: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "stint-log-"));
  path = join(parent, "postgres.log");
});

afterEach(() => rmSync(parent, { recursive: true, force: true }));

it("empties a log that grew too long while another holds it open", () => {
  const writer = openSync(path, "a");
  writeSync(writer, "0123456789");
  boundLog(path, 8);
  writeSync(writer, "after");
  closeSync(writer);
  expect(readFileSync(path, "utf8")).toBe("after");
  expect(readFileSync(`${path}.1`, "utf8")).toBe("0123456789");
});

it("leaves a short log and a missing one alone", () => {
  boundLog(path);
  writeFileSync(path, "short");
  boundLog(path);
  expect(readFileSync(path, "utf8")).toBe("short");
});

it("reads what came since, the end of it where it is long, all of it after it was emptied", () => {
  expect(readLogSince(path, 0)).toBe("");
  writeFileSync(path, "before after");
  expect(readLogSince(path, 7)).toBe("after");
  expect(readLogSince(path, 0, 5)).toBe("after");
  expect(readLogSince(path, measureLog(path) + 1)).toBe("before after");
});
