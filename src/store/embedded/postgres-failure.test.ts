import { expect, it } from "vitest";
import { explainFailure } from "./postgres-failure.ts";

it.each([
  ["could not write to file: No space left on device", "disk_full"],
  ["could not open file: Permission denied", "data_dir_unusable"],
  ["database files are incompatible with server", "database_newer"],
  ["something else", "database_unavailable"],
])("reads %j as %s", (output, code) => {
  expect(explainFailure("Postgres did not start", output).code).toBe(code);
});

it("shows the last lines of the log", () => {
  const output = Array.from({ length: 40 }, (_, index) => `line ${index}`).join("\n");
  const { message } = explainFailure("Postgres did not start", output);
  expect(message).toMatch(/line 39$/);
  expect(message).not.toContain("line 20\n");
});
