import { randomUUID } from "node:crypto";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { getPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CustodyLevel, SpawnSpec } from "../core/attempt.ts";
import { createCustody } from "./custody.ts";
import type { Custody } from "./custody.ts";
import { ATTEMPT_COOKIE, buildAgentEnvironment } from "./environment.ts";
import { probeCustody } from "./probe.ts";
import { listBearers, sweepAttempt } from "./sweep.ts";
import { createSandbox } from "./sandbox.ts";
import { listUsableLevels } from "./usable-levels.testsuite.ts";

const probe = await probeCustody();
const levels: readonly CustodyLevel[] = [...listUsableLevels(probe)];

/** Real timers, and a hand to fire them early. */
function createClock(): { setTimer(callback: () => void): { cancel(): void }; fire(): void } {
  const waiting = new Set<() => void>();
  return {
    setTimer(callback) {
      waiting.add(callback);
      return { cancel: () => waiting.delete(callback) };
    },
    fire() {
      for (const callback of [...waiting]) {
        waiting.delete(callback);
        callback();
      }
    },
  };
}

describe.each(levels)("custody by %s", (level) => {
  let workspace: string;
  let cookie: string;
  let custody: Custody;
  let fileBytesMax: number;
  const clock = createClock();

  beforeEach(async () => {
    workspace = await realpath(await mkdtemp(join(tmpdir(), "stint-custody-")));
    cookie = `test-${randomUUID()}`;
    fileBytesMax = 1_073_741_824;
    custody = createCustody({
      readFileBytesMax: () => Promise.resolve(fileBytesMax),
      probe: { ...probe, level },
      attemptCookie: cookie,
      sandbox: createSandbox(
        "none",
        { tree: workspace, home: "/nonexistent-home", scratch: "/tmp" },
        { readable: [], hidden: [], hasNetwork: true },
      ),
      env: buildAgentEnvironment({
        inherit: { ...process.env, DATABASE_URL: "postgres://x", OPENAI_API_KEY: "canary" },
        home: "/nonexistent-home",
      }),
      clock,
    });
  });

  afterEach(async () => {
    await custody.close();
    await sweepAttempt(cookie);
    await rm(workspace, { recursive: true, force: true });
  });

  const run = async (spec: SpawnSpec) => {
    const process = await custody.spawn(spec);
    const [out, err, exit] = await Promise.all([
      text(process.stdout),
      text(process.stderr),
      process.exited,
    ]);
    return { out, err, ...exit };
  };
  const sh = (script: string): Promise<Awaited<ReturnType<typeof run>>> =>
    run({ command: "sh", args: ["-c", script] });

  it("passes the exit code, both outputs and the arguments through unchanged", async () => {
    const script = 'printf "%s|" "$@"; echo oops >&2; exit 42';
    const args = ["-c", script, "sh", "a b", "", "$HOME", "-x", "é"];
    expect(await run({ command: "sh", args })).toEqual({
      out: "a b||$HOME|-x|é|",
      err: "oops\n",
      code: 42,
      signal: null,
      timedOut: false,
      stopped: false,
    });
  });

  it("shows a death by signal as 128 plus its number, and says nothing on stderr", async () => {
    expect(await sh("kill -TERM $$")).toMatchObject({ code: 143, signal: null, err: "" });
    expect(await sh("kill -KILL $$")).toMatchObject({ code: 137, signal: null, err: "" });
    expect(await sh("kill -SEGV $$")).toMatchObject({ code: 139, signal: null, err: "" });
  });

  it("stands behind everything else that wants a core", async () => {
    const { out } = await run({ command: "nice", args: [] });
    expect(out.trim()).toBe(String(getPriority() + 10));
  });

  it.skipIf(probe.prlimit === null)("lets a file be reserved up to the bound alone", async () => {
    fileBytesMax = 1_048_576;
    const reserved = await Promise.all(
      [1_048_577, 1_048_576].map(async (bytes) => {
        const args = ["-l", String(bytes), `${workspace}/file-${bytes}`];
        return (await run({ command: "fallocate", args })).code === 0;
      }),
    );
    expect(reserved).toEqual([false, true]);
  });

  it("runs in the workspace or below it", async () => {
    expect((await sh("pwd; mkdir sub")).out).toBe(`${workspace}\n`);
    expect((await run({ command: "pwd", args: [], cwd: "sub" })).out).toBe(`${workspace}/sub\n`);
  });

  it("gives the command nothing of the worker's environment but the allow-list", async () => {
    const { out } = await run({ command: "env", args: [], env: { ADDED: "yes" } });
    const names = out.split("\n").flatMap((line) => line.split("=")[0] ?? []);
    expect(out).toContain(`${ATTEMPT_COOKIE}=${cookie}\n`);
    expect(out).toContain("HOME=/nonexistent-home\n");
    expect(names).toContain("ADDED");
    const known =
      /^(PATH|LANG|LC_ALL|LC_CTYPE|TERM|TZ|USER|TMPDIR|HOME|PWD|ADDED|STINT_ATTEMPT|STINT_COMMAND|)$/;
    expect(names.filter((name) => !known.test(name))).toEqual([]);
  });

  it("refuses to set names of Stint for a command", async () => {
    const spec = { command: "true", args: [], env: { STINT_ATTEMPT: "other" } };
    await expect(custody.spawn(spec)).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("names a program that does not exist, cannot run, or a missing directory", async () => {
    const code = "command_not_found";
    await expect(run({ command: "no-such-program", args: [] })).rejects.toMatchObject({ code });
    await expect(run({ command: "/etc/passwd", args: [] })).rejects.toMatchObject({ code });
    await expect(run({ command: "./nope", args: [] })).rejects.toMatchObject({ code });
    await expect(run({ command: "true", args: [], cwd: "nope" })).rejects.toMatchObject({
      code: "workspace_missing",
    });
    await expect(run({ command: "echo", args: ["a\0b"] })).rejects.toMatchObject({
      code: "invalid_request",
    });
  });

  it("feeds stdin when asked, and gives end of file when not", async () => {
    const process = await custody.spawn({ command: "cat", args: [], stdin: "pipe" });
    process.stdin?.end("hello");
    expect(await text(process.stdout)).toBe("hello");
    expect((await run({ command: "cat", args: [] })).code).toBe(0);
  });

  it("survives writing to a command that has ended", async () => {
    const process = await custody.spawn({ command: "true", args: [], stdin: "pipe" });
    await process.exited;
    process.stdin?.write("x".repeat(1_000_000));
    expect((await process.exited).code).toBe(0);
  });

  it("lets nothing that a command started outlive it", async () => {
    await sh("setsid sleep 300 >/dev/null 2>&1 & (setsid sleep 300 >/dev/null 2>&1 &) ; exit 0");
    expect(await listBearers(ATTEMPT_COOKIE, cookie)).toEqual([]);
  });

  it("asks with SIGTERM first and lets the command clean up", async () => {
    const script = "trap 'echo cleaned; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    const process = await custody.spawn({ command: "sh", args: ["-c", script] });
    process.stdout.setEncoding("utf8");
    let out = "";
    for await (const chunk of process.stdout) {
      out += String(chunk);
      if (out === "ready\n") void process.stop();
    }
    expect(out).toBe("ready\ncleaned\n");
    expect(await process.exited).toEqual({ code: 9, signal: null, timedOut: false, stopped: true });
  });

  it("kills a command that is deaf to SIGTERM once the grace is over, its children too", async () => {
    const script = "trap '' TERM; setsid sleep 300 & echo ready; while :; do sleep 300; done";
    const process = await custody.spawn({ command: "sh", args: ["-c", script] });
    for await (const chunk of process.stdout) if (String(chunk).includes("ready")) break;
    const stopped = process.stop(60_000);
    clock.fire();
    expect(await stopped).toMatchObject({ code: null, signal: "SIGKILL", stopped: true });
    expect(await process.stop(0)).toEqual(await stopped);
    expect(await listBearers(ATTEMPT_COOKIE, cookie)).toEqual([]);
  });

  it("ends a command at its time limit and says so", async () => {
    const process = await custody.spawn({ command: "sleep", args: ["300"], timeoutMs: 60_000 });
    clock.fire();
    clock.fire();
    expect(await process.exited).toMatchObject({ timedOut: true, stopped: false });
  });

  it("is empty after close, and starts nothing more", async () => {
    const script = "trap '' TERM; setsid sleep 300 & echo ready; sleep 300";
    const starts = [1, 2, 3].map(() => custody.spawn({ command: "sh", args: ["-c", script] }));
    const [first] = await Promise.all(starts);
    await custody.close();
    expect(await listBearers(ATTEMPT_COOKIE, cookie)).toEqual([]);
    expect(await first?.exited).toMatchObject({ stopped: true });
    await expect(custody.spawn({ command: "true", args: [] })).rejects.toMatchObject({
      code: "custody_unavailable",
    });
  });
});
