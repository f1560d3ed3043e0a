import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { FAKE_TOKEN, startFakeServer, type FakeServer } from "../client/fake-server.testsuite.ts";
import { callCli, makeFolder, type CallOptions } from "./call-cli.testsuite.ts";
import { prepareWorkspace } from "../workspace/prepare.ts";
import { writeServerFile } from "./server-file.ts";

let server: FakeServer;
beforeEach(async () => (server = await startFakeServer()));
afterEach(() => server.close());

const call = (argv: readonly string[], options: CallOptions = {}) =>
  callCli(argv, { server, ...options });

function complete(id: string, at: FakeServer = server): void {
  at.append(id, "thinking", { iteration: 1, toolsUsed: [], text: "I look" });
  at.append(id, "completion", { message: "All done", stats: {} });
  at.append(id, "state_changed", { from: "active", to: "completed", reason: "end_turn" });
}

/** Ends or pauses every session as soon as it is created. */
function whenCreated(act: (id: string) => void): void {
  const add = server.addSession;
  server.addSession = (fields) => {
    const session = add(fields);
    queueMicrotask(() => act(session.id));
    return session;
  };
}

describe("where the server is", () => {
  it("is unreachable when none has written its file: exit code 3 and the next command", async () => {
    const { code, stdout, stderr } = await callCli(["ls"]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
    expect(stderr).toMatch(/no server runs for the data folder .*\.stint/);
    expect(stderr).toContain("next: Start it with `stint dev`");
  });

  it("is unreachable when nothing listens", async () => {
    const { code, stderr } = await callCli(["ls", "--json", "--url", "http://127.0.0.1:9"]);
    expect(code).toBe(3);
    expect(JSON.parse(stderr)).toMatchObject({ code: "server_unreachable", exitCode: 3 });
  });

  it("comes from server.json of the data folder", async () => {
    const dataDir = await makeFolder();
    await writeServerFile(dataDir, { url: server.url, token: FAKE_TOKEN, pid: 1 });
    expect(await callCli(["ls", "--data-dir", dataDir])).toMatchObject({ code: 0 });
    expect(await callCli(["ls"], { env: { STINT_DATA: dataDir } })).toMatchObject({ code: 0 });
    const cwd = await makeFolder();
    await writeFile(join(cwd, "stint.config.json"), JSON.stringify({ dataDir }));
    expect(await callCli(["ls"], { cwd })).toMatchObject({ code: 0 });
  });

  it("is found again after a restart with another port and token", async () => {
    const dataDir = await makeFolder();
    const file = { url: server.url, token: FAKE_TOKEN, pid: 1 };
    await writeServerFile(dataDir, file);
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1, toolsUsed: [], text: "before" });
    const other = await startFakeServer();
    const same = other.addSession({ status: "active" });
    expect(same.id).toBe(id);
    other.append(id, "thinking", { iteration: 1, toolsUsed: [], text: "before" });
    complete(id, other);
    let isMoved = false;
    const { code, stdout } = await callCli(["logs", "-f", id, "--data-dir", dataDir], {
      onStdout: () => {
        if (isMoved) return;
        isMoved = true;
        void writeServerFile(dataDir, { ...file, url: other.url }).then(() => server.close());
      },
    });
    expect(code).toBe(0);
    expect(stdout).toContain("active → completed");
    expect(stdout.match(/before/g)).toHaveLength(1);
    await other.close();
    server = await startFakeServer();
  });

  it("is told the token of the file only when it is the same server", async () => {
    const dataDir = await makeFolder();
    await writeServerFile(dataDir, { url: "http://127.0.0.1:9", token: FAKE_TOKEN, pid: 1 });
    const argv = ["ls", "--data-dir", dataDir, "--url", server.url];
    expect(await callCli(argv)).toMatchObject({ code: 2 });
    await writeServerFile(dataDir, { url: server.url, token: FAKE_TOKEN, pid: 1 });
    expect(await callCli(argv)).toMatchObject({ code: 0 });
  });
});

