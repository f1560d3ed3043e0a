import { existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";

const VERSIONED_PARENTS = [
  { parent: "/usr/lib/postgresql", bin: "bin" },
  { parent: "/usr/local/lib/postgresql", bin: "bin" },
  { parent: "/opt/homebrew/opt", bin: "bin" },
  { parent: "/usr/local/opt", bin: "bin" },
  { parent: "/usr", bin: "bin" },
];

/** Folders of the system that hold `postgres` and `initdb`, newest version first, PATH last. */
export function findSystemBinDirs(path = process.env["PATH"] ?? ""): readonly string[] {
  const versioned = VERSIONED_PARENTS.flatMap(({ parent, bin }) =>
    listVersions(parent).map(({ name, version }) => ({ dir: join(parent, name, bin), version })),
  );
  versioned.sort((a, b) => b.version - a.version);
  const dirs = [...versioned.map(({ dir }) => dir), ...path.split(delimiter).filter(Boolean)];
  return [...new Set(dirs)].filter(
    (dir) => existsSync(join(dir, "postgres")) && existsSync(join(dir, "initdb")),
  );
}

function listVersions(parent: string): { name: string; version: number }[] {
  if (!existsSync(parent)) return [];
  return readdirSync(parent).flatMap((name) => {
    const match = /^(?:postgresql@|pgsql-)?(\d+)$/.exec(name);
    return match?.[1] === undefined ? [] : [{ name, version: Number(match[1]) }];
  });
}
