import { afterEach, expect, test } from "vitest";
import { makeFolder, StintProcess } from "./stint-process.ts";

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test("the first start shows the demo, one Ctrl-C through npm ends it, the second keeps all state", async () => {
  const folder = makeFolder();
  cleanups.push(() => folder.dispose());
  const start = (): StintProcess => {
    const started = new StintProcess(["dev", "--demo"], folder.path);
    cleanups.push(() => started.stop("SIGKILL"));
    return started;
  };
  const first = start();
  const demo = await first.waitForLine(({ msg }) => msg === "demo");
  expect(demo).toMatchObject({ status: "completed" });
  const client = await first.connect();
  const { events } = await client.sessions.events(String(demo["sessionId"]));
  const ends = events.filter(({ type, data }) => type === "terminal" && data["final"] === true);
  expect(ends.map(({ data }) => data["exitCode"])).toEqual([1, 0]);
  expect(events.filter(({ type }) => type === "file_change")).toMatchObject([
    { data: { path: "median.js", action: "modified" } },
  ]);

  const { id } = await client.sessions.create({ prompt: "a", script: [{ bash: "sleep 300" }] });
  for await (const event of client.subscribe(id)) {
    if (event.type === "thinking") break;
  }
  // The terminal signals all processes in front, and npm hands its signal on to its child.
  first.child.kill("SIGINT");
  first.child.kill("SIGINT");
  expect(await first.exited).toBe(0);
  expect(first.stderr).not.toContain("stopped at once");

  const second = start();
  const again = await second.connect();
  const { sessions } = await again.sessions.list();
  expect(sessions.map((session) => session.id)).toEqual([id, demo["sessionId"]]);
  const log = await again.sessions.events(id);
  expect(log.events.map(({ data }) => data["reason"])).toContain("shutdown");
  await again.sessions.cancel(id);
  await second.stop();
  expect(second.lines.some(({ msg }) => msg === "demo")).toBe(false);
}, 180_000);
