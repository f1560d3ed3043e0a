import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { AgentAdapter, TurnResult } from "../../../src/core/attempt.ts";
import type { ModelBinding } from "../../../src/core/model.ts";
import type { Script } from "../../../src/core/script.ts";
import {
  type MemoryAttempt,
  type MemoryAttemptOptions,
  openMemoryAttempt,
} from "./memory-context.ts";
import { MemoryStore } from "./memory-store.ts";

/** One session's agent, made to follow a script. */
export interface ScriptedAgent {
  readonly adapter: AgentAdapter;
  readonly model: ModelBinding;
  /** Bodies of the requests that its model got, as text, oldest first; empty without a model. */
  readonly requests: readonly string[];
  /** User texts and tool results of the newest request; null without a model. */
  lastRequest(): {
    readonly prompts: readonly string[];
    readonly results: readonly string[];
  } | null;
}

/** Makes agents for the suite. */
export type ScriptAgent = (sessionId: string, script: Script) => ScriptedAgent;

/** How many tokens and steps a session of `steps` steps must report. */
export type ExpectedUsage = (steps: number) => { inputTokens: number; outputTokens: number };

const PROMPT = "Do what the script says.";
const CALLS: Script = [
  { bash: "echo ran >> counter; echo first output" },
  { write: { path: "notes/a.txt", content: "one\ntwo\n" } },
  { edit: { path: "notes/a.txt", find: "two", replace: "three" } },
  { bash: "echo ran >> counter2; cat notes/a.txt" },
  { text: "Finished." },
];
const END: TurnResult = { outcome: "end_turn", message: "Finished." };

