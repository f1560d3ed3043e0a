/** What every kind of agent must hold, whatever drives it. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createAcpAgent } from "../../../src/agents/acp/agent.ts";
import { NO_QUIRKS } from "../../../src/agents/acp/definition.ts";
import { createBuiltinAgent } from "../../../src/agents/builtin/agent.ts";
import { createCommandAgent } from "../../../src/agents/command/agent.ts";
import { formatCommandLine } from "../../../src/agents/command/command-line.ts";
import { COMMAND_AGENT } from "../../../src/agents/command/definition.ts";
import { createFakeAgent } from "../../../src/agents/fake.ts";
import type { AgentAdapter } from "../../../src/core/attempt.ts";
import type { ModelBinding } from "../../../src/core/model.ts";
import type { Script } from "../../../src/core/script.ts";
import { bindModel } from "../../../src/model/binding.ts";
import {
  type ScriptedModelServer,
  startScriptedModelServer,
} from "../../../src/model/scripted/server.ts";
import { createCannedModel } from "./canned-model.ts";
import {
  createTestClock,
  type MemoryAttempt,
  type MemoryAttemptOptions,
  openMemoryAttempt,
} from "./memory-context.ts";
import { MemoryStore } from "./memory-store.ts";

interface Agent {
  readonly adapter: AgentAdapter;
  readonly model: ModelBinding;
  readonly prompt: string;
}
/** An agent that runs a command line, as often as told, and then says that it is done. */
type CreateAgent = (sessionId: string, command: string, times: number) => Agent;

const FAKE = fileURLToPath(new URL("fake-acp-agent.mjs", import.meta.url));
const scripts = new Map<string, Script>();
let server: ScriptedModelServer;
beforeAll(async () => {
  const clock = createTestClock();
  server = await startScriptedModelServer({
    lookUpScript: (id) => Promise.resolve(scripts.get(id) ?? null),
    clock,
  });
});
afterAll(() => server.close());

const none = createCannedModel([]).binding;
const KINDS: readonly (readonly [string, CreateAgent])[] = [
  [
    "builtin",
    (sessionId, bash, times) => {
      scripts.set(sessionId, [...repeat({ bash }, times), { text: "Done." }]);
      const place = { scriptedBaseUrl: server.url, env: {} };
      const model = bindModel({ model: "scripted", sessionId, ...place });
      return { adapter: createBuiltinAgent(), model, prompt: "Go." };
    },
  ],
  [
    "fake",
    (_id, command, times) => {
      const call = { tool: "bash", input: { command } };
      const adapter = createFakeAgent([...repeat({ call }, times), { say: "Done." }]);
      return { adapter, model: none, prompt: "Go." };
    },
  ],
  [
    "acp",
    (_id, run, times) => {
      const acts = [...repeat({ run, ask: true }, times), { say: "Done." }];
      const definition = {
        ...{
          name: "fake-acp",
          title: "The fake",
          command: process.execPath,
          args: [FAKE],
          wire: null,
        },
        environment: () => ({ FAKE_ACTS: JSON.stringify(acts) }),
        quirks: { ...NO_QUIRKS, replayQuietMs: 50 },
      };
      const adapter = createAcpAgent({ definition, places: { path: "", installed: [] } });
      return { adapter, model: none, prompt: "Go." };
    },
  ],
  [
    "command",
    (_id, script) => {
      const adapter = createCommandAgent({ definition: COMMAND_AGENT, path: "" });
      return { adapter, model: none, prompt: formatCommandLine(["sh", "-c", script]) };
    },
  ],
];

function repeat<T>(act: T, times: number): T[] {
  return Array.from({ length: times }, () => act);
}

function denyAll(store: MemoryStore): void {
  const deny = (): void => {
    if (store.permissions.some(({ status }) => status === "pending")) store.decide("denied");
  };
  store.watch(deny);
  deny();
}

