import { expect, test } from "vitest";
import { readHostIdentity } from "./host-identity.ts";

test("a process knows its pid and, on Linux, its start and the boot", async () => {
  const identity = await readHostIdentity();
  expect(identity.pid).toBe(process.pid);
  if (process.platform !== "linux") return;
  expect(identity.pidStartTime).toMatch(/^\d+$/);
  expect(identity.bootId).toMatch(/^[0-9a-f-]{36}$/);
});