describe("ls", () => {
  it("aligns rows, tells states apart and shows hostile titles as text", async () => {
    server.addSession({ status: "active", prompt: "Fix\u001B]0;x\u0007 the\ntest\u202E" });
    server.addSession({ status: "paused", waitingFor: "input", reason: "awaiting_input" });
    server.addSession({
      status: "failed",
      reason: "agent_error",
      error: { code: "agent_error", message: "it broke" },
    });
    const { code, stdout } = await call(["ls"]);
    const lines = stdout.trimEnd().split("\n");
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/^ID +STATE +TITLE +AGENT +TOKENS +LIVE +AGE +WHY$/);
    expect(lines[1]).toContain("✕ FAILED");
    expect(lines[1]).toContain("agent_error: it broke");
    expect(lines[2]).toContain("◆ NEEDS YOU");
    expect(lines[3]).toContain("Fix the test<202E>");
    const column = lines[0]!.indexOf("AGENT");
    expect(lines.slice(1).map((line) => line.slice(column, column + 7))).toEqual(
      Array(3).fill("builtin"),
    );
    expect(stdout).not.toContain("\u001B");
  });

  it("pages up to the limit and filters", async () => {
    for (let index = 0; index < 7; index++) server.addSession({ status: "failed" });
    server.addSession();
    const { stdout } = await call(["ls", "--json", "--limit", "5", "--status", "failed,expired"]);
    const listing = JSON.parse(stdout) as { sessions: unknown[]; nextCursor: string };
    expect(listing.sessions).toHaveLength(5);
    expect(listing.nextCursor).toBe("5");
  });

  it("says how to start when there is nothing", async () => {
    expect((await call(["ls"])).stdout).toContain("stint run");
    expect((await call(["ls", "-q"])).stdout).toBe("");
  });

  it("watches until Ctrl-C", async () => {
    server.addSession();
    const { code, stdout } = await call(["ls", "--watch"], {
      onStdout: (_, handle) => handle.interrupt(),
    });
    expect(code).toBe(130);
    expect(stdout).toContain("PENDING");
  });
});

