import { randomUUID } from "node:crypto";
import { assert, asyncModelRun, asyncProperty, commands } from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ManualClock } from "../../src/core/manual-clock.ts";
import { connectStore } from "../../src/store/postgres-store.ts";
import { StoreHarness, storeOptions } from "../conformance/store/harness.ts";
import { OracleDatabase } from "./oracle-database.ts";
import { OracleStore } from "./oracle-store.ts";
import { makeBeginnings, makeCommands, type Pair, type Side } from "./store-commands.ts";
import { clearPostgres, readOracle, readPostgres, shiftPostgres } from "./stored-state.ts";

const RUNS = Number(process.env["STINT_DIFFERENTIAL_RUNS"] ?? 80);
const SEED = Number(process.env["STINT_SIM_SEED"] ?? 20_260_101);

let db: StoreHarness;
beforeAll(async () => {
  db = await StoreHarness.create();
});
afterAll(() => db.close());

function createOracleSide(): Side {
  const clock = new ManualClock({ idSpace: 1 });
  const database = new OracleDatabase({ now: () => clock.now(), newId: () => randomUUID() });
  return {
    store: new OracleStore({ database, clock }),
    shiftTime: (byMs) => Promise.resolve(clock.advance(byMs)),
    readState: () => {
      // Each command has a moment of its own, as it has in Postgres.
      clock.advance(1);
      return Promise.resolve(readOracle(database));
    },
  };
}

async function createPostgresSide(): Promise<Side & { close(): Promise<void> }> {
  await clearPostgres(db.admin);
  const store = await connectStore(storeOptions(db.database.url));
  return {
    store,
    shiftTime: (byMs) => shiftPostgres(db.admin, byMs),
    readState: () => readPostgres(db.admin),
    close: () => store.close(),
  };
}

test("Postgres and the oracle answer every sequence of commands alike and hold the same state", async () => {
  const seen = new Map<string, number>();
  const choices = makeCommands((name) => seen.set(name, (seen.get(name) ?? 0) + 1));
  const beginnings = makeBeginnings();
  await assert(
    asyncProperty(commands(choices, { maxCommands: 60, size: "max" }), async (run) => {
      const real = await createPostgresSide();
      try {
        const known = { sessions: [], workers: [], owners: [], calls: [], messages: [] };
        const pair: Pair = { known, sides: [createOracleSide(), real] };
        for (const begin of beginnings) await begin.run(pair, null);
        await asyncModelRun(() => ({ model: pair, real: null }), run);
      } finally {
        await real.close();
      }
    }),
    { numRuns: RUNS, seed: SEED, endOnFailure: process.env["STINT_DIFFERENTIAL_SHRINK"] !== "1" },
  );
  const total = [...seen.values()].reduce((sum, count) => sum + count, 0);
  console.log(`differential: ${RUNS} runs, ${total} commands`, Object.fromEntries(seen));
  expect(seen.size).toBeGreaterThanOrEqual(30);
}, 120_000);