/** What every adapter that works through the ledger must hold. */
export function describeAgentConformance(
  name: string,
  scriptAgent: ScriptAgent,
  expectedUsage: ExpectedUsage,
): void {
  describe(`${name} agent`, () => {
    const folders: string[] = [];
    afterEach(() => {
      for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
    });

    const openSession = (script: Script) => {
      const workspace = realpathSync(mkdtempSync(join(tmpdir(), "agent-")));
      folders.push(workspace);
      const store = new MemoryStore();
      const agent = scriptAgent(store.sessionId, script);
      const attempt = (options: Partial<MemoryAttemptOptions> = {}): MemoryAttempt =>
        openMemoryAttempt({ store, workspace, prompt: PROMPT, model: agent.model, ...options });
      const read = (path: string): string =>
        existsSync(join(workspace, path)) ? readFileSync(join(workspace, path), "utf8") : "";
      return { store, agent, attempt, read, run: () => agent.adapter.run(attempt().context) };
    };

    it("completes a script, and its log folds to the right stats", async () => {
      const { store, read, run } = openSession(CALLS);
      expect(await run()).toEqual(END);
      expect(read("notes/a.txt")).toBe("one\nthree\n");
      expect(store.stats).toMatchObject({ iterations: 5, toolCalls: 4, ...expectedUsage(5) });
      expect(store.calls.map(({ tool, status }) => [tool, status])).toEqual([
        ["bash", "finished"],
        ["write_file", "finished"],
        ["edit_file", "finished"],
        ["bash", "finished"],
      ]);
      const terminals = store.dataOf("terminal");
      expect(terminals.map(({ output, final }) => [output, final])).toEqual([
        ["first output\n", false],
        ["", true],
        ["one\nthree\n", false],
        ["", true],
      ]);
      expect(terminals[1]).toMatchObject({ exitCode: 0, callId: store.calls[0]?.callId });
      const [created, edited] = store.dataOf("file_change");
      expect(created).toMatchObject({ path: "notes/a.txt", action: "created" });
      expect(edited).toMatchObject({ path: "notes/a.txt", action: "modified" });
      expect(edited?.["diff"]).toContain("-two\n+three\n");
    });

    it("records an intent before its effect, and the outcome after it", async () => {
      const { store, run } = openSession(CALLS);
      await run();
      const order = store.notes.map(({ kind }) => kind).filter((kind) => kind !== "emit");
      const command = ["openCall", "spawn", "exit", "closeCall"];
      const change = ["openCall", "write", "closeCall"];
      const step = ["beginStep", "finishStep"];
      expect(order).toEqual([
        ...[...step, ...command, ...step, ...change, ...step, ...change, ...step, ...command],
        ...step,
      ]);
    });

    it.each(["pause", "cancel", "shutdown"] as const)(
      "stops a running command on %s, records how far it came, and leaves nothing",
      async (kind) => {
        const { store, agent, attempt, read } = openSession([
          { bash: "echo begun; sleep 60 & sleep 60; echo ran >> counter" },
          { text: "Finished." },
        ]);
        const stopped = attempt();
        const run = agent.adapter.run(stopped.context);
        await store.until(() => store.dataOf("terminal").length > 0);
        stopped.stop(kind);
        await expect(run).rejects.toBe(stopped.context.signal.reason);
        expect(stopped.running.size).toBe(0);
        expect(store.calls).toMatchObject([{ status: "interrupted", isError: true }]);
        expect(store.calls[0]?.result).toContain("begun\n");
        expect(store.dataOf("terminal").at(-1)).toMatchObject({ final: true, output: "" });

        store.epoch++;
        expect(await agent.adapter.run(attempt().context)).toEqual(END);
        expect(read("counter")).toBe("");
        expect(store.calls).toHaveLength(1);
      },
    );

    it("stops its command and writes nothing when the session is lost", async () => {
      const { store, agent, attempt } = openSession([{ bash: "echo begun; sleep 60" }]);
      const stopped = attempt();
      const run = agent.adapter.run(stopped.context);
      await store.until(() => store.dataOf("terminal").length > 0);
      const { writes } = store;
      stopped.stop("lost");
      await expect(run).rejects.toBe(stopped.context.signal.reason);
      expect(stopped.running.size).toBe(0);
      expect(store.writes).toBe(writes);
      expect(store.calls).toMatchObject([{ status: "open" }]);
    });

    it("stops its command when a write says that another owner has the session", async () => {
      const { store, agent, attempt } = openSession([
        { bash: "echo begun; sleep 0.3; echo more; sleep 60" },
      ]);
      const fenced = attempt();
      const run = agent.adapter.run(fenced.context);
      await store.until(() => store.dataOf("terminal").length > 0);
      store.epoch++;
      await expect(run).rejects.toMatchObject({ code: "stale_epoch" });
      expect(fenced.running.size).toBe(0);
    });

    it.each(["before", "after"] as const)(
      "resumes exactly when it dies just %s any of its writes, running nothing twice",
      async (side) => {
        let writes = 0;
        for (let isOver = false; !isOver; writes++) {
          const { store, agent, attempt, read } = openSession(CALLS);
          store.sendMessage("Mind the gap.");
          const dying = attempt({ cut: { write: writes + 1, side } });
          const first = await Promise.race([agent.adapter.run(dying.context), dying.died]);
          isOver = first !== "died";
          await store.until(() => dying.running.size === 0);
          store.epoch++;
          const result = await agent.adapter.run(attempt().context);
          const interrupted = store.calls.filter(({ status }) => status === "interrupted");
          // With the number of the write, so that a failure says where it died.
          expect({
            writes,
            result,
            runs: [runsOf(store, 0, read("counter")), runsOf(store, 3, read("counter2"))],
            isAtMostOneInterrupted: interrupted.length <= 1,
            areFactsTold: interrupted.every((call) => /was interrupted/.test(String(call.result))),
            open: store.calls.filter(({ status }) => status === "open").length,
            inputs: store.steps[0]?.inputs,
            messages: store.dataOf("user_message").length,
          }).toEqual({
            writes,
            result: END,
            runs: ["right", "right"],
            isAtMostOneInterrupted: true,
            areFactsTold: true,
            open: 0,
            inputs: [PROMPT, "Mind the gap."],
            messages: 1,
          });
          expect(store.stats).toMatchObject({ iterations: 5, toolCalls: 4 });
          expectExactRequests(agent, store);
        }
        expect(writes).toBeGreaterThan(18);
      },
    );

    it("asks nothing more when only its last word was lost", async () => {
      const { store, agent, attempt, run } = openSession(CALLS);
      await run();
      const { writes } = store;
      store.epoch++;
      expect(await agent.adapter.run(attempt().context)).toEqual(END);
      expect(store.writes).toBe(writes);
    });

    it("gives a message that comes while it works to the next step, once", async () => {
      const { store, agent, attempt } = openSession([
        { bash: "echo begun; until test -e go; do sleep 0.01; done" },
        { bash: "true" },
        { text: "Finished." },
      ]);
      const { context } = attempt();
      const run = agent.adapter.run(context);
      await store.until(() => store.dataOf("terminal").length > 0);
      store.sendMessage("Use tabs.");
      await context.files.write("go", new Uint8Array());
      expect(await run).toEqual(END);
      expect(store.steps.map(({ inputs }) => inputs)).toEqual([[PROMPT], ["Use tabs."], []]);
      const { prompts } = agent.lastRequest() ?? { prompts: [PROMPT, "Use tabs."] };
      expect(prompts).toEqual([PROMPT, "Use tabs."]);
    });

    it("goes on when a message has come before its turn ends", async () => {
      const { store, agent, attempt } = openSession([{ text: "Finished." }, { bash: "true" }]);
      const { context } = attempt();
      let isSent = false;
      const commit: typeof context.commit = async (change) => {
        if (change.finishStep && !isSent) store.sendMessage("And now this.");
        isSent ||= change.finishStep !== undefined;
        return context.commit(change);
      };
      const result = await agent.adapter.run({ ...context, commit });
      expect(result.outcome).toBe("end_turn");
      expect(store.steps[1]?.inputs).toEqual(["And now this."]);
    });

    it("survives hostile output: NUL, broken UTF-8, escapes and a line of 10 MB", async () => {
      const { store, run } = openSession([
        {
          bash: String.raw`printf 'a\0b\n'; printf '\377\376\n'; printf '\033[31mred\033[0m\n' >&2`,
        },
        { bash: "head -c 10000000 /dev/zero | tr '\\0' 'x'; echo; echo the end" },
        { text: "Finished." },
      ]);
      expect(await run()).toEqual(END);
      const [first, second] = store.calls;
      const chunks = store.dataOf("terminal").filter((data) => data["callId"] === first?.callId);
      expect(joinBytes(chunks, "output").toString("hex")).toBe(
        Buffer.from("a\0b\n\xff\xfe\n", "latin1").toString("hex"),
      );
      expect(joinBytes(chunks, "error").toString()).toBe("\u001b[31mred\u001b[0m\n");
      const long = store.dataOf("terminal").filter((data) => data["callId"] === second?.callId);
      const kept = joinBytes(long, "output");
      expect(kept.length).toBeLessThanOrEqual(65_536);
      expect(kept.toString().endsWith("x\nthe end\n")).toBe(true);
      expect(long.at(-1)).toMatchObject({ omittedBytes: 10_000_009 - kept.length, exitCode: 0 });
      expect(String(second?.result).length).toBeLessThan(40_000);
      expect(second?.result).toMatch(/\[\d+ bytes of output left out here\]/);
      expect(second?.result).toContain("the end\n");
      for (const { data } of store.events)
        expect(JSON.stringify(data).length).toBeLessThan(110_000);
    });

    it("never splits a character between two chunks", async () => {
      const { store, run } = openSession([
        { bash: "for i in $(seq 1 9000); do printf 'ä€😀'; done" },
        { text: "Finished." },
      ]);
      await run();
      const chunks = store.dataOf("terminal");
      expect(chunks.some((data) => "outputBase64" in data)).toBe(false);
      const text = chunks.map((data) => data["output"]).join("");
      expect("ä€😀".repeat(9_000).startsWith(text.slice(0, 20_000))).toBe(true);
    });

    it("tells the exit code, and what a command says on both outputs", async () => {
      const { store, run } = openSession([
        { bash: "echo to stdout; echo to stderr >&2; exit 3" },
        { text: "Finished." },
      ]);
      await run();
      expect(store.dataOf("terminal").at(-1)).toMatchObject({ exitCode: 3, final: true });
      expect(store.calls[0]).toMatchObject({ isError: true, status: "finished" });
      expect(store.calls[0]?.result).toMatch(/to stdout\n[^]*\[Exit code: 3\]$/);
      expect(store.calls[0]?.result).toContain("to stderr\n");
    });

    it("stops a command at its time limit and says so", async () => {
      const { store, attempt, agent } = openSession([
        { bash: "echo begun; sleep 60" },
        { text: "Finished." },
      ]);
      const { context } = attempt({ limits: { commandTimeoutMs: 300 } });
      expect(await agent.adapter.run(context)).toEqual(END);
      expect(store.calls[0]?.result).toContain("begun\n");
      expect(store.calls[0]?.result).toContain("stopped after 300 ms, its time limit");
      expect(store.dataOf("terminal").at(-1)).toMatchObject({ final: true });
      expect(store.dataOf("terminal").at(-1)?.["error"]).toContain("time limit");
    });

    it("fails after its last model step, with every call of it settled", async () => {
      const { store, attempt, agent } = openSession([
        { bash: "echo 1" },
        { bash: "echo 2" },
        { bash: "echo 3" },
      ]);
      const { context } = attempt({ limits: { maxIterations: 2 } });
      expect(await agent.adapter.run(context)).toMatchObject({
        outcome: "failed",
        reason: "max_iterations",
      });
      expect(store.stats).toMatchObject({ iterations: 2, toolCalls: 2 });
    });

    it("tells the model of a path that leads out of the workspace, and goes on", async () => {
      const { store, run } = openSession([
        { write: { path: "../outside.txt", content: "x" } },
        { read: { path: "missing.txt" } },
        { text: "Finished." },
      ]);
      expect(await run()).toEqual(END);
      expect(store.calls.map(({ isError }) => isError)).toEqual([true, true]);
      expect(store.dataOf("tool")).toHaveLength(2);
      expect(store.dataOf("file_change")).toHaveLength(0);
    });
  });
}