describe("one session", () => {
  it("is shown with what to do next", async () => {
    const { id } = server.addSession({
      status: "paused",
      reason: "awaiting_input",
      waitingFor: "input",
      workspace: {
        ...{ mode: "copy", source: "/repo", ref: null, path: null },
        ...{ host: "web-1/7f3a", snapshotId: "5a", snapshotStore: "database" },
      },
    });
    const { code, stdout } = await call(["show", id.slice(0, 8)]);
    expect(code).toBe(0);
    expect(stdout).toContain("a copy of /repo");
    expect(stdout).toMatch(/files +on web-1, stored in database\n/);
    expect(stdout).toContain(`next        stint steer ${id}`);
    expect(JSON.parse((await call(["show", id, "--json"])).stdout)).toMatchObject({ id });
  });

  it("is paused, resumed, steered and cancelled", async () => {
    const { id } = server.addSession({ status: "active" });
    expect((await call(["pause", id])).stdout).toContain("‖ PAUSED");
    expect((await call(["resume", id])).stdout).toContain("next free worker");
    expect(server.seen.at(-1)?.body).toEqual({});
    await call(["resume", id, "--max-tokens", "5000", "--max-cost", "none"]);
    expect(server.seen.at(-1)?.body).toEqual({ limits: { tokensMax: 5_000, costUsdMax: null } });
    expect((await call(["resume", id, "--max-cost", "much"])).code).toBe(2);
    expect((await call(["steer", id, "not the tests"])).stdout).toContain("sent");
    expect(server.log(id)[0]?.data).toEqual({ text: "not the tests" });
    expect(JSON.parse((await call(["cancel", id, "--json"])).stdout)).toMatchObject({
      status: "failed",
    });
    const refused = await call(["pause", id]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("it has ended as failed, and cannot be paused any more");
    expect(refused.stderr).toContain("next: Start a new one: stint run");
  });

  it("says in words why it cannot be paused or resumed as it stands", async () => {
    const pending = server.addSession({ status: "pending" });
    expect((await call(["pause", pending.id])).stderr).toContain("it has not begun");
    const active = server.addSession({ status: "active" });
    const refused = await call(["resume", active.id, "--json"]);
    expect(JSON.parse(refused.stderr)).toMatchObject({
      ...{ code: "illegal_transition", exitCode: 2 },
      detail: "it is active already, and cannot be resumed",
      remedy: `Watch it: stint attach ${active.id}`,
    });
  });

  it("says what becomes of a paused program: frozen, until when, and where it goes on", async () => {
    const program = server.addSession({ status: "active", agent: "command", model: null });
    expect((await call(["pause", program.id])).stdout).not.toContain("next step");
    const frozenUntil = new Date(Date.now() + 600_000).toISOString();
    server.update(program.id, { frozenUntil });
    const { stdout } = await call(["show", program.id]);
    expect(stdout).toMatch(/frozen +until \d\d:\d\d at most/);
    expect((await call(["resume", program.id])).stdout).toContain("goes on where it is frozen");
    server.update(program.id, { frozenUntil: new Date(Date.now() - 1_000).toISOString() });
    expect((await call(["show", program.id])).stdout).not.toContain("frozen");
    expect((await call(["resume", program.id])).stdout).toContain("next free worker");
  });

  it("tells of attempts and totals only what there is", async () => {
    const { stats } = server.addSession();
    const { id } = server.addSession({ status: "paused", reason: "user", activeMs: 7_000 });
    expect((await call(["show", id])).stdout).toMatch(/active +7(\.0)?s\n/);
    server.update(id, { attempts: 2 });
    expect((await call(["show", id])).stdout).toMatch(/active +7(\.0)?s in 2 attempts\n/);
    server.update(id, { agent: "command", model: null, stats: { ...stats, toolCalls: 1 } });
    expect((await call(["show", id])).stdout).toMatch(/used +1 command\n/);
    server.update(id, { agent: "mine", stats: { ...stats, iterations: 2 } });
    expect((await call(["show", id])).stdout).not.toContain("used");
  });

  it("takes a message from standard input", async () => {
    const { id } = server.addSession({ status: "active" });
    const { code } = await call(["steer", id, "-"], { input: "two\nlines\n" });
    expect(code).toBe(0);
    expect(server.log(id)[0]?.data).toEqual({ text: "two\nlines" });
    const large = await call(["steer", id, "-"], { input: "x".repeat(300_000) });
    expect(large.stderr).toContain("prompt_too_large");
  });

  it("that is unknown is named, with the next command", async () => {
    const { code, stderr } = await call(["show", "ffff"]);
    expect(code).toBe(2);
    expect(stderr).toContain("there is no session ffff (session_not_found)");
    expect(stderr).toContain("stint ls");
  });

  it("has a diff, printed safely", async () => {
    const { id } = server.addSession();
    expect((await call(["diff", id])).stdout).toBe("No changes.\n");
    server.diff = {
      files: [{ path: "a.txt", action: "modified", additions: 1, deletions: 1, binary: false }],
      additions: 1,
      deletions: 1,
      patch: "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-a\n+b\u001B[2J\u001B[31m\r\n",
      truncated: false,
    };
    expect((await call(["diff", id])).stdout).toBe(
      "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-a\n+b\n",
    );
    expect((await call(["diff", id, "--stat"])).stdout).toContain("modified a.txt  +1 −1");
    expect(JSON.parse((await call(["diff", id, "--json"])).stdout)).toEqual(server.diff);
  });
});

/** A session that changed `a.txt` and added `b.txt` in its copy of a folder, or of a repository. */
async function addWork(status: "completed" | "active" = "completed", isRepository = false) {
  const [dataDir, source] = [await makeFolder(), await realpath(await makeFolder())];
  await writeFile(join(source, "a.txt"), "one\n");
  if (isRepository) {
    const git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"].join(" ");
    const make = `git init -q && git add -A && ${git} commit -qm first`;
    execFileSync("sh", ["-c", make], { cwd: source });
  }
  const { id } = server.addSession({ status });
  const request = { mode: "copy" as const, source };
  const ignoredBytesMax = 1_000_000;
  const { path } = await prepareWorkspace({ sessionId: id, request, dataDir, ignoredBytesMax });
  await writeFile(join(path, "a.txt"), "two\n");
  await writeFile(join(path, "b.txt"), "new\n");
  return { source, argv: ["apply", id, "--data-dir", dataDir] };
}

describe("apply", () => {
  it("brings the changes to the source", async () => {
    const { source, argv } = await addWork();
    const { code, stdout } = await call([...argv, "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ applied: ["a.txt", "b.txt"], conflicts: [] });
    expect(await readFile(join(source, "a.txt"), "utf8")).toBe("two\n");
    expect((await call(argv)).stdout).toContain("Nothing to apply.");
  });

  it("applies nothing where both sides changed, and names the files", async () => {
    const { source, argv } = await addWork();
    await writeFile(join(source, "a.txt"), "three\n");
    const { code, stderr } = await call(argv);
    expect(code).toBe(2);
    expect(stderr).toMatch(/nothing was applied.*workspace_conflict.*\n +a\.txt/);
    expect(await readdir(source)).toEqual(["a.txt"]);
  });

  it("makes a branch of the result where the source is a repository, and says where it is none", async (context) => {
    requireTool(context, "git");
    const plain = await addWork();
    const refused = await call([...plain.argv, "--branch"]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("its source is no git repository");
    const { source, argv } = await addWork("completed", true);
    const branch = `stint/${argv[1]}`;
    const { code, stdout } = await call([...argv, "--branch", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ branch, target: source, isNew: true });
    const show = ["-C", source, "show", `${branch}:b.txt`];
    expect(execFileSync("git", show, { encoding: "utf8" })).toBe("new\n");
    expect(await readFile(join(source, "a.txt"), "utf8")).toBe("one\n");
    expect((await call([...argv, "--branch"])).stdout).toContain("There already");
    expect((await call([...argv, "--branch", "--to", source])).code).toBe(2);
  });

  it("waits for the end of a session that is at work", async () => {
    const { argv } = await addWork("active");
    const { code, stderr } = await call(argv);
    expect(code).toBe(2);
    expect(stderr).toContain("Pause it first: stint pause");
  });
});

describe("logs", () => {
  it("prints what is there, from a place on, of some types", async () => {
    const { id } = server.addSession({ status: "active" });
    complete(id);
    const { code, stdout } = await call(["logs", id]);
    expect(code).toBe(0);
    expect(stdout).toContain("· I look");
    expect(stdout).toContain("✓ All done");
    const json = await call(["logs", id, "--json", "--after", "1", "--type", "completion"]);
    const lines = json.stdout.trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { seq: number }).seq)).toEqual([2]);
  });

  it("follows to the end", async () => {
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1, toolsUsed: [] });
    let isDone = false;
    const { code, stdout } = await call(["logs", "-f", id, "--json"], {
      onStdout: () => {
        if (!isDone) complete(id);
        isDone = true;
      },
    });
    expect(code).toBe(0);
    const seqs = stdout
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { seq: number }).seq);
    expect(seqs).toEqual([1, 2, 3, 4]);
  });

  it("leaves the session running at Ctrl-C and says so", async () => {
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1, toolsUsed: [] });
    const { code, stderr } = await call(["logs", "-f", id], {
      onStdout: (_, handle) => handle.interrupt(),
    });
    expect(code).toBe(130);
    expect(stderr).toContain("the session goes on");
    expect(stderr).toContain(`stint attach ${id}`);
    expect(server.session(id).status).toBe("active");
  });
});

