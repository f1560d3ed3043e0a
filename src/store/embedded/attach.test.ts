import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Client } from "pg";
import { afterEach, describe, expect, it } from "vitest";
import { listClusterProcesses, readPostmasterFile } from "./cluster-processes.ts";
import { readErrno } from "./data-folder.ts";
import {
  isListening,
  runSql,
  STOP_DELAY_MS,
  TestFolder,
  waitUntil,
} from "./test-folder.testsuite.ts";

const WRITE = "create table if not exists fact (text text); insert into fact values ('kept')";
const READ = "select text from fact";
const KEPT = [{ text: "kept" }];

/** The environment of a process; empty where not even root may read it, as in containers. */
function readEnvironment(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch (error) {
    if (readErrno(error) === "EACCES") return "";
    throw error;
  }
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (readErrno(error) !== "ESRCH") throw error;
  }
}

describe("embedded Postgres", { timeout: 180_000 }, () => {
  const folders: TestFolder[] = [];
  const makeFolder = (name?: string): TestFolder => {
    const folder = new TestFolder(name);
    folders.push(folder);
    return folder;
  };
  /** One that has its database, so that nobody waits for it to be made. */
  const makeFilledFolder = async (): Promise<TestFolder> => {
    const folder = makeFolder();
    await folder.fill();
    return folder;
  };
  afterEach(async () => {
    for (const folder of folders.splice(0)) await folder.remove();
  });

  it("makes the database at the first start and finds it again at the second", async () => {
    const folder = makeFolder();
    const steps: string[] = [];
    const first = await folder.attach({ onProgress: (step) => steps.push(step) });
    expect(first).toMatchObject({ started: true, firstStart: true });
    expect(steps).toContain("Creating the database (first start only)");
    const facts = await runSql(
      first.url,
      `select pg_encoding_to_char(encoding) as encoding, datcollate, current_user as login,
         current_setting('fsync') as fsync, current_setting('listen_addresses') as address
       from pg_database where datname = current_database()`,
    );
    expect(facts).toEqual([
      { encoding: "UTF8", datcollate: "C", login: "stint", fsync: "on", address: "127.0.0.1" },
    ]);
    await runSql(first.url, WRITE);
    await first.release();
    await folder.waitUntilStopped();

    const second = await folder.attach();
    expect(second).toMatchObject({ started: true, firstStart: false, url: first.url });
    expect(second.systemIdentifier).toBe(first.systemIdentifier);
    expect(await runSql(second.url, READ)).toEqual(KEPT);
  });

  it("keeps its files and its password to itself", async () => {
    const folder = makeFolder();
    const { url } = await folder.attach();
    const password = new URL(url).password;
    expect(statSync(folder.dataDir).mode & 0o777).toBe(0o700);
    expect(statSync(folder.folder.passwordFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(folder.dataDir, ".gitignore"), "utf8")).toBe("*\n");
    for (const pid of folder.listProcesses()) {
      expect(readFileSync(`/proc/${pid}/cmdline`, "latin1")).not.toContain(password);
      expect(readEnvironment(pid)).not.toContain(password);
    }
    const stranger = new Client(url.replace(password, "wrong"));
    await expect(stranger.connect()).rejects.toMatchObject({ code: "28P01" });
  });

  it("serves all processes of a data folder with one Postgres", async () => {
    const folder = await makeFilledFolder();
    const here = await folder.attach();
    const there = await folder.startHolder().next();
    expect(there).toMatchObject({ event: "attached", started: false, url: here.url });
    expect(there["systemIdentifier"]).toBe(here.systemIdentifier);
  });

  it("ends with one cluster when two processes come first at the same time", async () => {
    const folder = makeFolder();
    const holders = [folder.startHolder(), folder.startHolder(), folder.startHolder()];
    const attached = await Promise.all(holders.map((holder) => holder.next()));
    expect(new Set(attached.map(({ url }) => url)).size).toBe(1);
    expect(attached.filter(({ started }) => started)).toHaveLength(1);
    expect(attached.filter(({ firstStart }) => firstStart)).toHaveLength(1);
    expect(folder.supervisorPid()).toBeGreaterThan(0);
    expect(readdirSync(folder.dataDir).filter((name) => name.includes("initdb"))).toEqual([]);
  });

  it("interrupts nobody's query when the process that started it is killed", async () => {
    const folder = await makeFilledFolder();
    const starter = folder.startHolder();
    expect(await starter.next()).toMatchObject({ started: true });
    const { url, onLost } = await folder.attach();
    let isLost = false;
    onLost(() => (isLost = true));
    const client = new Client(url);
    await client.connect();
    const query = client.query("select pg_sleep(1.5), 'done' as answer");
    await starter.kill();
    expect((await query).rows).toMatchObject([{ answer: "done" }]);
    const before = performance.now();
    await client.query("select 1");
    expect(performance.now() - before).toBeLessThan(2_000);
    expect(isLost).toBe(false);
    await client.end();
  });

  it("belongs to no terminal, so that a hang-up or Ctrl-C does not reach it", async () => {
    const folder = await makeFilledFolder();
    const { url } = await folder.attach();
    const supervisor = folder.supervisorPid();
    const stat = readFileSync(`/proc/${supervisor}/stat`, "utf8");
    const [, , group, session, terminal] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    expect([group, session, terminal]).toEqual([String(supervisor), String(supervisor), "0"]);
    process.kill(supervisor, "SIGHUP");
    await runSql(url, WRITE);
    expect(folder.supervisorPid()).toBe(supervisor);
  });

  it("stops for its operator, who ends the supervisor with SIGTERM", async () => {
    const folder = await makeFilledFolder();
    const { onLost } = await folder.attach();
    const lost = new Promise<void>((resolve) => onLost(resolve));
    process.kill(folder.supervisorPid(), "SIGTERM");
    await lost;
    await folder.waitUntilStopped();
    expect(existsSync(join(folder.folder.clusterDir, "postmaster.pid"))).toBe(false);
  });

  it("stops when its last holder is killed, and leaves nothing running", async () => {
    const folder = await makeFilledFolder();
    const holder = folder.startHolder();
    const { url } = await holder.next();
    await holder.kill();
    await folder.waitUntilStopped();
    expect(existsSync(join(folder.folder.clusterDir, "postmaster.pid"))).toBe(false);
    expect(existsSync(join(folder.dataDir, "supervisor.sock"))).toBe(false);
    expect(await isListening(Number(new URL(String(url)).port))).toBe(false);
  });

  it("ends with its supervisor; the next to attach finds the data", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach();
    await runSql(first.url, WRITE);
    const lost = new Promise<void>((resolve) => first.onLost(resolve));
    process.kill(folder.supervisorPid(), "SIGKILL");
    await lost;
    const second = await folder.attach();
    expect(second).toMatchObject({ started: true, firstStart: false });
    expect(await runSql(second.url, READ)).toEqual(KEPT);
  });

  it("recovers when supervisor and Postgres are killed together", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach();
    await runSql(first.url, WRITE);
    // With the first of them the others begin to end; some are gone before it is their turn.
    for (const pid of folder.listProcesses()) killIfAlive(pid);
    const second = await folder.attach();
    expect(await runSql(second.url, READ)).toEqual(KEPT);
  });

  it("replaces a Postgres that outlived its supervisor for lack of a death signal", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach({ probe: { hasSetpriv: false } });
    await runSql(first.url, WRITE);
    const orphan = readPostmasterFile(folder.folder.clusterDir)?.pid;
    const lost = new Promise<void>((resolve) => first.onLost(resolve));
    process.kill(folder.supervisorPid(), "SIGKILL");
    await lost;
    expect(listClusterProcesses(folder.folder.clusterDir)).toContain(orphan);
    const second = await folder.attach();
    expect(listClusterProcesses(folder.folder.clusterDir)).not.toContain(orphan);
    expect(await runSql(second.url, READ)).toEqual(KEPT);
  });

  it("starts Postgres again when it dies under its holders", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach();
    await runSql(first.url, WRITE);
    const postmaster = readPostmasterFile(folder.folder.clusterDir)?.pid ?? 0;
    process.kill(postmaster, "SIGKILL");
    await waitUntil("another Postgres is ready", () => {
      const file = readPostmasterFile(folder.folder.clusterDir);
      return file?.isReady === true && file.pid !== postmaster;
    });
    expect(await runSql((await folder.attach()).url, READ)).toEqual(KEPT);
    expect(await runSql(first.url, READ)).toEqual(KEPT);
  });

  it("stays up for a holder who comes while it stops", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach({ stopDelayMs: 0 });
    await runSql(first.url, WRITE);
    for (let round = 0; round < 5; round += 1) {
      await (await folder.attach({ stopDelayMs: 0 })).release();
    }
    await first.release();
    const last = await folder.attach();
    expect(await runSql(last.url, READ)).toEqual(KEPT);
  });

  it("discards a half-made cluster and makes a whole one", async () => {
    const folder = makeFolder();
    const half = join(folder.dataDir, "pg.initdb-0123456789ab");
    mkdirSync(join(half, "base"), { recursive: true });
    writeFileSync(join(half, "PG_VERSION"), "18\n");
    const { firstStart, url } = await folder.attach();
    expect(firstStart).toBe(true);
    expect(existsSync(half)).toBe(false);
    await runSql(url, WRITE);
  });

  it("survives a kill in the middle of the first start", async () => {
    const folder = makeFolder();
    const holder = folder.startHolder();
    const isHalfMade = (): boolean =>
      existsSync(folder.dataDir) &&
      readdirSync(folder.dataDir).some((name) => name.startsWith("pg.initdb-"));
    await waitUntil("initdb is at work", isHalfMade);
    const supervisor = folder.supervisorPid();
    await holder.kill();
    process.kill(supervisor, "SIGKILL");
    expect(existsSync(folder.folder.clusterDir)).toBe(false);
    expect(await folder.attach()).toMatchObject({ started: true, firstStart: true });
    expect(isHalfMade()).toBe(false);
  });

  it("works in a path with spaces and more than 108 bytes", async () => {
    const folder = makeFolder(join('a folder\'s "name"', "é".repeat(80), ".stint"));
    const { url } = await folder.attach();
    await runSql(url, WRITE);
    expect(await runSql((await folder.attach()).url, READ)).toEqual(KEPT);
  });

  it("takes another port when its last one is taken", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach();
    await first.release();
    await folder.waitUntilStopped();
    const port = Number(new URL(first.url).port);
    const squatter = createServer().listen(port, "127.0.0.1");
    const second = await folder.attach();
    expect(new URL(second.url).port).not.toBe(String(port));
    squatter.close();
  });

  it("makes a new password when the file was removed", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach();
    await runSql(first.url, WRITE);
    await first.release();
    await folder.waitUntilStopped();
    execFileSync("rm", [folder.folder.passwordFile]);
    const second = await folder.attach();
    expect(second.url).not.toBe(first.url);
    expect(await runSql(second.url, READ)).toEqual(KEPT);
  });

  it("clears a pid file whose number went to another process", async () => {
    const folder = await makeFilledFolder();
    const first = await folder.attach();
    await first.release();
    await folder.waitUntilStopped();
    const file = join(folder.folder.clusterDir, "postmaster.pid");
    writeFileSync(file, `${process.pid}\n/elsewhere\n1\n5432\n\n127.0.0.1\n 1 1\nready\n`);
    expect(await folder.attach()).toMatchObject({ started: true });
  });

  it("says so when the supervisor does not answer, instead of waiting for ever", async () => {
    const folder = await makeFilledFolder();
    await folder.attach();
    const supervisor = folder.supervisorPid();
    process.kill(supervisor, "SIGSTOP");
    try {
      await expect(folder.attach({ greetingTimeoutMs: 500 })).rejects.toMatchObject({
        code: "database_unavailable",
        message: "The supervisor of Postgres does not answer",
      });
    } finally {
      process.kill(supervisor, "SIGCONT");
    }
  });

  it("says so when a newer Postgres made the data", async () => {
    const folder = makeFolder();
    mkdirSync(folder.folder.clusterDir, { recursive: true });
    writeFileSync(join(folder.folder.clusterDir, "PG_VERSION"), "99\n");
    await expect(folder.attach()).rejects.toMatchObject({ code: "database_newer" });
  });

  it("leaves a folder alone that is no cluster", async () => {
    const folder = makeFolder();
    mkdirSync(folder.folder.clusterDir, { recursive: true });
    writeFileSync(join(folder.folder.clusterDir, "diary.txt"), "mine");
    await expect(folder.attach()).rejects.toMatchObject({ code: "data_dir_unusable" });
    expect(readFileSync(join(folder.folder.clusterDir, "diary.txt"), "utf8")).toBe("mine");
  });

  it("says so when the data folder cannot be made", async () => {
    const folder = makeFolder();
    writeFileSync(join(folder.parent, "file"), "");
    const dataDir = join(folder.parent, "file", ".stint");
    await expect(folder.attach({ dataDir })).rejects.toMatchObject({ code: "data_dir_unusable" });
  });

  it("says so when there is no Postgres", async () => {
    const folder = makeFolder();
    const probe = { nativeDir: null, systemBinDirs: [] };
    await expect(folder.attach({ probe })).rejects.toMatchObject({
      code: "postgres_missing",
      remedy: expect.stringContaining("DATABASE_URL") as string,
    });
  });

  it("stays up for as long as the holder wants who came last", async () => {
    const folder = await makeFilledFolder();
    const patient = await folder.attach({ stopDelayMs: 600_000 });
    const hasty = await folder.attach({ stopDelayMs: STOP_DELAY_MS });
    await patient.release();
    await hasty.release();
    await folder.waitUntilStopped();
  });
});
