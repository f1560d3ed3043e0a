import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { dumpSchema } from "./schema-dump.ts";
import { StoreHarness } from "./harness.ts";

const SCHEMA_FILE = fileURLToPath(new URL("../../../sql/schema.sql", import.meta.url));

it("the schema that is written down is the one that the migrations make", async () => {
  const harness = await StoreHarness.create();
  await expect(await dumpSchema(harness.admin)).toMatchFileSnapshot(SCHEMA_FILE);
  await harness.close();
});
