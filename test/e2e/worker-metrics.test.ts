import { afterEach, expect, test } from "vitest";
import { makeDataFolder } from "../data-template.ts";
import { makeFolder, StintProcess } from "./stint-process.ts";

const folder = makeFolder();
let worker: StintProcess | null = null;

afterEach(async () => {
  await worker?.stop("SIGKILL");
  await folder.dispose();
});

test("a worker by itself answers for its figures at the address in its ready line", async () => {
  await makeDataFolder(folder.path);
  worker = new StintProcess(["worker", "--json", "--metrics-port", "0"], folder.path);
  const ready = await worker.waitForLine(({ msg }) => msg === "ready");
  expect(ready).toMatchObject({ url: null, metricsUrl: expect.any(String) });
  const url = String(ready["metricsUrl"]);
  const figures = await (await fetch(`${url}/metrics`)).text();
  expect(figures).toContain("stint_worker_active_sessions");
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  expect(await worker.stop("SIGTERM")).toBe(0);
  await expect(fetch(`${url}/healthz`)).rejects.toThrow();
});
