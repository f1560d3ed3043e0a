import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findBinaries } from "./binaries.ts";
import { describeDataFolder } from "./data-folder.ts";
import { chooseLaunch } from "./launch.ts";
import { probeSandbox, type SandboxProbe } from "./sandbox-probe.ts";

let parent: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "stint-binaries-"));
  chmodSync(parent, 0o755);
});

afterEach(() => rmSync(parent, { recursive: true, force: true }));

/** A program that only knows its version. */
function makePostgres(name: string, version: string): string {
  const bin = join(parent, name, "bin");
  mkdirSync(bin, { recursive: true });
  const answer = version === "" ? "exit 127" : `echo "postgres (PostgreSQL) ${version}"`;
  writeFileSync(join(bin, "postgres"), `#!/bin/sh\n${answer}\n`, { mode: 0o755 });
  return bin;
}

function find(known: Partial<SandboxProbe>, clusterVersion?: number) {
  const probe = probeSandbox({ systemBinDirs: [], nativeDir: null, ...known });
  const launch = chooseLaunch(probe);
  const folder = describeDataFolder(parent);
  return findBinaries({ folder, probe, launch, clusterVersion, onProgress: () => {} });
}

it("prefers the package to the system", async () => {
  makePostgres("native", "18.4");
  const system = makePostgres("system", "17.2");
  const nativeDir = join(parent, "native");
  expect(await find({ nativeDir, systemBinDirs: [system] })).toEqual({
    binDir: join(nativeDir, "bin"),
    majorVersion: 18,
  });
});

it("falls back to the system where the package does not run", async () => {
  makePostgres("native", "");
  const system = makePostgres("system", "15.18");
  const found = await find({ nativeDir: join(parent, "native"), systemBinDirs: [system] });
  expect(found).toEqual({ binDir: system, majorVersion: 15 });
});

it("takes the version that made the cluster, without copying another", async () => {
  makePostgres("native", "18.4");
  const system = makePostgres("system", "15.18");
  const known = { nativeDir: join(parent, "native"), systemBinDirs: [system] };
  expect((await find(known, 15)).majorVersion).toBe(15);
});

it.each([
  [19, "database_newer"],
  [16, "database_outdated"],
])("refuses a cluster of version %i with %s", async (clusterVersion, code) => {
  const systemBinDirs = [makePostgres("a", "18.4"), makePostgres("b", "17.1")];
  await expect(find({ systemBinDirs }, clusterVersion)).rejects.toMatchObject({ code });
});

it("does not make a cluster with a version that is too old, and says what it found", async () => {
  const systemBinDirs = [makePostgres("old", "14.9"), makePostgres("broken", "")];
  await expect(find({ systemBinDirs })).rejects.toMatchObject({
    code: "postgres_missing",
    message: expect.stringContaining("broken/bin/postgres") as string,
  });
});