describe.each(KINDS)("the contract of agents: %s", (kind, createAgent) => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  const openSession = (command: string, times = 1) => {
    const root = realpathSync(mkdtempSync(join(tmpdir(), "contract-")));
    folders.push(root);
    const [workspace, home] = [join(root, "tree"), join(root, "home")];
    mkdirSync(workspace);
    mkdirSync(home);
    const store = new MemoryStore();
    const { adapter, model, prompt } = createAgent(store.sessionId, command, times);
    const attempt = (options: Partial<MemoryAttemptOptions> = {}): MemoryAttempt =>
      openMemoryAttempt({ store, workspace, home, model, prompt, ...options });
    const read = (path: string): string =>
      existsSync(join(workspace, path)) ? readFileSync(join(workspace, path), "utf8") : "";
    const untilBusy = (): Promise<void> => store.until(() => store.dataOf("terminal").length > 0);
    const untilAsked = (): Promise<void> =>
      store.until(() => store.permissions.some(({ status }) => status === "pending"));
    return { store, adapter, attempt, read, untilBusy, untilAsked };
  };

  it("completes: effect, output, exit code and outcome are all told", async () => {
    const { adapter, attempt, store, read } = openSession("echo made > made; echo hello");
    const { context, running } = attempt();
    expect(await adapter.run(context)).toMatchObject({ outcome: "end_turn" });
    expect(running.size).toBe(0);
    expect(read("made")).toBe("made\n");
    expect(store.calls).toMatchObject([{ status: "finished", isError: false }]);
    const output = store.dataOf("terminal").map((data) => data["output"]);
    expect(output.join("")).toBe("hello\n");
    expect(store.dataOf("terminal").at(-1)).toMatchObject({ exitCode: 0, final: true });
  });

  it.each(["pause", "cancel", "shutdown"] as const)(
    "stops on %s: rejects with the reason, closes its call, leaves nothing",
    async (why) => {
      const { adapter, attempt, store, untilBusy } = openSession("echo begun; sleep 61 & sleep 61");
      const stopped = attempt();
      const run = adapter.run(stopped.context);
      await untilBusy();
      stopped.stop(why);
      await expect(run).rejects.toBe(stopped.context.signal.reason);
      expect(stopped.running.size).toBe(0);
      expect(store.calls).toHaveLength(1);
      expect(store.calls[0]?.status).not.toBe("open");
    },
  );

  it("writes nothing more once its session is another's", async () => {
    const { adapter, attempt, store, untilBusy } = openSession("echo begun; sleep 61");
    const lost = attempt();
    const run = adapter.run(lost.context);
    await untilBusy();
    const { writes } = store;
    lost.stop("lost");
    await expect(run).rejects.toBe(lost.context.signal.reason);
    expect([lost.running.size, store.writes]).toEqual([0, writes]);
  });

  it("goes on after kill -9 in a command, closes it as interrupted and runs nothing twice", async () => {
    const { adapter, attempt, store, read, untilBusy } = openSession(
      "echo ran >> counter; echo begun; sleep 61",
    );
    const dying = attempt();
    void adapter.run(dying.context);
    await untilBusy();
    dying.kill();
    await store.until(() => dying.running.size === 0);
    store.epoch++;
    const { context, running } = attempt();
    const { outcome } = await adapter.run(context);
    // An agent goes on; a command alone has nobody who could, and says so.
    expect(outcome).toBe(adapter.name === "command" ? "failed" : "end_turn");
    expect(running.size).toBe(0);
    expect(read("counter")).toBe("ran\n");
    expect(store.calls.map(({ status }) => status)).toEqual(["interrupted"]);
    const final = store.dataOf("terminal").filter((data) => data["final"] === true);
    expect(final).toHaveLength(1);
  });

  it("bounds what hostile output takes: NUL, broken UTF-8, escapes, a line of 3 MB", async () => {
    const { adapter, attempt, store } = openSession(
      String.raw`printf 'a\0b\377\376\033[31m\n'; head -c 3000000 /dev/zero | tr '\0' x; echo end`,
    );
    expect(await adapter.run(attempt().context)).toMatchObject({ outcome: "end_turn" });
    const sizes = store.events.map(({ data }) => JSON.stringify(data).length);
    expect(Math.max(...sizes)).toBeLessThan(200_000);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(500_000);
  });

  // A command alone is what its user has written: it asks for nothing.
  describe.skipIf(kind === "command")("asking leave", () => {
    const RULES = ["ask execute"];
    // The agent of the protocol does not make the call again that it was killed in.
    const times = kind === "acp" ? 3 : 2;

    it("uses a leave up with the call that it was given for: after kill -9 the same call asks anew", async () => {
      const { adapter, attempt, store, read, untilAsked } = openSession(
        "echo ran >> counter",
        times,
      );
      const dying = attempt({ rules: RULES });
      void adapter.run(dying.context);
      await untilAsked();
      store.decide("allowed");
      await store.until(() => store.calls[0]?.status === "finished");
      dying.kill();
      await store.until(() => dying.running.size === 0);
      store.epoch++;
      expect(store.openPermissions.map(({ status }) => status)).not.toContain("allowed");
      const run = adapter.run(attempt({ rules: RULES }).context);
      await untilAsked();
      expect(read("counter")).toBe("ran\n");
      denyAll(store);
      expect(await run).toMatchObject({ outcome: "end_turn" });
      expect(read("counter")).toBe("ran\n");
      expect(store.openPermissions).toEqual([]);
      const answers = store.dataOf("permission").map(({ status }) => status);
      expect(answers.slice(0, 3)).toEqual(["requested", "allowed", "requested"]);
      expect(answers.filter((status) => status === "allowed")).toHaveLength(1);
    });

    it("finds the answer that came while everything was dead, and acts upon it once", async () => {
      const { adapter, attempt, store, read, untilAsked } = openSession(
        "echo ran >> counter",
        times,
      );
      const dying = attempt({ rules: RULES });
      void adapter.run(dying.context);
      await untilAsked();
      dying.kill();
      await store.until(() => dying.running.size === 0);
      store.epoch++;
      expect(read("counter")).toBe("");
      store.decide("allowed");
      const run = adapter.run(attempt({ rules: RULES }).context);
      await untilAsked();
      expect([read("counter"), store.permissions.length]).toEqual(["ran\n", 2]);
      denyAll(store);
      expect(await run).toMatchObject({ outcome: "end_turn" });
      expect([read("counter"), store.openPermissions.length]).toEqual(["ran\n", 0]);
    });
  });
});
