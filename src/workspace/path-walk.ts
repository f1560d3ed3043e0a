import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { lstat, mkdir, open, readlink } from "node:fs/promises";
import { sep } from "node:path";
import { StintError } from "../core/error.ts";
import { decodePath, toSystemPath } from "./path-bytes.ts";

/**
 * Walks paths inside a directory whose content is hostile and changes meanwhile.
 *
 * Node has no openat(2). On Linux each component is opened by itself, without following links, and
 * the next one is reached through `/proc/self/fd/N/name`: whatever the directory is renamed to or
 * replaced by, the descriptor stays what was checked. Elsewhere the same steps go by path, which a
 * swap in the right moment can defeat; there is no promise against a hostile agent on such hosts.
 */
const HAS_DESCRIPTOR_PATHS = process.platform === "linux";
/** Linux; Node does not name it. Opens a place in the tree, not its content: devices stay asleep. */
const O_PATH = 0o10000000;
const LINKS_MAX = 40;
const PATH_CHARS_MAX = 4_096;

/** One opened place in the tree. */
export interface PathNode {
  /** A path by which the kernel reaches exactly this place. */
  readonly path: string;
  readonly stat: Stats;
  close(): Promise<void>;
}

/** Where a walk ended. */
export interface PathEnd {
  /** The directory that holds the last component; null when the end is the root itself. */
  readonly parent: PathNode | null;
  /** The last component, after links. */
  readonly name: string;
  /** What is there, never a link unless links are not followed; null when nothing is. */
  readonly node: PathNode | null;
}

/** How to walk. */
export interface WalkOptions {
  /** Makes missing directories on the way. @default false */
  readonly createParents?: boolean;
  /**
   * Links that stay inside are followed, by the same walk. When false, a link on the way is
   * refused and one at the end is the result. @default true
   */
  readonly followLinks?: boolean;
}

/** Opens one place without following a link there. Rejects with the system's error. */
export async function openNode(path: string): Promise<PathNode> {
  if (!HAS_DESCRIPTOR_PATHS) {
    return { path, stat: await lstat(toSystemPath(path)), close: () => Promise.resolve() };
  }
  const handle = await open(toSystemPath(path), O_PATH | constants.O_NOFOLLOW);
  try {
    const stat = await handle.stat();
    return { path: `/proc/self/fd/${handle.fd}`, stat, close: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The flags that open a node's content: its path on Linux is a link that must be followed. */
export const NODE_OPEN_FLAGS = HAS_DESCRIPTOR_PATHS ? 0 : constants.O_NOFOLLOW;

/**
 * Walks to `path` below `root` (a real path) and hands the end to `use`; all that was opened is
 * closed afterwards. An absolute path is taken when it lies below the root.
 * @throws {path_outside_workspace} when the path or a link leaves the root.
 * @throws {workspace_gone} when the root is missing.
 */
export async function walkPath<T>(
  root: string,
  path: string,
  options: WalkOptions,
  use: (end: PathEnd) => Promise<T>,
): Promise<T> {
  const walk = new Walk(root, path, options);
  try {
    return await use(await walk.run());
  } finally {
    await walk.close();
  }
}

class Walk {
  private readonly root: string;
  private readonly asked: string;
  private readonly options: WalkOptions;
  private readonly stack: PathNode[] = [];
  private readonly opened = new Set<PathNode>();
  private pending: string[];
  private linksFollowed = 0;

  constructor(root: string, path: string, options: WalkOptions) {
    this.root = root;
    this.asked = path;
    this.options = options;
    if (path.includes("\0") || path.length > PATH_CHARS_MAX) throw this.refuse("is no path");
    this.pending = this.split(path);
  }

  async run(): Promise<PathEnd> {
    const root = await openNode(this.root).catch((cause: unknown) => {
      throw new StintError("workspace_gone", `there is no workspace at ${this.root}`, { cause });
    });
    this.enter(root);
    for (let name = this.next(); name !== undefined; name = this.next()) {
      const end = await this.step(name);
      if (end !== null) return end;
    }
    return { parent: null, name: "", node: this.here() };
  }

  async close(): Promise<void> {
    await Promise.all([...this.opened].map((node) => node.close()));
  }

  /** One component further; not null at the end of the path. */
  private async step(name: string): Promise<PathEnd | null> {
    const parent = this.here();
    if (name === "..") {
      if (this.stack.length === 1) throw this.refuse("leaves the workspace");
      this.stack.pop();
      return null;
    }
    const isLast = this.pending.length === 0;
    const node = await this.openChild(parent, name, isLast);
    if (node === null) return { parent, name, node };
    if (node.stat.isSymbolicLink()) {
      if (this.options.followLinks !== false) return this.follow(parent, name);
      if (!isLast) throw this.refuse("goes through a link");
    }
    if (isLast) return { parent, name, node };
    if (!node.stat.isDirectory()) throw this.miss(`${name} is no directory`);
    this.stack.push(node);
    return null;
  }

  private async openChild(
    parent: PathNode,
    name: string,
    isLast: boolean,
  ): Promise<PathNode | null> {
    const path = `${parent.path}/${name}`;
    try {
      return this.keep(await openNode(path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      if (isLast) return null;
    }
    if (this.options.createParents !== true) {
      throw this.miss(`there is no ${name}`);
    }
    await mkdir(toSystemPath(path)).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    });
    return this.keep(await openNode(path));
  }

  private async follow(parent: PathNode, name: string): Promise<null> {
    this.linksFollowed += 1;
    if (this.linksFollowed > LINKS_MAX) throw this.refuse("goes round in links");
    const link = toSystemPath(`${parent.path}/${name}`);
    const target = decodePath(await readlink(link, { encoding: "buffer" }));
    if (target.startsWith("/")) this.stack.length = 1;
    this.pending = [...this.split(target), ...this.pending];
    return null;
  }

  private split(path: string): string[] {
    if (!path.startsWith("/")) return path.split("/").filter(isStep);
    if (path === this.root) return [];
    const below = this.root.endsWith(sep) ? this.root : this.root + sep;
    if (!path.startsWith(below)) throw this.refuse("leaves the workspace");
    return path.slice(below.length).split("/").filter(isStep);
  }

  private next(): string | undefined {
    return this.pending.shift();
  }

  private here(): PathNode {
    return this.stack.at(-1) as PathNode;
  }

  private enter(node: PathNode): void {
    this.stack.push(this.keep(node));
  }

  private keep(node: PathNode): PathNode {
    this.opened.add(node);
    return node;
  }

  private miss(why: string): StintError {
    return new StintError("not_found", `${this.asked}: ${why}`, {
      remedy: "List the directory to see what is there.",
      fields: { path: this.asked },
    });
  }

  private refuse(why: string): StintError {
    const path = this.asked.slice(0, 200);
    return new StintError("path_outside_workspace", `${JSON.stringify(path)} ${why}`, {
      fields: { path },
    });
  }
}

function isStep(part: string): boolean {
  return part !== "" && part !== ".";
}
