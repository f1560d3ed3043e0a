import { describe, expect, it } from "vitest";
import { ERROR_CODES, ERRORS, isErrorCode, StintError, toStintError } from "./error.ts";

describe("the error table", () => {
  it.each(ERROR_CODES)("has a complete row for %s", (code) => {
    const { status, exitCode, retryable, remedy } = ERRORS[code];
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(Number.isInteger(status) && status >= 400 && status < 600).toBe(true);
    expect([1, 2, 3, 4]).toContain(exitCode);
    expect(typeof retryable).toBe("boolean");
    expect(remedy).toMatch(/^[A-Z].{10,}\.$/);
    expect(remedy).not.toContain("\n");
  });

  it("exits with 4 exactly for what expires a session", () => {
    const expiring = ERROR_CODES.filter((code) => ERRORS[code].exitCode === 4);
    expect(expiring).toEqual(["idle_timeout", "queue_timeout", "paused_timeout", "deadline"]);
  });

  it("never blames the caller for what only the service can mend", () => {
    const blamed = ERROR_CODES.filter((code) => ERRORS[code].status >= 500);
    expect(blamed.filter((code) => ERRORS[code].exitCode === 2)).toEqual([]);
  });

  it("knows its codes, and no property that every object has", () => {
    expect(ERROR_CODES.every(isErrorCode)).toBe(true);
    expect(["toString", "__proto__", "", "nope", 404, null].some(isErrorCode)).toBe(false);
  });
});

describe("a StintError", () => {
  it("takes status, exit code, retryability and remedy from its code", () => {
    const error = new StintError("overloaded", "too much at once");
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: "StintError",
      code: "overloaded",
      message: "too much at once",
      status: 503,
      exitCode: 3,
      retryable: true,
      remedy: ERRORS.overloaded.remedy,
      fields: {},
    });
    expect("cause" in error).toBe(false);
  });

  it("keeps fields, cause and a more exact remedy", () => {
    const cause = new Error("ENOSPC");
    const fields = { path: "/data", freeBytes: 0 };
    const error = new StintError("disk_full", "no space", { cause, fields, remedy: "Delete x." });
    expect(error).toMatchObject({ cause, fields, remedy: "Delete x." });
  });
});

describe("toStintError", () => {
  it("leaves an error of Stint as it is", () => {
    const error = new StintError("not_found", "nothing here");
    expect(toStintError(error)).toBe(error);
  });

  it("takes any other error for an internal one and keeps it as the cause", () => {
    const cause = new TypeError("x is not a function");
    expect(toStintError(cause)).toMatchObject({ code: "internal", message: cause.message, cause });
  });

  it.each([
    ["text", "boom", "boom"],
    ["nothing", undefined, "undefined"],
    ["null", null, "null"],
    ["a symbol", Symbol("s"), "Symbol(s)"],
    ["an object without a prototype", Object.create(null), "something that is no error was thrown"],
  ])("bears %s being thrown", (_, thrown, message) => {
    const error = toStintError(thrown);
    expect(error).toMatchObject({ code: "internal", message });
  });
});