describe("attach", () => {
  it("prints events and sends typed lines", async () => {
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1, toolsUsed: [] });
    let step = 0;
    const { code, stdout } = await call(["attach", id], {
      onStdout: (text, { stdin }) => {
        if (step === 0) stdin.write("use tabs\n");
        step = Math.max(step, 1);
        if (step === 1 && text.includes("use tabs")) {
          step = 2;
          server.append(id, "state_changed", { from: "active", to: "failed", reason: "refusal" });
        }
      },
    });
    expect(stdout).toContain("› use tabs");
    expect(code).toBe(1);
  });

  it("detaches at Ctrl-C", async () => {
    const { id } = server.addSession({ status: "active" });
    server.append(id, "thinking", { iteration: 1, toolsUsed: [] });
    const { code, stderr } = await call(["attach", id], {
      onStdout: (_, handle) => handle.interrupt(),
    });
    expect(code).toBe(130);
    expect(stderr).toContain("detached");
  });
});

describe("run", () => {
  it("works in the repository around the current folder and says so", async () => {
    const repository = await makeFolder();
    const cwd = join(repository, "a", "b");
    await mkdir(cwd, { recursive: true });
    await mkdir(join(repository, ".git"));
    const { code, stdout } = await call(["run", "Do it"], { cwd });
    expect(code).toBe(0);
    expect(stdout).toContain(`a copy of ${repository} (the repository you are in)`);
    expect(server.seen.at(-1)?.body).toEqual({
      prompt: "Do it",
      workspace: { mode: "copy", source: repository },
    });
  });

  it("works in an empty directory elsewhere, and where it is told to", async () => {
    const cwd = await makeFolder();
    const { stdout } = await call(["run", "Do it"], { cwd });
    expect(stdout).toContain("an empty directory (you are in no git repository)");
    expect(server.seen.at(-1)?.body).toEqual({ prompt: "Do it" });
    await call(["run", "x", "--workspace", "sub", "--in-place", "--ref", "v1"], { cwd });
    expect(server.seen.at(-1)?.body?.["workspace"]).toEqual({
      mode: "in-place",
      source: join(cwd, "sub"),
      ref: "v1",
    });
    await call(["run", "x", "--workspace", "git@host:o/r.git"], { cwd });
    expect(server.seen.at(-1)?.body?.["workspace"]).toMatchObject({ source: "git@host:o/r.git" });
    expect(await call(["run", "x", "--ref", "v1"], { cwd })).toMatchObject({ code: 2 });
  });

  it("sends limits, script, key and switches", async () => {
    const cwd = await makeFolder();
    await writeFile(join(cwd, "s.json"), '[{"text":"hi"}]');
    const argv = ["run", "x", "--script", "s.json", "--keep-open", "--agent", "acp", "--json"];
    argv.push("--limit", "idle-timeout=90s", "--max-iterations", "3", "--deadline", "none");
    const { code, stdout } = await call([...argv, "--idempotency-key", "k"], { cwd });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ prompt: "x", agent: "acp" });
    expect(server.seen.at(-1)?.headers["idempotency-key"]).toBe("k");
    expect(server.seen.at(-1)?.body).toEqual({
      prompt: "x",
      agent: "acp",
      keepOpen: true,
      script: [{ text: "hi" }],
      limits: { idleTimeoutMs: 90_000, maxIterations: 3, deadlineMs: null },
    });
    await writeFile(join(cwd, "s.json"), "[{");
    const broken = await call(["run", "x", "--script", "s.json"], { cwd });
    expect(broken).toMatchObject({ code: 2, stdout: "" });
    expect(broken.stderr).toContain("script_invalid");
  });

  it.each([
    ["completed", "end_turn", 0],
    ["failed", "agent_error", 1],
    ["expired", "deadline", 4],
  ])("waits until the session has %s", async (to, reason, expected) => {
    const sandbox = { level: "strict", wanted: "strict", limits: "cgroup", reason: null } as const;
    whenCreated((id) => {
      server.update(id, { sandbox });
      server.append(id, "completion", { message: "The \u001B[2Jend" });
      server.append(id, "state_changed", { from: "active", to, reason });
    });
    const { code, stdout } = await call(["run", "x", "--wait"]);
    expect(code).toBe(expected);
    expect(stdout).toContain("The end");
    expect(stdout).toContain("sandbox    strict · limits: cgroup\n");
    expect(stdout).toContain("0 steps · 0 tokens in, 0 out · ");
    const json = await call(["run", "x", "--wait", "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ status: to });
  });

  it("stops waiting when a person is waited for, not at a pause that ends by itself", async () => {
    whenCreated((id) => {
      server.append(id, "state_changed", { from: "active", to: "paused", reason: "backoff" });
      server.update(id, { resumeAt: "2026-01-02T03:04:05.678Z" });
    });
    const paused = call(["run", "x", "--follow"], {
      onStdout: (text) => {
        const { id } = server.session("aaaaaaa1-0000-4000-8000-000000000000");
        if (!text.includes("backoff") || server.log(id).length > 1) return;
        setTimeout(() => {
          server.append(id, "state_changed", { from: "active", to: "paused", reason: "user" });
          server.update(id, { resumeAt: null, waitingFor: "input", reason: "awaiting_input" });
        }, 50);
      },
    });
    const { code, stdout } = await paused;
    expect(code).toBe(5);
    expect(stdout).toContain("backoff");
    expect(stdout).toContain("next: stint steer");
  });

  it("says that a command has no shell where its line would need one", async () => {
    const piped = await call(["run", "--agent", "command", "echo hi | wc -c"]);
    expect(piped.code).toBe(0);
    expect(piped.stderr).toContain("| is given to the program as it is: there is no shell");
    expect(piped.stderr).toContain("stint run --agent command -- sh -c 'echo hi | wc -c'");
    const words = ["run", "--agent", "command", "--", "sh", "-c", "echo hi | wc -c"];
    expect((await call(words)).stderr).toBe("");
  });

  it("detaches at Ctrl-C and leaves the session running", async () => {
    const { code, stderr } = await call(["run", "x", "--wait"], {
      onStdout: (_, handle) => handle.interrupt(),
    });
    expect(code).toBe(130);
    expect(stderr).toContain("the session goes on");
  });
});

