import { beforeEach, expect, test, vi } from "vitest";
import type * as CallFacts from "../../src/worker/call-facts.ts";
import type { SessionHold } from "../../src/worker/session-hold.ts";
import { SessionLifecycleManager } from "../../src/worker/session-lifecycle-manager.ts";
import type * as Recovery from "../../src/worker/workspace-recovery.ts";
import { InvariantBroken } from "./invariants.ts";
import { runScenario, type Variant } from "./simulation.ts";

/** A bug must be found within so many scenarios. */
const SEEDS_MAX = 120;

const planted = vi.hoisted(() => ({ skipsRestore: false, believesInEnds: false }));
beforeEach(() => void Object.assign(planted, { skipsRestore: false, believesInEnds: false }));

vi.mock("../../src/worker/workspace-recovery.ts", async (importOriginal) => {
  const real = await importOriginal<typeof Recovery>();
  return {
    ...real,
    recoverWorkspace: (options: Parameters<typeof real.recoverWorkspace>[0]) => {
      const { workspace } = options;
      const unrestored = { ...workspace, restore: () => Promise.resolve() };
      const chosen = planted.skipsRestore ? unrestored : workspace;
      return real.recoverWorkspace({ ...options, workspace: chosen });
    },
  };
});

vi.mock("../../src/worker/call-facts.ts", async (importOriginal) => {
  const real = await importOriginal<typeof CallFacts>();
  const finished = { status: "finished", hasBegun: true, exitCode: null, output: "" } as const;
  return {
    ...real,
    establishCall: async (...args: Parameters<typeof real.establishCall>) =>
      planted.believesInEnds ? finished : real.establishCall(...args),
  };
});

class EndsOverInbox extends SessionLifecycleManager {
  override completeSession(
    session: string | SessionHold,
    { message }: { readonly message: string },
  ): Promise<void> {
    return super.completeSession(session, { message });
  }
}

async function find(variant: Variant = {}): Promise<string> {
  for (let seed = 1; seed <= SEEDS_MAX; seed++) {
    try {
      await runScenario(seed, variant);
    } catch (error) {
      if (!(error instanceof InvariantBroken)) throw error;
      return error.message;
    }
  }
  return `nothing in ${SEEDS_MAX} scenarios`;
}

test("the simulation finds a worker that ends a session over its inbox", async () => {
  const message = await find({ createLifecycle: (options) => new EndsOverInbox(options) });
  expect(message).toContain("completed without giving message");
}, 300_000);

test("the simulation finds a recovery that does not go back to the last stored state", async () => {
  planted.skipsRestore = true;
  expect(await find()).toMatch(/the files of .* are not those of/);
}, 300_000);

test("the simulation finds a recovery that takes every cut-off call for done", async () => {
  planted.believesInEnds = true;
  expect(await find()).toMatch(/the ledger of .* done, which happened 0 times/);
}, 300_000);
