import { readdir, stat, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { makeFolder } from "./call-cli.testsuite.ts";
import {
  readServerFile,
  removeServerFile,
  serverFilePath,
  writeServerFile,
} from "./server-file.ts";

const FILE = { url: "http://127.0.0.1:4700", token: "t".repeat(20), pid: 7 };

describe("the server file", () => {
  it("is readable by its owner only and replaced whole", async () => {
    const folder = await makeFolder();
    expect(await readServerFile(folder)).toBeNull();
    await writeServerFile(folder, { ...FILE, pid: 6 });
    await writeServerFile(folder, FILE);
    expect(await readServerFile(folder)).toEqual(FILE);
    expect((await stat(serverFilePath(folder))).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(["server.json"]);
  });

  it("is removed by the server that it names, not by an earlier one", async () => {
    const folder = await makeFolder();
    await writeServerFile(folder, FILE);
    await removeServerFile(folder, { ...FILE, pid: 6 });
    expect(await readServerFile(folder)).toEqual(FILE);
    await removeServerFile(folder, FILE);
    await removeServerFile(folder, FILE);
    expect(await readServerFile(folder)).toBeNull();
  });

  it("that is broken or cannot be written is a clear error", async () => {
    const folder = await makeFolder();
    await writeFile(serverFilePath(folder), "{}");
    await expect(readServerFile(folder)).rejects.toMatchObject({ code: "data_dir_unusable" });
    await expect(writeServerFile(`${folder}/none`, FILE)).rejects.toMatchObject({
      code: "data_dir_unusable",
    });
  });
});
