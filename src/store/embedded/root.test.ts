import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { listClusterProcesses, readPostmasterFile } from "./cluster-processes.ts";
import { NOBODY_UID, probeSandbox } from "./sandbox-probe.ts";
import { runSql, TestFolder } from "./test-folder.testsuite.ts";

const isRoot = process.getuid?.() === 0;
const { nativeDir, hasUserNamespaces, hasSetpriv } = probeSandbox();
const WRITE = "create table if not exists fact (text text); insert into fact values ('kept')";
const READ = "select text from fact";

describe("embedded Postgres, where its place is difficult", { timeout: 180_000 }, () => {
  const folders: TestFolder[] = [];
  const makeFolder = (name?: string): TestFolder => {
    const folder = new TestFolder(name);
    folders.push(folder);
    return folder;
  };
  afterEach(async () => {
    for (const folder of folders.splice(0)) await folder.remove();
  });

  /** A copy of the npm package as it is after an installation without scripts. */
  const copyPackage = (parent: string): string => {
    const copy = join(parent, "node_modules", "native");
    cpSync(nativeDir ?? "", copy, { recursive: true, verbatimSymlinks: true });
    for (const entry of readdirSync(join(copy, "lib"), { withFileTypes: true })) {
      if (entry.isSymbolicLink()) rmSync(join(copy, "lib", entry.name));
    }
    return copy;
  };

  it.skipIf(nativeDir === null)(
    "starts where install scripts were not allowed to run",
    async () => {
      const folder = makeFolder();
      const copy = copyPackage(folder.parent);
      chmodSync(folder.parent, 0o755);
      const { url } = await folder.attach({ probe: { nativeDir: copy, systemBinDirs: [] } });
      await runSql(url, WRITE);
      expect(readdirSync(join(copy, "lib"))).toContain("libicui18n.so.60");
    },
  );

  it.skipIf(!isRoot)("starts as root in a folder that only root may enter", async () => {
    const folder = makeFolder();
    chmodSync(folder.parent, 0o700);
    const { url } = await folder.attach({ probe: { hasUserNamespaces } });
    await runSql(url, WRITE);
    expect(await runSql(url, READ)).toEqual([{ text: "kept" }]);
  });

  it.skipIf(!isRoot)("starts as nobody where user namespaces are barred", async () => {
    const folder = makeFolder();
    chmodSync(folder.parent, 0o700);
    const first = await folder.attach({ probe: { hasUserNamespaces: false } });
    await runSql(first.url, WRITE);
    for (const pid of listClusterProcesses(folder.folder.clusterDir)) {
      expect(statSync(`/proc/${pid}`).uid).toBe(NOBODY_UID);
    }
    process.kill(folder.supervisorPid(), "SIGKILL");
    const second = await folder.attach({ probe: { hasUserNamespaces: false } });
    expect(await runSql(second.url, READ)).toEqual([{ text: "kept" }]);
  });

  it.skipIf(!isRoot || !hasSetpriv)(
    "sees it run as nobody also where root may not look",
    async () => {
      const folder = makeFolder();
      const { url } = await folder.attach({ probe: { hasUserNamespaces: false } });
      await runSql(url, WRITE);
      const { clusterDir } = folder.folder;
      const module = new URL("../../../dist/store/embedded/cluster-processes.js", import.meta.url);
      const program = `
      import { listClusterProcesses, readPostmasterFile } from ${JSON.stringify(module.href)};
      process.stdout.write(listClusterProcesses(${JSON.stringify(clusterDir)}).join(" "));`;
      const withoutTracing = ["--inh-caps=-sys_ptrace", "--bounding-set=-sys_ptrace"];
      const node = [process.execPath, "--input-type=module", "-e", program];
      const { stdout } = spawnSync("setpriv", [...withoutTracing, ...node], { encoding: "utf8" });
      expect(stdout.split(" ").map(Number)).toContain(readPostmasterFile(clusterDir)?.pid);
    },
  );

  it.skipIf(!isRoot || !hasUserNamespaces)("changes from one way to the other", async () => {
    const folder = makeFolder();
    for (const mayUseNamespaces of [false, true, false]) {
      const postgres = await folder.attach({ probe: { hasUserNamespaces: mayUseNamespaces } });
      await runSql(postgres.url, WRITE);
      await postgres.release();
      await folder.waitUntilStopped();
      expect(statSync(folder.folder.clusterDir).uid).toBe(mayUseNamespaces ? 0 : NOBODY_UID);
    }
  });

  it.skipIf(!isRoot || nativeDir === null)(
    "starts as nobody from programs that nobody may not reach",
    async () => {
      const folder = makeFolder();
      const copy = copyPackage(folder.parent);
      chmodSync(folder.parent, 0o700);
      const probe = { hasUserNamespaces: false, nativeDir: copy, systemBinDirs: [] };
      await runSql((await folder.attach({ probe })).url, WRITE);
    },
  );

  it.skipIf(!isRoot)("says so when the disk is full", async (context) => {
    const folder = makeFolder();
    mkdirSync(folder.dataDir);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", folder.dataDir]);
    if (mounted.status !== 0) context.skip("[needs mount] this host lets us mount no small disk");
    try {
      await expect(folder.attach()).rejects.toMatchObject({ code: "disk_full" });
      expect(readdirSync(folder.dataDir).filter((name) => name.startsWith("pg."))).toEqual([
        "pg.password",
      ]);
    } finally {
      await folder.waitUntilStopped();
      spawnSync("umount", ["--lazy", folder.dataDir]);
    }
  });
});
