import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { ScriptStep } from "../../src/core/script.ts";
import { stopPostgres } from "../postgres.ts";
import { buildStubbornCommand, countNamed } from "../stubborn-command.ts";
import { requireTool } from "../tools.ts";
import { makeHostileDisk } from "./hostile-disk.ts";
import { findProcesses, makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

const PROCESSES_MAX = 200;
const FILE_BYTES_MAX = 67_108_864;
const BEFORE_MS = 6_000;
const DURING_MS = 10_000;
const KILL_MS_MAX = 5_000;

const COLOUR = new RegExp(`${String.fromCodePoint(27)}\\[[\\d;]*m`, "g");

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Client = Awaited<ReturnType<StintProcess["connect"]>>;

async function readAll(client: Client, id: string): Promise<readonly LoggedEvent[]> {
  const all: LoggedEvent[] = [];
  for (let after: string | undefined; ;) {
    const query = { limit: 1_000, ...(after !== undefined && { after }) };
    const page = await client.sessions.events(id, query);
    all.push(...(page.events as readonly LoggedEvent[]));
    if (page.nextCursor === null || page.events.length === 0) return all;
    after = page.nextCursor;
  }
}

interface LoggedEvent {
  readonly seq: number;
  readonly type: string;
  readonly data: Record<string, unknown>;
  readonly createdAt: string;
}

/** Says the time, again and again, until there is a file that the test puts there. */
const TICKER = 'while [ ! -e enough ]; do echo "tick $EPOCHREALTIME"; sleep 0.04; done';

/** Forks as long as it may. What waits starts nothing, so that it lives on when no fork succeeds. */
const BOMB = "mkfifo hold; b() { b | b & b; }; (b) 2> /dev/null & read -r line < hold";

/** A program that tells events as fast as they are taken, and more. */
const TELLER = {
  command: "bash",
  args: ["-c", `yes '{"type":"thinking","text":"\\u001b[2J\\u0000 and again"}'`],
  protocol: "json-lines",
};

/** From a command's words to the commit of the event that holds them, and when they were said. */
function readDelays(events: readonly LoggedEvent[]): { saidMs: number; delayMs: number }[] {
  return events.flatMap(({ type, data, createdAt }) => {
    const said = [...String(data["output"] ?? "").matchAll(/tick (\d+)\.(\d{3})/g)].at(-1);
    if (type !== "terminal" || said === undefined || data["final"] === true) return [];
    const saidMs = Number(said[1]) * 1_000 + Number(said[2]);
    return [{ saidMs, delayMs: new Date(createdAt).getTime() - saidMs }];
  });
}

function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? Number.NaN;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("an agent that floods, forks, fills the disk and deletes harms nobody else", async (context) => {
  for (const tool of ["bwrap", "git", "prlimit"]) requireTool(context, tool);
  const disk = makeHostileDisk();
  cleanups.push(() => disk.dispose());
  const dataDir = join(disk.path, "data");
  const outside = join(disk.path, "outside");
  for (const folder of [dataDir, outside]) mkdirSync(folder);
  const canary = join(outside, "canary");
  writeFileSync(canary, "of the host\n");
  cleanups.push(() => stopPostgres(dataDir));
  const stint = new StintProcess(["dev", "--json"], dataDir, {
    STINT_WORKER_SLOTS: "7",
    STINT_PROCESSES_MAX: String(PROCESSES_MAX),
    STINT_FILE_BYTES_MAX: String(FILE_BYTES_MAX),
    STINT_FREE_DISK_BYTES_MIN: String(disk.freeBytesMin),
    STINT_AGENTS: JSON.stringify({ teller: TELLER }),
  });
  cleanups.push(() => stint.stop("SIGKILL"));
  const client = await stint.connect();
  const { sessions } = client;
  const begin = async (...script: ScriptStep[]): Promise<string> => {
    const steps = [...script, { text: "done" }];
    return (await sessions.create({ prompt: "work", model: "scripted", script: steps })).id;
  };
  let freeMin = disk.readFree();
  const watching = setInterval(() => (freeMin = Math.min(freeMin, disk.readFree())), 20);
  cleanups.push(() => clearInterval(watching));

  const bystander = await begin({ bash: "echo mine > kept.txt" }, { bash: TICKER });
  await poll(async () => (readDelays(await readAll(client, bystander)).length > 3 ? true : null));
  const { sandbox } = await sessions.get(bystander);
  if (sandbox?.level !== "strict") context.skip(`[needs a strict sandbox] ${sandbox?.reason}`);
  await pause(BEFORE_MS);
  const hostileFromMs = Date.now();

  const bombed = sandbox?.limits === "cgroup";
  const bomb = bombed ? await begin({ bash: BOMB }) : null;
  const flood = await begin({ bash: `yes '${"flood ".repeat(10)}'` });
  const { id: teller } = await sessions.create({ prompt: "work", agent: "teller" });
  const filler = await begin({
    bash: "trap '' TERM; i=0; while :; do i=$((i+1)); dd if=/dev/zero of=part$i bs=1M count=60 status=none; done",
  });
  const oneFile = await begin({ bash: `head -c ${FILE_BYTES_MAX * 2} /dev/zero > big; ls -l big` });
  const wrecker = await begin({
    bash: "rm -rf ~ /workspace/.. /home /tmp /usr --no-preserve-root / ; rm -rf /workspace/* ~/*",
  });
  await pause(DURING_MS);
  const ended = await poll(async () => {
    const found = await sessions.get(filler);
    return found.completedAt === null ? null : found;
  }, 60_000).catch(() => sessions.get(filler));
  const hostileToMs = Date.now();
  const forked = bomb === null ? 0 : findProcesses(`STINT_SESSION=${bomb}`).length;
  const seen = `least free ${Math.round(freeMin / 1_048_576)} MiB`;
  expect(ended).toMatchObject({ status: "failed", error: { code: "disk_full" } });

  for (const id of [bomb, flood, teller]) {
    if (id === null) continue;
    const cancelledAt = performance.now();
    await sessions.cancel(id);
    await poll(async () => ((await sessions.get(id)).completedAt === null ? null : true), 20_000);
    expect(findProcesses(`STINT_SESSION=${id}`)).toEqual([]);
    expect(performance.now() - cancelledAt).toBeLessThan(KILL_MS_MAX);
  }
  for (const id of [oneFile, wrecker]) {
    await poll(async () => ((await sessions.get(id)).completedAt === null ? null : true), 20_000);
    expect(await sessions.get(id)).toMatchObject({ status: "completed" });
  }

  writeFileSync(join(dataDir, "workspaces", bystander, "tree", "enough"), "");
  await poll(async () => ((await sessions.get(bystander)).completedAt === null ? null : true));
  expect(await sessions.get(bystander)).toMatchObject({ status: "completed" });
  const events = await readAll(client, bystander);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const delays = readDelays(events);
  const before = delays.filter(({ saidMs }) => saidMs < hostileFromMs);
  const during = delays.filter(({ saidMs }) => saidMs > hostileFromMs && saidMs < hostileToMs);
  const [p99Before, p99During] = [before, during].map((all) => p99(all.map((one) => one.delayMs)));
  const kept = `${Math.round(disk.freeBytesMin / 1_048_576)} MiB`;
  process.stderr.write(
    `hostile agent: append p99 ${p99Before} ms before, ${p99During} ms during ` +
      `(${before.length} and ${during.length} events); ${seen}, bound ${kept}; ` +
      `${forked} processes at most ${PROCESSES_MAX}; limits: ${sandbox?.limits}\n`,
  );
  expect(during.length).toBeGreaterThan(10);
  expect(freeMin).toBeGreaterThanOrEqual(disk.freeBytesMin);
  expect(forked).toBeLessThanOrEqual(PROCESSES_MAX + 10);

  const told = await readAll(client, teller);
  expect(told.map(({ seq }) => seq)).toEqual(told.map((_, index) => index + 1));
  expect(told.filter(({ type }) => type === "thinking").length).toBeGreaterThan(100);
  const floodBytes = (await readAll(client, flood))
    .map(({ data }) => String(data["output"] ?? "").length)
    .reduce((sum, bytes) => sum + bytes, 0);
  expect(floodBytes).toBeLessThan(4_194_304);
  const shown = (await readAll(client, oneFile)).map(({ data }) => String(data["output"] ?? ""));
  expect(shown.join("")).toContain(` ${FILE_BYTES_MAX} `);
  expect(readFileSync(canary, "utf8")).toBe("of the host\n");
  expect(existsSync(join(dataDir, "token"))).toBe(true);
  const tree = join(dataDir, "workspaces", bystander, "tree");
  expect(readFileSync(join(tree, "kept.txt"), "utf8")).toBe("mine\n");
  // What one session has filled does not stay in the way of those that come after it.
  const next = await begin({ bash: "head -c 20M /dev/urandom > some" });
  await poll(async () => ((await sessions.get(next)).completedAt === null ? null : true));
  expect(await sessions.get(next)).toMatchObject({ status: "completed" });
}, 180_000);

test("links, names and output of an agent reach nothing of the host", async (context) => {
  for (const tool of ["bwrap", "git"]) requireTool(context, tool);
  const folder = makeFolder("stint hostile ");
  cleanups.push(() => folder.dispose());
  const outside = join(folder.path, "outside");
  const source = join(folder.path, "source");
  const dataDir = join(folder.path, "data");
  for (const path of [outside, dataDir, source, join(source, "sub")]) mkdirSync(path);
  const canary = join(outside, "canary");
  writeFileSync(canary, "SECRET of the host\n");
  writeFileSync(join(source, "sub", "file"), "of the source\n");
  const { symlinkSync } = await import("node:fs");
  symlinkSync(outside, join(source, "out"));
  const stint = new StintProcess(["dev", "--json"], dataDir);
  cleanups.push(() => stint.stop("SIGKILL"));
  const client = await stint.connect();
  const up = "../".repeat(12);
  const { id } = await client.sessions.create({
    prompt: "work",
    model: "scripted",
    workspace: { source },
    script: [
      { bash: `ln -s '${canary}' link; ln -s '${outside}' folder; ln -s '${up}${canary}' rel` },
      { read: { path: "link" } },
      { read: { path: "folder/canary" } },
      { read: { path: "rel" } },
      { bash: "mkfifo pipe" },
      { read: { path: "pipe" } },
      { write: { path: "folder/made", content: "escaped" } },
      { write: { path: "link", content: "escaped" } },
      { edit: { path: "rel", find: "SECRET", replace: "escaped" } },
      { bash: "cat link rel folder/canary; echo escaped > link; echo escaped > folder/made; true" },
      { bash: "rm -rf sub out; ln -s ../outside sub; mkdir out; echo escaped > out/made" },
      { bash: String.raw`printf 'a\033]52;c;aGk=\007\033[2J\033[31mred\000nul\r\n\xff\xfe'` },
      {
        bash: String.raw`f=$(printf 'b\377\033[2J\ndiff --git ax'); printf 'x\rdiff --git a/y b/y\n' > "$f"`,
      },
      { text: "done" },
    ],
  });
  const ended = await poll(async () => {
    const found = await client.sessions.get(id);
    return found.completedAt === null ? null : found;
  }, 45_000);
  expect(ended).toMatchObject({ status: "completed" });
  if (ended.sandbox?.level !== "strict") context.skip("[needs a strict sandbox]");
  const events = await readAll(client, id);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  expect(JSON.stringify(events)).not.toContain("SECRET of");
  const name = Buffer.from("b\xff\x1b[2J\ndiff --git ax", "latin1").toString("base64");
  const changes = events.filter(({ type }) => type === "file_change").map(({ data }) => data);
  expect(changes).toContainEqual(expect.objectContaining({ pathBase64: name, action: "created" }));

  const env = { STINT_URL: (await stint.ready()).url };
  const said = await Promise.all(
    [
      ["logs", id],
      ["show", id],
      ["diff", id],
    ].map((args) => runStint(args, { dataDir, env })),
  );
  for (const { code, stdout } of said) {
    expect(code).toBe(0);
    // Colours at most: nothing that moves, clears or asks.
    expect(stdout.replaceAll(COLOUR, "").replaceAll(/[\n\t]/g, "")).not.toMatch(/\p{Cc}/u);
    expect(stdout).not.toContain("SECRET of");
  }
  const applied = await runStint(["apply", id], { dataDir });
  // Both sides have `out`: a link there, a folder here. What it points to is left alone either way.
  expect(applied.code === 0 || /workspace_conflict/.test(applied.stderr)).toBe(true);
  expect(readdirSync(outside)).toEqual(["canary"]);
  expect(readFileSync(canary, "utf8")).toBe("SECRET of the host\n");
}, 90_000);

test("a cancelled agent and all that it started are gone within five seconds", async (context) => {
  for (const tool of ["bwrap", "setsid"]) requireTool(context, tool);
  const folder = makeFolder("stint hostile ");
  cleanups.push(() => folder.dispose());
  const stint = new StintProcess(["dev", "--json"], folder.path);
  cleanups.push(() => stint.stop("SIGKILL"));
  const { sessions } = await stint.connect();
  const marker = `stubborn-${process.pid}-${Date.now()}`;
  const { id } = await sessions.create({
    prompt: "work",
    model: "scripted",
    script: [{ bash: buildStubbornCommand(marker, true) }, { text: "done" }],
  });
  await poll(() => Promise.resolve(countNamed(marker) >= 4 || null), 30_000);
  const cancelledAt = performance.now();
  await sessions.cancel(id);
  await poll(async () => {
    const { status } = await sessions.get(id);
    return (status === "failed" && countNamed(marker) === 0) || null;
  }, 30_000);
  const tookMs = Math.round(performance.now() - cancelledAt);
  process.stderr.write(`cancelled: nothing left after ${tookMs} ms\n`);
  expect(tookMs).toBeLessThan(KILL_MS_MAX);
  expect((await sessions.get(id)).reason).toBe("cancelled");
}, 90_000);
