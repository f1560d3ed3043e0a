import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { makeDataFolder } from "../data-template.ts";
import { findProcesses, makeFolder, poll, runStint, StintProcess } from "./stint-process.ts";

const FAKE = fileURLToPath(new URL("../conformance/agent/fake-acp-agent.mjs", import.meta.url));
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test("an agent of others goes on after kill -9 of everything; commands end as their exit codes say", async () => {
  const acts = [
    { say: "I begin." },
    { run: "echo ran >> counter; echo begun; sleep 61", id: "long" },
    { say: "Finished." },
  ];
  const env = { FAKE_ACTS: JSON.stringify(acts) };
  const agents = {
    "fake-acp": { command: process.execPath, args: [FAKE], env },
    teller: {
      command: "sh",
      args: ["-c", 'echo "{\\"type\\":\\"result\\",\\"text\\":\\"$STINT_PROMPT\\"}"'],
      protocol: "json-lines",
    },
  };
  const folder = makeFolder("stint agents ");
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  const settings = { STINT_AGENTS: JSON.stringify(agents) };
  const start = (): StintProcess => {
    const started = new StintProcess(["dev", "--json"], folder.path, settings);
    cleanups.push(() => started.stop("SIGKILL"));
    return started;
  };
  const first = start();
  const client = await first.connect();
  const { id } = await client.sessions.create({ prompt: "Begin.", agent: "fake-acp" });
  await poll(async () => {
    const { events } = await client.sessions.events(id, { type: ["terminal"] });
    return events.find(({ data }) => data["output"] === "begun\n");
  });
  await first.stop("SIGKILL");
  await poll(() => Promise.resolve(findProcesses(`STINT_SESSION=${id}`).length === 0 || null));

  const again = await start().connect();
  const session = await poll(async () => {
    const found = await again.sessions.get(id);
    return found.status === "completed" ? found : null;
  });
  expect(session).toMatchObject({ attempts: 2, error: null });
  const { events } = await again.sessions.events(id, { limit: 1_000 });
  const told = events.filter(({ type }) => type === "thinking").map(({ data }) => data["text"]);
  expect(told).toEqual(["I begin.", "Finished."]);
  const ends = events.filter(({ type, data }) => type === "terminal" && data["final"] === true);
  expect(ends.map(({ data }) => data["status"])).toEqual(["interrupted"]);

  const run = (...args: string[]) =>
    runStint(["run", ...args], { dataDir: folder.path, cwd: folder.path, env: settings });
  const [ok, bad, teller] = await Promise.all([
    run("--agent", "command", "--follow", "--", "sh", "-c", "test -t 1 && echo a terminal"),
    run("--agent", "command", "--wait", "--", "sh", "-c", "exit 3"),
    run("--agent", "teller", "--wait", "said by it"),
  ]);
  expect([ok.code, bad.code, teller.code]).toEqual([0, 1, 0]);
  expect(ok.stdout).toContain("a terminal");
  expect(bad.stdout).toContain("exit code 3");
  expect(teller.stdout).toContain("said by it");
}, 180_000);