describe("the machine", () => {
  it("lists workers and figures", async () => {
    server.addSession({ status: "failed" });
    expect((await call(["workers"])).stdout).toMatch(/wkr_local +✓ live +1\/2/);
    const { stdout } = await call(["stats"]);
    expect(stdout).toContain("1 failed");
    expect(stdout).toContain("1m 1s");
    expect(JSON.parse((await call(["stats", "--json"])).stdout)).toMatchObject({ slots: 2 });
  });

  it("is examined, with names of keys only", async () => {
    const key = "very-secret-key";
    const env = { OPENAI_API_KEY: key, DATABASE_URL: "postgres://u:hidden@127.0.0.1:9/d" };
    const { code, stdout } = await call(["doctor", "--json"], { env });
    const { checks } = JSON.parse(stdout) as { checks: { name: string; status: string }[] };
    const statusOf = Object.fromEntries(checks.map(({ name, status }) => [name, status]));
    expect(statusOf).toMatchObject({ node: "ok", server: "ok", keys: "ok", postgres: "failed" });
    expect(code).toBe(3);
    expect(stdout).toContain("OPENAI_API_KEY");
    expect(stdout).not.toMatch(/very-secret|hidden/);
  });

  it("says what is wrong with the data folder", async () => {
    const cwd = await makeFolder();
    await writeFile(join(cwd, "file"), "");
    const { code, stdout } = await call(["doctor"], { cwd, env: { STINT_DATA: "file" } });
    expect(code).toBe(3);
    expect(stdout).toMatch(/✕ data folder.*is no folder/);
    expect(stdout).toContain("next: Give STINT_DATA");
  });
});
