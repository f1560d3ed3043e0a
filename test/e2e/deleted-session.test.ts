import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { makeDataFolder } from "../data-template.ts";
import { makeFolder, poll, StintProcess } from "./stint-process.ts";

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function start(dataDir: string): StintProcess {
  const started = new StintProcess(["dev", "--json"], dataDir);
  cleanups.push(() => started.stop("SIGKILL"));
  return started;
}

test("the files of a session that was deleted are gone after the next start; all others stay", async () => {
  const folder = makeFolder();
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  const place = makeFolder();
  cleanups.push(() => place.dispose());
  const source = join(place.path, "source");
  await mkdir(source);
  await writeFile(join(source, "kept"), "of the user\n");

  const first = start(folder.path);
  const client = await first.connect();
  const run = async (mode: "copy" | "in-place"): Promise<string> => {
    const { id } = await client.sessions.create({
      ...{ prompt: "work", model: "scripted", workspace: { source, mode } },
      script: [{ bash: "echo new > new" }, { text: "done" }],
    });
    await poll(async () => ((await client.sessions.get(id)).status === "completed" ? id : null));
    return id;
  };
  const [kept, deleted, inPlace] = [await run("copy"), await run("copy"), await run("in-place")];
  const locate = (id: string): string => join(folder.path, "workspaces", id);
  expect([kept, deleted, inPlace].map((id) => existsSync(locate(id)))).toEqual([true, true, true]);
  await client.sessions.delete(deleted);
  await client.sessions.delete(inPlace);
  await first.stop();

  const again = await start(folder.path).connect();
  await poll(() =>
    Promise.resolve([deleted, inPlace].some((id) => existsSync(locate(id))) ? null : true),
  );
  expect((await again.sessions.diff(kept)).files.map(({ path }) => path)).toEqual(["new"]);
  expect(await readFile(join(source, "kept"), "utf8")).toBe("of the user\n");
  expect(await readFile(join(source, "new"), "utf8")).toBe("new\n");
}, 180_000);
