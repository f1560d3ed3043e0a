import { expect, it } from "vitest";
import { buildCommand, chooseLaunch, describeDataDirectory } from "./launch.ts";
import type { SandboxProbe } from "./sandbox-probe.ts";

const HOST: SandboxProbe = {
  platform: "linux",
  uid: 1000,
  hasAccountName: true,
  hasSetpriv: true,
  hasUserNamespaces: true,
  nativeDir: null,
  systemBinDirs: [],
};
const REQUEST = { program: "/bin/postgres", args: ["-D", "x"], deathSignal: "INT" } as const;

it("runs Postgres as the user we are, tied to our death", () => {
  const launch = chooseLaunch(HOST);
  expect(launch.mode).toBe("direct");
  expect(buildCommand(launch, REQUEST).join(" ")).toBe(
    "setpriv --pdeathsig INT -- /bin/postgres -D x",
  );
  expect(describeDataDirectory(launch, "/data/pg")).toBe("/data/pg");
});

it("runs it plainly where setpriv is missing", () => {
  const launch = chooseLaunch({ ...HOST, platform: "darwin", hasSetpriv: false });
  expect(buildCommand(launch, REQUEST)).toEqual(["/bin/postgres", "-D", "x"]);
});

it("lends root another face in a user namespace", () => {
  const launch = chooseLaunch({ ...HOST, uid: 0 });
  expect(launch).toMatchObject({ mode: "user_namespace", uid: 0 });
  expect(buildCommand(launch, REQUEST).join(" ")).toBe(
    "setpriv --pdeathsig INT -- unshare --user --map-user=65534 --map-group=65534 -- " +
      "/bin/postgres -D x",
  );
  expect(describeDataDirectory(launch, "/root/pg")).toBe("/proc/self/cwd");
});

it("lends a user id without an account the same face, because initdb asks for a name", () => {
  const launch = chooseLaunch({ ...HOST, hasAccountName: false });
  expect(launch.mode).toBe("user_namespace");
});

it("lets root become nobody where user namespaces are barred", () => {
  const launch = chooseLaunch({ ...HOST, uid: 0, hasUserNamespaces: false });
  expect(launch).toMatchObject({ mode: "other_user", uid: 65_534, gid: 65_534 });
  expect(buildCommand(launch, REQUEST).join(" ")).toBe(
    "setpriv --reuid=65534 --regid=65534 --clear-groups --pdeathsig INT -- /bin/postgres -D x",
  );
});

it("runs a cluster of another user as that user", () => {
  const launch = chooseLaunch({ ...HOST, uid: 0 }, { uid: 1000, gid: 100 });
  expect(launch).toMatchObject({ mode: "other_user", uid: 1000, gid: 100 });
});

it("refuses root where neither way exists", () => {
  const mac = { ...HOST, uid: 0, platform: "darwin" } as const;
  expect(() => chooseLaunch(mac)).toThrow(/root/);
});
