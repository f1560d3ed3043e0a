import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  existsSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { createAcpAgent } from "../../../src/agents/acp/agent.ts";
import { NO_QUIRKS, type AcpAgentDefinition } from "../../../src/agents/acp/definition.ts";
import { createCannedModel } from "./canned-model.ts";
import {
  type MemoryAttempt,
  type MemoryAttemptOptions,
  openMemoryAttempt,
} from "./memory-context.ts";
import { MemoryStore } from "./memory-store.ts";

const PROMPT = "Do what you are made for.";
const FAKE = fileURLToPath(new URL("fake-acp-agent.mjs", import.meta.url));
type Act = Readonly<Record<string, unknown>>;

const askNobody = (): never => {
  throw new Error("nobody is to be asked");
};
const askToWrite = (path: string): Act => ({
  request: { method: "fs/write_text_file", params: { path, content: "one\ntwo\n" } },
});

describe("an agent of the Agent Client Protocol", () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  const openSession = (
    acts: readonly Act[],
    flags: Act = {},
    change: Partial<AcpAgentDefinition> = {},
  ) => {
    const root = realpathSync(mkdtempSync(join(tmpdir(), "acp-")));
    folders.push(root);
    const [workspace, home] = [join(root, "tree"), join(root, "home")];
    mkdirSync(workspace);
    mkdirSync(home);
    const store = new MemoryStore();
    const definition: AcpAgentDefinition = {
      name: "fake-acp",
      title: "The fake agent",
      command: process.execPath,
      args: [FAKE],
      wire: null,
      environment: () => ({ FAKE_ACTS: JSON.stringify(acts), FAKE_FLAGS: JSON.stringify(flags) }),
      quirks: { ...NO_QUIRKS, replayQuietMs: 100 },
      ...change,
    };
    const adapter = createAcpAgent({ definition, places: { path: "", installed: [] } });
    const model = createCannedModel([]).binding;
    const attempt = (options: Partial<MemoryAttemptOptions> = {}): MemoryAttempt =>
      openMemoryAttempt({ store, workspace, home, prompt: PROMPT, model, ...options });
    const read = (path: string): string => {
      const file = join(workspace, path);
      return existsSync(file) ? readFileSync(file, "utf8") : "";
    };
    const readLog = (): Act[] =>
      readFileSync(join(home, "fake.log"), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Act);
    const prompts = (): string[] =>
      readLog().flatMap(({ prompt }) => (typeof prompt === "string" ? [prompt] : []));
    return {
      store,
      adapter,
      attempt,
      read,
      readLog,
      prompts,
      run: () => adapter.run(attempt().context),
    };
  };

  it("completes; what it tells is in the log, its calls are in the ledger", async () => {
    const { store, run, read, prompts } = openSession([
      { think: "Let me see." },
      { say: "I will look." },
      { run: "echo one; echo two; exit 3" },
      { write: { path: "a.txt", content: "hello" } },
      { say: "All " },
      { say: "done." },
    ]);
    expect(await run()).toEqual({ outcome: "end_turn", message: "All done." });
    expect(prompts()).toEqual([PROMPT]);
    expect(read("a.txt")).toBe("hello");
    expect(store.calls.map(({ tool, status, isError }) => [tool, status, isError])).toEqual([
      ["execute", "finished", false],
      ["edit", "finished", false],
    ]);
    const terminals = store.dataOf("terminal");
    expect(terminals.map(({ output }) => output).join("")).toBe("one\ntwo\n");
    expect(terminals.at(-1)).toMatchObject({
      exitCode: 3,
      final: true,
      callId: store.calls[0]?.callId,
    });
    expect(store.dataOf("thinking").map(({ text, reasoning }) => [text, reasoning])).toEqual([
      ["I will look.", "Let me see."],
      ["All done.", undefined],
    ]);
    expect(store.dataOf("tool")).toMatchObject([{ name: "edit", isError: false }]);
    expect(store.agentSessionId).not.toBe(null);
    expect(store.rawMessages.length).toBeGreaterThan(5);
    expect(store.steps).toHaveLength(1);
  });

  it.each(["delta", "cumulative", "final"])(
    "shows the output of a command once, told as %s",
    async (shape) => {
      const command = "for i in 1 2 3; do echo line $i; sleep 0.05; done";
      const { store, run } = openSession([{ run: command, shape }, { say: "Done." }]);
      await run();
      const output = store.dataOf("terminal").map((data) => data["output"]);
      expect(output.join("")).toBe("line 1\nline 2\nline 3\n");
      expect(store.calls[0]?.result).toBe("line 1\nline 2\nline 3\n");
    },
  );

  it("lets the final output win over pieces that were not all of it", async () => {
    const { store, run } = openSession([
      { run: "echo second", final: "first\nsecond\n" },
      { say: "Done." },
    ]);
    await run();
    expect(store.dataOf("terminal").at(-1)).toMatchObject({
      output: "first\nsecond\n",
      replacesOutput: true,
      final: true,
    });
  });

  it("says when an exit code is not known, or not to be believed", async () => {
    const quirks = { ...NO_QUIRKS, exitCode: "false" } as const;
    const { store, run } = openSession([{ run: "exit 3" }, { say: "Done." }], {}, { quirks });
    await run();
    expect(store.dataOf("terminal").at(-1)).toMatchObject({
      exitCode: null,
      exitCodeKnown: false,
      agentExitCode: 3,
    });
    const untold = openSession([{ run: "exit 3", shape: "none" }, { say: "Done." }]);
    await untold.run();
    expect(untold.store.dataOf("terminal").at(-1)).toMatchObject({ exitCodeKnown: false });
  });

  it("reads an exit code from the output of an agent that tells it only there", async () => {
    const quirks = { ...NO_QUIRKS, exitCode: "in_text" } as const;
    const end = { sessionUpdate: "tool_call", toolCallId: "c", kind: "execute", status: "failed" };
    const failed = { update: { ...end, title: "x", rawOutput: "Exit code 3\nfirst" } };
    const { store, run } = openSession([failed, { say: "Done." }], {}, { quirks });
    await run();
    expect(store.dataOf("terminal").at(-1)).toMatchObject({ exitCode: 3 });
  });

  it("takes an update of a call that was never announced", async () => {
    const { store, run } = openSession([
      { run: "echo hi", unannounced: true, ask: true },
      { say: "." },
    ]);
    await run();
    expect(store.calls).toMatchObject([{ status: "finished", input: { command: "echo hi" } }]);
  });

  it("has a call in the ledger before it allows it", async () => {
    const { store, attempt, adapter, read } = openSession([
      { run: "echo ran > ran", ask: true },
      { say: "Done." },
    ]);
    let opened = -1;
    const decide: MemoryAttemptOptions["decide"] = async (request) => {
      expect(request).toMatchObject({ tool: "execute", kind: "execute", modelCallId: "call-0" });
      opened = store.calls.length;
      return { decision: "allow", by: "user", permissionId: null, note: null };
    };
    await adapter.run(attempt({ decide }).context);
    expect(opened).toBe(1);
    expect(read("ran")).toBe("ran\n");
    expect(store.calls).toMatchObject([{ status: "finished", isError: false }]);
  });

  it("tells what the agent said before it asks anybody, though it announces no call", async () => {
    const { store, attempt, adapter } = openSession([
      { say: "I need it because of this." },
      { run: "true", unannounced: true, ask: true },
      { say: "Done." },
    ]);
    const told: unknown[] = [];
    const decide: MemoryAttemptOptions["decide"] = () => {
      told.push(...store.dataOf("thinking").map(({ text, toolsUsed }) => [text, toolsUsed]));
      const decision = { decision: "allow", by: "user", permissionId: "p", note: null } as const;
      return Promise.resolve(decision);
    };
    await adapter.run(attempt({ decide }).context);
    expect(told).toEqual([["I need it because of this.", ["execute"]]]);
    expect(store.dataOf("thinking").map(({ text }) => text)).toHaveLength(2);
  });

  it("denies what a person denies, and passes on what they said", async () => {
    const { attempt, adapter, store, read, readLog, prompts } = openSession([
      { write: { path: "a.txt", content: "x" }, ask: true },
      { say: "So be it." },
    ]);
    const run = adapter.run(attempt({ rules: ["ask edit"] }).context);
    await store.until(() => store.permissions.length > 0);
    store.decide("denied", "Not now.");
    expect(await run).toEqual({ outcome: "end_turn", message: "So be it." });
    expect(prompts()).toEqual([PROMPT, '[Stint] To "Write a.txt": Not now.']);
    expect(store.openPermissions).toEqual([]);
    expect(read("a.txt")).toBe("");
    expect(readLog()).toContainEqual({ permission: { outcome: "selected", optionId: "no" } });
    expect(store.calls).toMatchObject([{ status: "finished", isError: true }]);
  });

  it("says of a call that waited for leave when everything died that it never began", async () => {
    const act = { run: "echo ran > ran", ask: true };
    const { attempt, adapter, store, prompts, read } = openSession([act, act, { say: "Done." }]);
    const dying = attempt({ rules: ["ask execute"] });
    void adapter.run(dying.context);
    await store.until(() => store.permissions.length > 0);
    const [asked] = store.permissions;
    expect(asked?.callId).toBe(store.calls[0]?.callId);
    dying.kill();
    await store.until(() => dying.running.size === 0);
    store.epoch++;
    const run = adapter.run(attempt({ rules: ["ask execute"] }).context);
    // The same is asked again: the question of before is its own now.
    await store.until(() => store.permissions[0]?.callId === store.calls[1]?.callId);
    store.decide("allowed");
    await run;
    expect(store.permissions).toHaveLength(1);
    expect(read("ran")).toBe("ran\n");
    expect(store.calls[0]).toMatchObject({ status: "interrupted" });
    expect(store.calls[0]?.result).toContain("Nothing was done");
    expect(prompts()[1]).toContain("Nothing was done");
  });

  it("says of a call that was given leave, and died, that it may have had its effect", async () => {
    const { attempt, adapter, store, prompts } = openSession([
      { run: "echo begun; sleep 61", ask: true },
      { say: "Done." },
    ]);
    const dying = attempt({ rules: ["ask execute"] });
    void adapter.run(dying.context);
    await store.until(() => store.permissions.length > 0);
    store.decide("allowed");
    await store.until(() => store.dataOf("terminal").length > 0);
    dying.kill();
    await store.until(() => dying.running.size === 0);
    store.epoch++;
    await adapter.run(attempt().context);
    expect(store.calls[0]?.result).toContain("may have had all, part or none of its effect");
    expect(prompts()[1]).not.toContain("Nothing was done");
  });

  it("passes on what a person said although it died when the turn had just ended, and once", async () => {
    const { attempt, adapter, store, prompts } = openSession([
      { write: { path: "a.txt", content: "x" }, ask: true },
      { say: "So be it." },
    ]);
    const isOver = (): boolean => store.steps[0]?.response != null;
    const dying = attempt({ rules: ["ask edit"] });
    store.watch(() => isOver() && dying.kill());
    void adapter.run(dying.context);
    await store.until(() => store.permissions.length > 0);
    store.decide("denied", "Not now.");
    await dying.died;
    store.epoch++;
    const result = { outcome: "end_turn", message: "So be it." };
    expect(await adapter.run(attempt().context)).toEqual(result);
    expect(prompts()).toEqual([PROMPT, '[Stint] To "Write a.txt": Not now.']);
    expect(await adapter.run(attempt().context)).toEqual(result);
    expect(prompts()).toHaveLength(2);
  });

  it("takes no turn more for a note than it may", async () => {
    const { attempt, adapter, store, prompts } = openSession([
      { write: { path: "a.txt", content: "x" }, ask: true },
      { say: "So be it." },
    ]);
    const limits = { maxIterations: 1 };
    const run = adapter.run(attempt({ rules: ["ask edit"], limits }).context);
    await store.until(() => store.permissions.length > 0);
    store.decide("denied", "Not now.");
    expect(await run).toMatchObject({ outcome: "end_turn" });
    expect(prompts()).toEqual([PROMPT]);
  });

  it("says of a call that waited for leave when it was told to stop that it never began", async () => {
    const { attempt, adapter, store, read } = openSession([{ run: "echo ran > ran", ask: true }]);
    const stopped: MemoryAttempt = attempt({
      decide: () => {
        stopped.stop("pause");
        return Promise.reject(stopped.context.signal.reason as Error);
      },
    });
    await expect(adapter.run(stopped.context)).rejects.toMatchObject({ name: "AttemptStopped" });
    expect(read("ran")).toBe("");
    expect(store.calls).toMatchObject([{ status: "interrupted" }]);
    expect(store.calls[0]?.result).toContain("never began");
  });

  it.each(["src/link", "src/../a.txt"])(
    "holds a rule for a path whichever way leads there: %s",
    async (path) => {
      const { attempt, adapter, read } = openSession([
        { write: { path, content: "by a detour" }, ask: true },
        { say: "So be it." },
      ]);
      const { context } = attempt({ rules: ["deny edit a.txt"] });
      mkdirSync(join(context.workspace, "src"));
      symlinkSync("../a.txt", join(context.workspace, "src/link"));
      expect(await adapter.run(context)).toMatchObject({ outcome: "end_turn" });
      expect(read("a.txt")).toBe("");
    },
  );

  it.each(["untold", "other", "read"])(
    "takes a command line for a command, of whatever kind its agent says it is: %s",
    async (kind) => {
      const act = { run: "echo ran > ran", ask: true, kind };
      const { attempt, adapter, read } = openSession([act, { say: "So be it." }]);
      await adapter.run(attempt({ rules: ["deny execute"] }).context);
      expect(read("ran")).toBe("");
    },
  );

  it("never gives leave for always, whatever its agent offers", async () => {
    const act = { run: "echo ran > ran", ask: true, always: true };
    const { attempt, adapter, read, readLog } = openSession([act, { say: "So be it." }]);
    await adapter.run(attempt({ decide: askNobody }).context);
    expect(read("ran")).toBe("");
    expect(readLog()).toContainEqual({ permission: { outcome: "cancelled" } });
  });

  it("denies a change outside the workspace without asking anybody", async () => {
    const { attempt, adapter, store, readLog } = openSession([
      { write: { path: "/etc/passwd", content: "x" }, ask: true },
      { say: "So be it." },
    ]);
    const { context } = attempt({ decide: askNobody });
    await adapter.run(context);
    expect(readLog()).toContainEqual({ permission: { outcome: "selected", optionId: "no" } });
    expect(store.dataOf("permission")).toMatchObject([
      {
        ...{ status: "denied", by: "policy", paths: ["/etc/passwd"] },
        note: `it leads out of the workspace ${context.workspace}.`,
      },
    ]);
  });

  it("answers files inside the workspace, and refuses other paths and unknown requests", async () => {
    const { run, read, readLog } = openSession([
      askToWrite("new.txt"),
      askToWrite("../outside.txt"),
      { request: { method: "fs/read_text_file", params: { path: "new.txt", line: 2, limit: 1 } } },
      { request: { method: "terminal/create", params: { command: "ls" } } },
      { request: { method: "made/up", params: {} } },
      { say: "Done." },
    ]);
    await run();
    expect(read("new.txt")).toBe("one\ntwo\n");
    const answers = readLog().flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
    expect(answers).toMatchObject([
      { result: {} },
      { error: { code: -32602 } },
      { result: { content: "two\n" } },
      { error: { code: -32601 } },
      { error: { code: -32601 } },
    ]);
  });

  it("gives messages that came meanwhile as the next prompt, in the same session", async () => {
    const { store, attempt, adapter, prompts } = openSession([
      { run: "touch begun; until test -e go; do sleep 0.01; done" },
      { say: "First.", turn: true },
      { say: "Second." },
    ]);
    const { context } = attempt();
    const run = adapter.run(context);
    await store.until(() => store.calls.length > 0);
    store.sendMessage("And this.");
    await context.files.write("go", new Uint8Array());
    expect(await run).toEqual({ outcome: "end_turn", message: "Second." });
    expect(prompts()).toEqual([PROMPT, "And this."]);
    expect(store.steps.map(({ inputs }) => inputs)).toEqual([[PROMPT], ["And this."]]);
  });

  it.each(["pause", "cancel", "shutdown"] as const)(
    "ends its turn on %s, closes what was under way, and leaves nothing",
    async (kind) => {
      const { store, attempt, adapter, readLog } = openSession([{ run: "echo begun; sleep 61" }]);
      const stopped = attempt();
      const run = adapter.run(stopped.context);
      await store.until(() => store.dataOf("terminal").length > 0);
      stopped.stop(kind);
      await expect(run).rejects.toBe(stopped.context.signal.reason);
      expect(stopped.running.size).toBe(0);
      expect(readLog()).toContainEqual({ heard: "session/cancel" });
      expect(store.calls).toHaveLength(1);
      expect(store.calls[0]?.status).not.toBe("open");
    },
  );

  it("stops an agent that heeds neither cancel nor SIGTERM, within five seconds", async () => {
    const flags = { ignoresCancel: true, deaf: true, outlivesStdin: true };
    const { store, attempt, adapter } = openSession([{ run: "echo begun; sleep 61" }], flags);
    const stopped = attempt();
    const run = adapter.run(stopped.context);
    await store.until(() => store.dataOf("terminal").length > 0);
    const stoppedAt = performance.now();
    stopped.stop("cancel");
    await expect(run).rejects.toBe(stopped.context.signal.reason);
    expect(performance.now() - stoppedAt).toBeLessThan(5_000);
    expect(stopped.running.size).toBe(0);
    expect(store.calls[0]?.status).not.toBe("open");
    expect(store.dataOf("terminal").at(-1)).toMatchObject({ final: true });
  });

  it("writes nothing more when the session is lost", async () => {
    const { store, attempt, adapter } = openSession([{ run: "echo begun; sleep 61" }]);
    const stopped = attempt();
    const run = adapter.run(stopped.context);
    await store.until(() => store.dataOf("terminal").length > 0);
    const { writes } = store;
    stopped.stop("lost");
    await expect(run).rejects.toBe(stopped.context.signal.reason);
    expect(stopped.running.size).toBe(0);
    expect(store.writes).toBe(writes);
    expect(store.calls).toMatchObject([{ status: "open" }]);
  });

  it.each([
    ["session/load", {}],
    ["session/resume", { resume: true }],
    ["session/load where session/resume is advertised and missing", { resumeMissing: true }],
    ["session/load with a replay that goes on after it", { replayLate: true }],
  ])("goes on after kill -9 in a tool call by %s, with the facts", async (_name, flags) => {
    const { store, attempt, adapter, prompts, readLog } = openSession(
      [
        { say: "I begin." },
        { run: "echo ran >> counter" },
        { run: "echo begun; sleep 61", id: "long" },
        { say: "Finished." },
      ],
      flags,
    );
    const dying = attempt();
    void adapter.run(dying.context);
    await store.until(() => store.dataOf("terminal").some((data) => data["output"] === "begun\n"));
    dying.kill();
    await store.until(() => dying.running.size === 0);
    store.epoch++;
    expect(await adapter.run(attempt().context)).toEqual({
      outcome: "end_turn",
      message: "Finished.",
    });
    expect(store.calls.map(({ modelCallId, status }) => [modelCallId, status])).toEqual([
      ["call-1", "finished"],
      ["long", "interrupted"],
    ]);
    const [, resumed = ""] = prompts();
    expect(resumed).toContain("This session was interrupted");
    expect(resumed).toContain("sleep 61");
    expect(resumed).toContain(PROMPT);
    expect(resumed).not.toContain("You do not remember");
    expect(readLog().filter(({ heard }) => heard === "session/new")).toHaveLength(1);
    const texts = store.dataOf("thinking").map(({ text }) => text);
    expect(texts).toEqual(["I begin.", "Finished."]);
  });

  it("goes on by its own memory each time, however often it is killed", async () => {
    const blocked = [1, 2, 3].map((n) => ({ run: `echo ${n} >> counter; echo ${n}; sleep 61` }));
    const { store, attempt, adapter, read, readLog } = openSession([...blocked, { say: "Done." }]);
    for (const n of [1, 2, 3]) {
      const dying = attempt();
      void adapter.run(dying.context);
      await store.until(() => store.dataOf("terminal").some((data) => data["output"] === `${n}\n`));
      dying.kill();
      await store.until(() => dying.running.size === 0);
      store.epoch++;
    }
    expect(await adapter.run(attempt().context)).toMatchObject({ outcome: "end_turn" });
    const heard = readLog().map(({ heard: method }) => method);
    expect(heard.filter((method) => method === "session/new")).toHaveLength(1);
    expect(heard.filter((method) => method === "session/load")).toHaveLength(3);
    expect(read("counter")).toBe("1\n2\n3\n");
    expect(store.calls.map(({ status }) => status)).toEqual(Array(3).fill("interrupted"));
  });

  it.each([
    ["cannot load", { noLoad: true }],
    ["fails to load", { loadFails: true }],
    ["ends over it", { crashOnLoad: true }],
  ])("goes on in a new session with a digest when the agent %s", async (_name, flags) => {
    const acts = [{ run: "echo ran >> counter" }, { run: "echo begun; sleep 61" }];
    const { store, attempt, adapter, prompts } = openSession(acts, flags);
    const dying = attempt();
    void adapter.run(dying.context);
    await store.until(() => store.dataOf("terminal").some((data) => data["output"] === "begun\n"));
    const former = store.agentSessionId;
    dying.kill();
    await store.until(() => dying.running.size === 0);
    store.epoch++;
    const resumed = attempt();
    void adapter.run(resumed.context);
    await store.until(() => store.calls.some(({ iteration }) => iteration === 2));
    resumed.kill();
    await store.until(() => resumed.running.size === 0);
    expect(store.agentSessionId).not.toBe(former);
    const told = prompts()[1] ?? "";
    expect(told).toContain("You do not remember it, but this was done before");
    expect(told).toContain("You called execute");
    expect(told).toContain("interrupted");
  });

  it("tells which permissions were decided or have lapsed", async () => {
    const { store, attempt, adapter, prompts } = openSession([
      { run: "echo begun; sleep 61" },
      { say: "." },
    ]);
    const dying = attempt();
    void adapter.run(dying.context);
    await store.until(() => store.dataOf("terminal").length > 0);
    dying.kill();
    await store.until(() => dying.running.size === 0);
    store.epoch++;
    const resumed = attempt();
    const { resumeFrom } = resumed.context;
    if (resumeFrom === null) throw new Error("there is nothing to resume");
    const permission = {
      permissionId: "p",
      tool: "edit",
      title: "Write b.txt",
      note: "Go ahead.",
      callId: null,
    };
    const permissions = [{ ...permission, status: "allowed" as const }];
    await adapter.run({ ...resumed.context, resumeFrom: { ...resumeFrom, permissions } });
    expect(prompts()[1]).toContain('Leave for "Write b.txt" was given, and not used yet.');
    expect(prompts()[1]).toContain("Go ahead.");
  });

  it("asks the agent nothing when only its last word was lost", async () => {
    const { store, attempt, adapter, prompts } = openSession([{ say: "Done." }]);
    await adapter.run(attempt().context);
    store.epoch++;
    expect(await adapter.run(attempt().context)).toEqual({ outcome: "end_turn", message: "Done." });
    expect(prompts()).toHaveLength(1);
  });

  it("gives a further message to the session that the agent remembers", async () => {
    const { store, attempt, adapter, prompts } = openSession([
      { say: "One.", turn: true },
      { say: "Two." },
    ]);
    await adapter.run(attempt().context);
    store.epoch++;
    store.sendMessage("Go on.");
    expect(await adapter.run(attempt().context)).toEqual({ outcome: "end_turn", message: "Two." });
    expect(prompts()).toEqual([PROMPT, "Go on."]);
  });

  describe("that is bad", () => {
    it.each<[string, readonly Act[], Act, string, RegExp]>([
      [
        "crashes at its start",
        [],
        { exitAtStart: 7, stderr: "no license\n" },
        "agent_error",
        /exit code 7.*no license/,
      ],
      ["ends with 0 having done nothing", [], { exitAtStart: 0 }, "agent_error", /exit code 0/],
      [
        "wants to be logged in",
        [],
        { wantsLogin: true },
        "agent_not_logged_in",
        /Log in with a browser/,
      ],
      ["speaks another version", [], { version: 2 }, "agent_version", /version 2/],
      [
        "ends in its turn",
        [{ stderr: "out of luck" }, { exit: 3 }],
        {},
        "agent_crashed",
        /exit code 3.*out of luck/,
      ],
      [
        "prints garbage without end",
        [{ print: "garbage", times: 3_000 }],
        {},
        "agent_protocol_error",
        /no message/,
      ],
    ])("%s: the end is truthful", async (_name, acts, flags, code, message) => {
      const { attempt, adapter } = openSession(acts, flags);
      const { context, running } = attempt();
      await expect(adapter.run(context)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
      expect(running.size).toBe(0);
    });

    it("ends in its turn: the log says how, for the session goes on after it", async () => {
      const { run, store } = openSession([{ say: "Hm." }, { stderr: "out of luck" }, { exit: 3 }]);
      await expect(run()).rejects.toMatchObject({ code: "agent_crashed" });
      expect(store.dataOf("error")).toMatchObject([
        { code: "agent_crashed", message: expect.stringContaining("out of luck") as string },
      ]);
      expect(store.dataOf("thinking")).toMatchObject([{ text: "Hm." }]);
    });

    it("is not there: the error says how it is got", async () => {
      const from = { name: "x", version: "1.0.0", bin: "x", needsScripts: false };
      const { run } = openSession([], {}, { command: "no-such-agent", package: from });
      await expect(run()).rejects.toMatchObject({
        code: "agent_missing",
        message: expect.stringContaining("stint agents install fake-acp") as string,
      });
    });

    it("never answers: its start has a limit", async () => {
      const { attempt, adapter } = openSession([], { mute: true }, { startTimeoutMs: 300 });
      const { context, running } = attempt();
      await expect(adapter.run(context)).rejects.toMatchObject({
        code: "agent_error",
        message: expect.stringContaining("did not answer initialize within 300 ms") as string,
      });
      expect(running.size).toBe(0);
    });

    it("greets on stdout, prints lines of 10 MB and broken updates: it is tolerated", async () => {
      const { run, store } = openSession(
        [
          { print: "Loading…", times: 20 },
          { print: '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":5}}' },
          { print: '{"jsonrpc":"2.0","id":77,"result":{}}' },
          { update: { sessionUpdate: "tool_call", toolCallId: 7 } },
          {
            update: {
              sessionUpdate: "tool_call_update",
              toolCallId: "x",
              content: "no",
              status: 5,
            },
          },
          { update: { sessionUpdate: "agent_message_chunk", content: null } },
          { longLine: 10_000_000 },
          { say: "\u0000\ud800 end" },
        ],
        { greets: true },
      );
      expect(await run()).toMatchObject({ outcome: "end_turn" });
      for (const { data } of store.events)
        expect(JSON.stringify(data).length).toBeLessThan(300_000);
    });

    it("floods: its events stay few and its memory bounded", async () => {
      const { run, store } = openSession([{ flood: 50_000 }, { say: "end" }]);
      expect(await run()).toMatchObject({ outcome: "end_turn" });
      expect(store.events.length).toBeLessThan(40);
      const raw = store.rawMessages.reduce<number>(
        (sum, one) => sum + JSON.stringify(one).length,
        0,
      );
      expect(raw).toBeLessThan(20_000_000);
    });

    it("ends its turn without a word or a deed: that is no completion", async () => {
      expect(await openSession([]).run()).toMatchObject({
        outcome: "failed",
        reason: "agent_error",
      });
    });

    it.each([
      ["refusal", "refusal"],
      ["max_turn_requests", "max_iterations"],
      ["max_tokens", "model_error"],
      ["cancelled", "agent_error"],
      ["made_up", "agent_error"],
    ])("ends its turn with %s: the session fails as %s", async (stop, reason) => {
      const { run } = openSession([{ say: "Hm." }, { stop }]);
      expect(await run()).toMatchObject({ outcome: "failed", reason });
    });

    it("opens calls without end: it is stopped", async () => {
      const start = { sessionUpdate: "tool_call", title: "x", status: "in_progress" };
      const acts = Array.from({ length: 70 }, (_, n) => ({
        update: { ...start, toolCallId: `c${n}` },
      }));
      const { run } = openSession([...acts, { say: "." }]);
      await expect(run()).rejects.toMatchObject({ code: "agent_protocol_error" });
    });

    it("tells no end of a call: that is said", async () => {
      const start = {
        sessionUpdate: "tool_call",
        toolCallId: "c",
        title: "x",
        status: "in_progress",
      };
      const { run, store } = openSession([{ update: start }, { say: "Done." }]);
      expect(await run()).toMatchObject({ outcome: "end_turn" });
      expect(store.calls).toMatchObject([{ status: "unknown" }]);
    });
  });
});
