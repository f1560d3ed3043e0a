import { createHash, randomUUID } from "node:crypto";
import { open, readFile, readlink, rename } from "node:fs/promises";
import { join } from "node:path";
import { StintError } from "../core/error.ts";
import { readNode } from "./file-access.ts";
import { toSystemPath } from "./path-bytes.ts";
import type { PathNode } from "./path-walk.ts";
import type { SnapshotEntry, SnapshotPlace, Snapshots } from "./snapshot.ts";
import { STORED, exists, makePrivateFolder, syncFolder } from "./storage.ts";
import { visitTree } from "./visit.ts";

type Row = readonly [path: string, kind: SnapshotEntry["kind"], hash: string];

const SKIPPED: ReadonlySet<string> = new Set([".git", "node_modules", ".venv", "__pycache__"]);
const DEPTH_MAX = 128;
/** Larger files are no part of a snapshot made without git. */
const FILE_BYTES_MAX = 268_435_456;
const ID = /^plain-[0-9a-f]{64}$/;

/**
 * Snapshots for a host without git: each content once, under its hash, and one list of files per
 * snapshot. Slower than git (each file is read each time) and without the agent's own repository;
 * `.git`, `node_modules`, `.venv` and `__pycache__` are left out.
 */
export function createPlainSnapshots(place: SnapshotPlace): Snapshots {
  const folder = join(place.store, STORED.plain);
  const locateContent = (hash: string): string => join(folder, hash.slice(0, 2), hash);
  const locateList = (id: string): string => join(folder, `${id}.json`);

  const keepContent = async (bytes: Uint8Array): Promise<string> => {
    const hash = createHash("sha256").update(bytes).digest("hex");
    if (await exists(locateContent(hash))) return hash;
    await makePrivateFolder(join(folder, hash.slice(0, 2)));
    await writeDurably(join(folder, hash.slice(0, 2)), hash, bytes);
    return hash;
  };

  return {
    async create() {
      const rows: Row[] = [];
      const { truncated } = await visitTree(
        place.path,
        ".",
        { depthMax: DEPTH_MAX },
        async (entry, node) => {
          if (SKIPPED.has(entry.path.slice(entry.path.lastIndexOf("/") + 1))) return "skip";
          if (entry.kind === "link") {
            const target = await readLinkOf(place.path, entry.path);
            if (target !== null) rows.push([entry.path, "link", await keepContent(target)]);
          }
          if (entry.kind === "file" && entry.sizeBytes <= FILE_BYTES_MAX) {
            const { bytes } = await readNode(entry.path, node, { bytesMax: FILE_BYTES_MAX });
            rows.push([entry.path, readKind(node), await keepContent(bytes)]);
          }
          return "go";
        },
      );
      if (truncated) throw new StintError("workspace_invalid", "the workspace is too deep or wide");
      rows.sort(([a], [b]) => (a < b ? -1 : 1));
      const list = Buffer.from(JSON.stringify(rows));
      const id = `plain-${createHash("sha256").update(list).digest("hex")}`;
      await makePrivateFolder(folder);
      if (!(await exists(locateList(id)))) await writeDurably(folder, `${id}.json`, list);
      return id;
    },
    // What is left out here is left out by its name alone.
    track: () => Promise.resolve(),
    readLast: () => Promise.resolve(null),
    // What lies in a `.git` is in no plain snapshot.
    isPortable: async () => !(await exists(join(place.path, ".git"))),
    has: (id) => (ID.test(id) ? exists(locateList(id)) : Promise.resolve(false)),
    async listEntries(id) {
      const rows = JSON.parse(await readFile(locateList(id), "utf8")) as readonly Row[];
      return new Map(rows.map(([path, kind, hash]) => [path, { kind, hash }]));
    },
    readContent: (hash) => readFile(locateContent(hash)),
    readRepository: () => Promise.resolve(null),
  };
}

function readKind(node: PathNode): SnapshotEntry["kind"] {
  return (node.stat.mode & 0o111) === 0 ? "file" : "executable";
}

function readLinkOf(root: string, path: string): Promise<Buffer | null> {
  return readlink(toSystemPath(join(root, path)), { encoding: "buffer" }).catch(() => null); // gone meanwhile
}

export async function writeDurably(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const beside = join(folder, `.${randomUUID()}.tmp`);
  const handle = await open(beside, "wx", 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(beside, join(folder, name));
  await syncFolder(folder);
}
