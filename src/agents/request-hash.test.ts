import { describe, expect, it } from "vitest";
import { hashRequest } from "./request-hash.ts";

const HERE = { workspace: "/data/w.s/tree", home: "/data/w.s/home" };
const THERE = { workspace: "/srv/other", home: "/srv/home" };

const hash = (places: typeof HERE, input: (folder: typeof HERE) => object, cwd = "") =>
  hashRequest({ tool: "bash", input: { ...input(places) }, cwd: places.workspace + cwd }, places);

describe("the hash of a request", () => {
  it.each<[string, (folder: typeof HERE) => object]>([
    ["a path", ({ workspace }) => ({ path: `${workspace}/src/a.ts` })],
    ["a command", ({ workspace, home }) => ({ command: `cp ${home}/a "${workspace}"; ls` })],
    ["a list", ({ workspace }) => ({ paths: [{ path: workspace }, `${workspace}/b`] })],
    ["no path", () => ({ command: "npm test" })],
  ])("is the same on another host: %s", (_, input) => {
    expect(hash(THERE, input)).toBe(hash(HERE, input));
    expect(hash(THERE, input, "/sub")).toBe(hash(HERE, input, "/sub"));
  });

  it("does not depend on the order of keys", () => {
    expect(hash(HERE, () => ({ a: 1, b: 2 }))).toBe(hash(HERE, () => ({ b: 2, a: 1 })));
  });

  it("differs where anything that is asked differs", () => {
    const hashes = [
      hash(HERE, () => ({ path: "src" })),
      hash(HERE, () => ({ path: "src" }), "/sub"),
      hash(HERE, ({ workspace }) => ({ path: `${workspace}/src` })),
      hash(HERE, ({ home }) => ({ path: `${home}/src` })),
      hash(HERE, () => ({ path: "workspace/src" })),
      hash(HERE, () => ({ path: { parts: ["", "workspace", "/src"] } })),
      hash(HERE, () => ({ path: ["", "workspace", "/src"] })),
      hash(HERE, () => ({ path: { src: 1 } })),
      hash(HERE, () => ({ path: [["src", 1]] })),
      hash(HERE, ({ workspace }) => ({ path: `${workspace}2/src` })),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it("takes no folder beside the workspace for it", () => {
    const beside = ({ workspace }: typeof HERE) => ({ path: `${workspace}-old/src` });
    expect(hash(THERE, beside)).not.toBe(hash(HERE, beside));
    const own = ({ workspace }: typeof HERE) => ({ path: `${workspace}/src` });
    expect(hash(HERE, () => ({ path: "/data/wxs/tree/src" }))).not.toBe(hash(HERE, own));
  });
});