/** The same step asks the same, byte for byte, in whichever attempt. */
function expectExactRequests(agent: ScriptedAgent, store: MemoryStore): void {
  const byPlace = new Map<number, string>();
  for (const body of agent.requests) {
    const { messages } = JSON.parse(body) as { messages: { role: string }[] };
    const place = messages.filter(({ role }) => role === "assistant").length;
    expect(body).toBe(byPlace.get(place) ?? body);
    byPlace.set(place, body);
  }
  const last = agent.lastRequest();
  if (last === null) return;
  expect(last.prompts).toEqual([PROMPT, "Mind the gap."]);
  expect(last.results).toEqual(store.calls.map(({ result }) => String(result).slice(0, 500)));
}

/** A finished command ran once; one that was interrupted ran once or not at all. */
function runsOf(store: MemoryStore, place: number, counter: string): string {
  const runs = counter.split("\n").length - 1;
  const isFinished = store.calls[place]?.status === "finished";
  return runs === 1 || (runs === 0 && !isFinished) ? "right" : `${runs} runs`;
}

function joinBytes(chunks: readonly Record<string, unknown>[], field: string): Buffer {
  return Buffer.concat(
    chunks
      .filter((chunk) => chunk["final"] === false)
      .map((chunk) => {
        const coded = chunk[`${field}Base64`];
        if (typeof coded === "string") return Buffer.from(coded, "base64");
        return Buffer.from(typeof chunk[field] === "string" ? chunk[field] : "");
      }),
  );
}
