import { describe, expect, it } from "vitest";
import { probeCustody } from "./probe.ts";
import type { ProbeRunner } from "./probe.ts";

/** A host on which some programs exist and some of them work. */
function createHost(
  installed: readonly string[],
  works: (args: string) => boolean,
  uid = 0,
): ProbeRunner {
  return {
    find: async (name) => (installed.includes(name) ? `/usr/bin/${name}` : null),
    run: async (command, args) =>
      works(`${command} ${args.join(" ")}`)
        ? { code: 0, output: "" }
        : { code: 1, output: "Operation not permitted" },
    uid: () => uid,
  };
}

const ALL = ["bwrap", "setpriv", "unshare"];

describe("the probe of custody", () => {
  it("prefers bubblewrap", async () => {
    expect((await probeCustody(createHost(ALL, () => true))).level).toBe("bwrap");
  });

  it("falls back to unshare and says what is missing", async () => {
    const probe = await probeCustody(createHost(["setpriv", "unshare"], () => true));
    expect(probe).toMatchObject({ level: "unshare", mapUser: false });
    expect(probe.detail).toContain("bwrap is not installed");
  });

  it("maps the user where it is not root", async () => {
    let tried = "";
    const host = createHost(["setpriv", "unshare"], (args) => ((tried = args), true), 1_000);
    expect((await probeCustody(host)).mapUser).toBe(true);
    expect(tried).toContain("--user --map-current-user");
  });

  it("names the level honestly where namespaces are refused, with the host's words", async () => {
    const host = createHost(ALL, (args) => !/unshare/.test(args));
    const probe = await probeCustody(host);
    expect(probe.level).toBe("pdeathsig");
    expect(probe.detail).toContain("Operation not permitted");
  });

  it("answers none where there is nothing", async () => {
    const probe = await probeCustody(createHost([], () => false));
    expect(probe.level).toBe("none");
    expect(probe.trials.map((trial) => trial.usable)).toEqual([false, false, false]);
  });

  it("finds a usable level on a real Linux host", async () => {
    const probe = await probeCustody();
    expect(probe.level === "none").toBe(probe.setpriv === null);
  });
});
